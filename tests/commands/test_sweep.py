"""``mnist sweep`` and ``mnist train --seeds``: runs as others, killed at any point and continued."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest
import torch
from program import TINY, Run, finish, start, start_held, wait_until
from systems import LINUX

from mnist_cli.checkpoints import checkpoint as checkpoints

SWEEP = ["sweep", *TINY[1:], "--set", "lr=0.01,0.02", "--quiet"]
forked = pytest.mark.skipif(not LINUX, reason="a process with faults is forked, which needs Linux")


def weights(run: str) -> dict[str, torch.Tensor]:
    return dict(checkpoints.read(Path("runs") / run / "best.pt").weights)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


def results(sweep: str = "sweep-1") -> list[dict[str, str]]:
    """The lines of the table, without what differs from time to time."""
    with (Path("runs/sweeps") / sweep / "results.csv").open(newline="") as file:
        return [{**row, "run": "", "seconds": ""} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The results of the sweep without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        assert finish(start(*SWEEP)).code == 0
        return results()


def test_a_grid_of_ordinary_runs_one_of_which_diverges(run: Run) -> None:
    grid = ["--set", "lr=0.01,1e30", "--seeds", 2, "--name", "rates"]
    outcome = run("sweep", *TINY[1:], *grid, "--json")
    assert outcome.code == 6
    document = outcome.document
    good, bad = document["settings"]
    assert (good["values"], good["runs"], good["finished"]) == ({"lr": 0.01}, 2, 2)
    assert good["accuracy"]["standard_error"] > 0
    assert (bad["finished"], bad["accuracy"]) == (0, None)
    assert [one["state"] for one in document["runs"]] == ["finished"] * 2 + ["failed"] * 2
    assert document["runs"][2]["error"]["code"] == 6
    assert "run 3 of 4, lr 1e+30, seed 0, failed: the loss is" in outcome.err
    assert Path(document["picture"]).is_file()

    assert run(*TINY, "--lr", 0.01, "--seed", 1, "--quiet").code == 0
    assert same(weights("0002-rates.2"), weights("0005-digits-conv2"))
    listed = run("runs", "--json").document["runs"]
    assert [one["differs"]["seed"] for one in listed] == [0, 1, 0, 1, 1]

    again = run("sweep", *TINY[1:], *grid)  # nothing is trained: the result alone
    assert again.code == 6
    assert "rates: 4 runs under runs/, 4 of them done\n" in again.err
    assert "run 3 of 4, lr 1e+30, seed 0, has failed before: the loss is" in again.err
    assert again.out.splitlines()[1].split()[:2] == ["0.01", "2"]
    assert len(list(Path("runs").glob("0*"))) == 5


@forked
@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("mnist_cli.training.step:Stepper.__call__", 14),
        ("mnist_cli.training.session:Session._write_beginning", 2),
        ("mnist_cli.training.session:Session.finish", 1),
        ("mnist_cli.runs.sweep_results:SweepResult.write_table", 1),
    ],
)
def test_killed_and_continued(
    tmp_path: Path, whole: list[dict[str, str]], where: str, call: int
) -> None:
    marker = tmp_path / "held"
    process = start(*SWEEP, faults=[["linger", where, call, str(marker)]])
    wait_until(lambda: marker.exists() or process.poll() is not None)
    assert process.poll() is None, finish(process).err
    process.kill()
    finish(process)
    again = finish(start(*SWEEP))
    assert again.code == 0, again.err
    assert results() == whole
    assert len(list(Path("runs").glob("0*"))) == 2


@forked
def test_ctrl_c_saves_the_run_and_says_how_to_go_on(
    tmp_path: Path, whole: list[dict[str, str]]
) -> None:
    marker = tmp_path / "held"
    process = start_held(marker, *SWEEP)
    process.send_signal(signal.SIGINT)
    marker.unlink()
    stopped = finish(process)
    assert stopped.code == 130
    command = stopped.err.splitlines()[-1].removeprefix("Continue the sweep with: mnist ")
    assert command.split() == list(map(str, SWEEP))
    assert not Path("runs/0002-sweep-1.2").exists()
    assert finish(start(*SWEEP)).code == 0
    assert results() == whole


def test_seeds_of_one_recipe(run: Run) -> None:
    outcome = run(*TINY, "--seeds", 2, "--seed", 5, "--name", "base")
    assert outcome.code == 0
    assert "base: 2 runs under runs/" in outcome.err
    row = outcome.out.splitlines()[-3].split()
    assert (row[0], row[1], row[3]) == ("base", "2", "±")
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        *("0001-base.1", "0002-base.2", "sweeps")
    ]


def test_a_run_is_repeated_to_the_same_bits(run: Run) -> None:
    """With a flag and --set on top of a preset; the name names the run, too."""
    assert run(*TINY, "--lr", 0.012, "--seed", 3, "--name", "first", "--quiet").code == 0
    text = Path("runs/0001-first/config.toml").read_text()
    assert "auto" not in text
    outcome = run("train", "--config", "1", "--quiet", "--json")
    assert outcome.code == 0
    assert same(weights("0001-first"), weights("0002-digits-conv2"))
    assert "results may differ" not in outcome.err
    recipes = [one["recipe"] for one in run("runs", "--json").document["runs"]]
    assert recipes == ["smoke", "smoke"]  # the repeated run is of the same recipe
    said = run("train", "--config", "first", "--threads", 4, "--dry-run").err
    assert "results may differ from runs/0001-first: threads per operation: 1 then, 2 now" in said
    refused = run("train", "--config", "runs/0001-first/best.pt")
    assert (refused.code, "Name its run: --config runs/0001-first" in refused.err) == (2, True)


@forked
def test_resume_alone_takes_the_newest_unfinished_run(tmp_path: Path, run: Run) -> None:
    marker = tmp_path / "held"
    process = start_held(marker, *TINY)
    process.send_signal(signal.SIGINT)
    marker.unlink()
    assert finish(process).code == 130
    assert run(*TINY, "--quiet").code == 0  # a newer run, which is finished
    outcome = run("train", "--resume", "--json")
    assert outcome.document["run"] == "runs/0001-digits-conv2"
    assert same(weights("0001-digits-conv2"), weights("0002-digits-conv2"))
