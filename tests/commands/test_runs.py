"""``mnist runs``: the list, the comparison, and what may lie in the folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest
from program import Run

from mnist_cli.commands import runs as command
from mnist_cli.runs import listing as runlist


@pytest.fixture
def folder(trained: Path) -> Path:
    """Two runs, the second with other settings and a better result, and what else may lie there."""
    root = Path("runs")
    shutil.copytree(trained, root / "0001-digits-conv2")
    second = shutil.copytree(trained, root / "0002-digits-conv2")
    config = second / "config.toml"
    config.write_text(config.read_text().replace("epochs = 3", "epochs = 7\nmomentum = 0.5"))
    summary = json.loads((second / "summary.json").read_text())
    summary["test"]["accuracy"] = 0.999
    (second / "summary.json").write_text(json.dumps(summary))
    third = shutil.copytree(trained, root / "0003-digits-conv2")
    (third / "summary.json").unlink()
    (root / "0004-broken").mkdir()
    (root / "0004-broken" / "config.toml").write_text("=")
    (root / "notes").mkdir()
    return root


def test_the_list(run: Run, folder: Path) -> None:
    outcome = run("runs")
    assert outcome.code == 0
    title, head, *rows = outcome.out.splitlines()
    assert title.strip() == "runs/"
    columns = ["run", "data", "set", "network", "epochs", "accuracy", "seconds", "device", "date"]
    assert head.split() == columns
    accuracy = json.loads((folder / "0001-digits-conv2/summary.json").read_text())["test"][
        "accuracy"
    ]
    assert rows[0].split()[:5] == ["0001", "digits", "conv2", "3", f"{100 * accuracy:.2f}%"]
    assert rows[1].split()[:5] == ["0002", "digits", "conv2", "3/7", "99.90%"]
    assert rows[2].split()[:5] == ["0003", "digits", "conv2", "3", "unfinished"]
    assert rows[3].split()[:5] == ["0004-broken", "-", "-", "-", "unreadable"]
    assert rows[4].split()[:5] == ["notes", "-", "-", "-", "no"]
    assert "runs/0004-broken: unreadable: config.toml is garbled" in outcome.err
    assert "runs/notes: no run" in outcome.err


def test_the_list_as_a_document(run: Run, folder: Path) -> None:
    document = run("runs", "--json").document
    assert document["folder"] == "runs"
    first = document["runs"][0]
    summary = json.loads((folder / "0001-digits-conv2/summary.json").read_text())
    assert first["path"] == "runs/0001-digits-conv2"
    for key in ("dataset", "model", "epochs", "device", "device_name", "precision"):
        assert first[key] == summary[key]
    assert first["accuracy"] == summary["test"]["accuracy"]
    assert first["seconds"] == summary["train_seconds"]
    written = (folder / "0001-digits-conv2/summary.json").stat().st_mtime
    assert abs(datetime.fromisoformat(first["date"]).timestamp() - written) < 1
    assert [one["state"] for one in document["runs"]] == [
        *("finished", "finished", "unfinished", "unreadable", "no run"),
    ]


def test_the_best_comes_first_if_asked(run: Run, folder: Path) -> None:
    document = run("runs", "--sort", "accuracy", "--json").document
    assert [one["name"][:4] for one in document["runs"][:2]] == ["0002", "0001"]


def test_every_order_that_is_offered_is_there() -> None:
    assert tuple(runlist.SORTS) == get_args(get_args(command.SortOption)[0])


def test_no_runs_are_no_failure(run: Run) -> None:
    for _ in range(2):
        outcome = run("runs")
        assert (outcome.code, outcome.out) == (0, "")
        assert "no runs under runs/; `mnist train` creates one" in outcome.err
        assert run("runs", "--json").document == {"folder": "runs", "runs": []}
        Path("runs").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["--sort", "dates"],
            2,
            "--sort: should be one of name, accuracy, seconds, date, not 'dates'. Did you mean 'date'?",
        ),
        (["--runs", "nowhere"], 2, "--runs nowhere: the folder does not exist"),
        (["--runs", "a-file"], 2, "--runs a-file: Not a directory"),
        (["comapre"], 2, "comapre"),
        (["compare"], 2, "RUN"),
        (["compare", "1"], 2, "a comparison needs at least two runs"),
        (["compare", "1", "9"], 4, "no such run: 9"),
        (
            ["--sort", "date", "compare", "1", "2"],
            2,
            "--sort before compare has no effect on it\nOptions of compare come after its name",
        ),
        (["--runs", "x", "compare", "1", "2"], 2, "--runs before compare has no effect"),
    ],
)
def test_what_makes_no_sense_is_named(
    run: Run, folder: Path, words: list[str], code: int, said: str
) -> None:
    Path("a-file").touch()
    outcome = run("runs", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err


def test_a_comparison_shows_what_differs_and_every_result(run: Run, folder: Path) -> None:
    outcome = run("runs", "compare", "1", "0002-digits-conv2")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["configuration", "0001-digits-conv2", "0002-digits-conv2"]
    assert ["epochs", "3", "7"] in lines[:4]
    assert ["momentum", "-", "0.5"] in lines[:4]
    assert ["environment:", "no", "difference"] in lines
    results = lines[lines.index(["result", *lines[0][1:]]) :]
    assert ["epochs", "3", "3/7"] in results
    assert next(row for row in results if row[:2] == ["test", "accuracy"])[-1] == "99.90%"
    assert not any(row[:1] == ["batch_size"] for row in lines)


def test_a_comparison_as_a_document(run: Run, folder: Path) -> None:
    document = run("runs", "compare", 1, folder / "0002-digits-conv2", 3, "--json").document
    assert document["configuration"] == {"epochs": [3, 7, 3], "momentum": [None, 0.5, None]}
    assert document["environment"] == {}
    assert [one["name"][:4] for one in document["runs"]] == ["0001", "0002", "0003"]
    assert document["runs"][2]["accuracy"] is None


def test_a_run_that_tells_nothing_is_no_difference_and_is_named(run: Run, folder: Path) -> None:
    (folder / "0005-empty").mkdir()
    outcome = run("runs", "compare", 1, 5, 2)
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[1:3] == [["epochs", "3", "-", "7"], ["momentum", "-", "-", "0.5"]]
    assert ["environment:", "no", "difference"] in rows
    assert "0005-empty has no configuration, no environment, no finished epoch" in outcome.err
    assert "0001" not in outcome.err
    assert "0003-digits-conv2 has no test result" in run("runs", "compare", 1, 3).err
    document = run("runs", "compare", 1, 5, "--json").document
    assert (document["configuration"], document["environment"]) == ({}, {})


def test_an_empty_value_is_a_dash(run: Run, folder: Path) -> None:
    path = folder / "0002-digits-conv2" / "environment.json"
    environment = json.loads(path.read_text()) | {"fallback": "no network", "remarks": ["cut"]}
    path.write_text(json.dumps(environment))
    rows = [line.split() for line in run("runs", "compare", 1, 2).out.splitlines()]
    assert ["fallback", "-", "no", "network"] in rows
    assert ["remarks", "-", "cut"] in rows


def test_of_the_users_own_the_folder_is_left_out(run: Run, folder: Path) -> None:
    """Unless nothing else tells two of them apart."""
    for number, place in ((1, f"{'x' * 99}/1"), (2, "two"), (3, "two")):
        path = folder / f"000{number}-digits-conv2"
        config = (path / "config.toml").read_text().replace('"conv2"', f'"/my/{place}/net.py:Net"')
        (path / "config.toml").write_text(config.replace('"digits"', '"/my/letters"'))
        for name in ("summary.json", "environment.json"):
            (path / name).unlink(missing_ok=True)
    (folder / "0003-digits-conv2").rename(folder / "0003-letters-Net")
    rows = [line.split() for line in run("runs").out.splitlines()]
    assert rows[2][:3] == ["0001-digits-conv2", "letters", "net.py:Net"]
    assert rows[4][:3] == ["0003", "letters", "net.py:Net"]
    both = [line.split() for line in run("runs", "compare", 1, 2).out.splitlines()]
    assert ["model", f"…{'x' * 18}/1/net.py:Net", "/my/two/net.py:Net"] in both


def test_a_runs_number_will_do_wherever_a_checkpoint_is_asked_for(run: Run, folder: Path) -> None:
    document = run("eval", "2", "--json").document
    assert document["checkpoint"] == "runs/0002-digits-conv2/best.pt"
    outcome = run("train", "--resume", "1")
    assert "runs/0001-digits-conv2 is already complete" in outcome.err
    outcome = run("eval", "9")
    assert (outcome.code, outcome.err.splitlines()[0]) == (*(4, "error: no checkpoint or run 9"),)


def test_listing_imports_nothing_slow(folder: Path) -> None:
    script = (
        "import sys; from mnist_cli import cli; assert cli.run(['runs']) == 0; "
        "assert cli.run(['runs', 'compare', '1', '2']) == 0; "
        "print(*[n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr.splitlines()[-1] == ""
