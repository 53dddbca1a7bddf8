"""``--compare`` and ``--against``, and the dumps that ``mnist train --dump-grad`` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bits import rows
from inspected import SMALL, saved
from program import TINY, Run

from mnist_cli.autograd import loads


@pytest.fixture(scope="session")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that dumped its first and its last epoch."""
    from mnist_cli import cli

    runs = tmp_path_factory.mktemp("dumped")
    assert cli.run([*TINY, "--quiet", "--runs", str(runs), "--dump-grad", "1,last"]) == 0
    return runs / "0001-digits-conv2"


def epochs(run_directory: Path) -> list[Path]:
    return sorted((run_directory / "grad").glob("epoch-*.json"))


def test_epochs_are_dumped_as_asked(dumped: Path) -> None:
    count = len(rows(dumped))
    assert count > 1
    assert [path.name for path in epochs(dumped)] == ["epoch-0001.json", f"epoch-{count:04d}.json"]
    first, last = (loads(path.read_text()) for path in epochs(dumped))
    assert (first.context["epoch"], last.context["epoch"]) == (1, count)
    assert first.context["batch"] == last.context["batch"]


def test_a_run_that_dumps_ends_with_the_same_bits(dumped: Path, trained: Path) -> None:
    with_dumps, without = (
        torch.load(folder / "last.pt", weights_only=True)["model"]["weights"]
        for folder in (dumped, trained)
    )
    assert with_dumps.keys() == without.keys()
    assert all(torch.equal(with_dumps[key], without[key]) for key in without)


@pytest.mark.usefixtures("one_thread_of_torch")
def test_the_last_epochs_dump_is_what_its_checkpoint_gives(run: Run, dumped: Path) -> None:
    outcome = run("inspect-grad", "--compare", epochs(dumped)[-1], dumped / "last.pt", "--json")
    assert outcome.code == 0
    assert outcome.document["same"] is True
    assert outcome.document["setting"] == []
    assert {one["difference"] for one in outcome.document["nodes"]} == {0.0}
    strict = ("--tolerance", "0", "--json")  # not even in the last bit
    assert run(
        "inspect-grad", "--compare", epochs(dumped)[-1], dumped / "last.pt", *strict
    ).document["same"]


def test_two_epochs_differ_and_the_first_node_is_named(run: Run, dumped: Path) -> None:
    outcome = run("inspect-grad", "--compare", *epochs(dumped))
    assert outcome.code == 0
    assert "differs  epoch: 1 and " in outcome.out
    assert "the first node to differ by more than 1e-09 is" in outcome.out
    found = run("inspect-grad", "--compare", *epochs(dumped), "--json").document
    first, last = (json.loads(path.read_text()) for path in epochs(dumped))
    norms = {p["name"]: (p["first_norm"], p["second_norm"]) for p in found["parameters"]}
    for one, other in zip(first["parameters"], last["parameters"], strict=True):
        assert norms[one["name"]] == (one["grad"]["norm"], other["grad"]["norm"])
    assert found["same"] is False
    apart = [one for one in found["nodes"] if one["difference"] > 1e-9]
    assert found["first_difference"] == apart[0]
    tolerant = run("inspect-grad", "--compare", *epochs(dumped), "--tolerance", "1e9").out
    assert "no node differs by more than 1e+09" in tolerant


@pytest.mark.parametrize("epoch", ["0", "x", "1,-2", "1.5"])
def test_an_invalid_epoch_is_refused(run: Run, epoch: str) -> None:
    outcome = run(*TINY, "--dump-grad", epoch)
    assert outcome.code == 2
    assert "is not an epoch" in outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dump-grad", "99"], "--dump-grad 99: the run has 3 epochs"),
        (["--dump-grad", "last,99"], "--dump-grad 99: the run has 3 epochs"),
        (["--dump-grad", "4", "--epochs", "3"], "--dump-grad 4: the run has 3 epochs"),
        (["--dump-grad", "2", "--dry-run"], "--dump-grad 2: the run has 1 epoch"),
    ],
)
def test_an_epoch_that_the_run_does_not_have_is_refused(
    run: Run, words: list[str], said: str
) -> None:
    outcome = run(*TINY, *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("epoch", ["1", "last"])
def test_an_epoch_that_is_done_is_refused(run: Run, dumped: Path, epoch: str) -> None:
    outcome = run("train", "--resume", dumped, "--dump-grad", epoch)
    assert outcome.code == 2
    assert "already trained" in outcome.err or "complete" in outcome.err


def test_an_epoch_that_was_not_reached_is_named(run: Run) -> None:
    outcome = run(*TINY, "--dump-grad", "2", "--max-steps", "1", "--quiet")
    assert outcome.code == 0
    assert "--dump-grad 2: nothing was dumped" in outcome.err


def test_against_bf16_the_casts_are_named_and_the_rest_aligned(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    found = run("inspect-grad", weights, *SMALL, "--against", "bf16", "--json").document
    assert found["setting"] == ["precision: fp32 and bf16"]
    assert found["structure"]
    assert all("ToCopyBackward0" in line for line in found["structure"])
    worst = max(one["difference"] for one in found["parameters"])
    assert 0 < worst < 0.2  # bf16 has 8 bits


@pytest.mark.parametrize(
    ("name", "structural"), [("notebook", True), ("conv4", False), ("conv2", False)]
)
def test_against_eval(run: Run, tmp_path: Path, name: str, structural: bool) -> None:
    weights = saved(name, tmp_path)
    found = run("inspect-grad", weights, *SMALL, "--against", "eval", "--json").document
    assert found["setting"] == ["mode: train and eval"]
    # dropout's multiplications are there in training only; a batch norm is there in both
    assert bool(found["structure"]) is structural
    assert all("MulBackward0" in line for line in found["structure"])
    assert found["same"] is (name == "conv2")


def test_against_the_same_device_and_file(run: Run, tmp_path: Path) -> None:
    weights = saved("example", tmp_path)
    same = run("inspect-grad", weights, *SMALL, "--against", "cpu", "--json")
    assert same.document["same"]
    assert "both sides are fp32 on cpu, train mode" in same.err
    fresh = run("inspect-grad", "--model", "example", *SMALL, "--against", "eval").err
    assert "both sides" not in fresh
    assert fresh.count("fresh network") == 1
    made = run("inspect-grad", weights, *SMALL, "-q", "--format", "json", "--out", tmp_path)
    assert made.code == 0
    against = ("--against", tmp_path / "graph.json")
    assert run("inspect-grad", weights, *SMALL, *against, "--json").document["same"]
    compared = run("inspect-grad", weights, *SMALL, *against)
    assert "both sides" not in compared.err
    text = compared.out
    assert "no node differs" in text
    assert "differs  " not in text


def test_two_networks_and_two_batches(run: Run, tmp_path: Path) -> None:
    both = saved("conv2", tmp_path), saved("conv4", tmp_path)
    outcome = run("inspect-grad", "--compare", *both, *SMALL, "--json")
    assert outcome.document["setting"] == ["model: conv2 and conv4"]
    assert any(
        "parameter only in the first: fc1.weight" in s for s in outcome.document["structure"]
    )
    for number, folder in ((1, "one"), (2, "two")):
        options = ("--indices", number, "-q", "--format", "json", "--out", tmp_path / folder)
        assert run("inspect-grad", both[0], "--dataset", "digits", *options).code == 0
    dumps = tmp_path / "one" / "graph.json", tmp_path / "two" / "graph.json"
    told = run("inspect-grad", "--compare", *dumps).out
    assert "differs  batch: 1 image (1) and 1 image (2)" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_an_unavailable_device_is_refused(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    for other in ("cuda", "cuda:1"):
        outcome = run("inspect-grad", weights, *SMALL, "--against", other, "--json")
        assert outcome.code == 2
        assert outcome.document["error"]["kind"] == "device"


@pytest.mark.parametrize("how", ["compare", "against"])
def test_a_damaged_dump_is_one_message(run: Run, tmp_path: Path, how: str) -> None:
    Path("bad.json").write_text('{"format": "mnist-cli/grad-graph", "version": 1, "root": 0}')
    asked: tuple[object, ...] = ("--compare", "bad.json", "bad.json")
    if how == "against":
        asked = (saved("conv2", tmp_path), *SMALL, "--against", "bad.json")
    outcome = run("inspect-grad", *asked, "--json")
    assert outcome.code == 3
    message = outcome.document["error"]["message"]
    assert message.startswith("bad.json: not a gradient graph: nodes: Field required")


def test_invalid_sides_of_a_comparison(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    assert run("inspect-grad", weights, *SMALL, "--against", "fp16").code == 2
    missing = run("inspect-grad", weights, *SMALL, "--against", "nowhere.json")
    assert missing.code == 2
    assert "none of fp32, bf16, fp16, train, eval, cpu, cuda, mps" in missing.err
    assert run("inspect-grad", "--compare", "nowhere.json", weights).code == 3
    assert run("inspect-grad", "--compare", "nowhere", weights).code == 4
    both = run("inspect-grad", weights, "--compare", weights, weights)
    assert both.code == 2
    assert "CHECKPOINT" in both.err
