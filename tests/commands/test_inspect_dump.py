"""``mnist inspect-grad``: the dump, its files and its replay, on every network."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import torch.nn.functional as F
from inspected import SMALL, plain_activation, plain_gradients, saved
from program import Run, finish, start

from mnist_cli import autograd
from mnist_cli.autograd import Replay, Walk, loads
from mnist_cli.data.load import load
from mnist_cli.networks import registry as models


def dumped(run: Run, checkpoint: Path, *options: object) -> Any:
    """The document of a dump in fp32."""
    as_json = ("--precision", "fp32", "--format", "json", "--json")
    return run("inspect-grad", checkpoint, *options, *as_json).document


@pytest.fixture
def trained(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run that all tests share: dumps are written into it."""
    return Path(shutil.copytree(trained, tmp_path / "kept" / trained.name))


@pytest.mark.parametrize(
    ("name", "mode", "precision"), [("conv4", "--train", "fp32"), ("notebook", "--eval", "bf16")]
)
def test_a_replay_is_bit_equal(
    run: Run, tmp_path: Path, name: str, mode: str, precision: str
) -> None:
    weights = saved(name, tmp_path)
    options = [*SMALL[:-1], precision, "--format", "json", "--json"]
    outcome = run("inspect-grad", weights, "--replay", mode, *options)
    assert outcome.code == 0
    graph = loads(outcome.out)
    assert (graph.context["model"], graph.context["precision"]) == (name, precision)
    assert graph.replay is not None
    assert graph.replay.exact
    assert len(graph.replay.parameters) == len(list(models.build(name).parameters()))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("notebook", "--eval"),  # in training mode dropout draws
        ("example", "--eval"),
        ("conv2", "--train"),
        ("conv4", "--train"),
    ],
)
def test_gradient_norms_are_those_of_plain_torch(
    run: Run, tmp_path: Path, name: str, mode: str
) -> None:
    weights = saved(name, tmp_path)
    outcome = run("inspect-grad", weights, mode, *SMALL, "--json", "--format", "json")
    graph = loads(outcome.out)
    expected = plain_gradients(weights, name, list(graph.context["batch"]), train=mode == "--train")
    norms = {one.name: one.grad.norm for one in graph.parameters if one.grad}
    assert norms.keys() == expected.keys()
    # a bias before a batch norm in training mode has none but rounding's
    largest = max(float(grad.norm()) for grad in expected.values())
    for key, grad in expected.items():
        assert norms[key] == pytest.approx(float(grad.norm()), rel=1e-4, abs=1e-7 * largest), key


def test_the_result_of_a_replay_is_printed(run: Run, trained: Path, tmp_path: Path) -> None:
    outcome = run("inspect-grad", trained, "--replay", "--batch-size", "4", "--out", tmp_path)
    assert outcome.code == 0
    assert outcome.out.count("bit-equal") == 8 + 2 + 1  # each parameter, two sums, the tree's head
    assert "8 of 8 parameters' gradients bit-equal to autograd's" in outcome.out


def corrupted(walked: Walk) -> Replay:
    """A replay in which one entry of one gradient is off by the least that can be."""
    found = autograd.replaying.replay(walked)
    wrong = found.gradients["fc1.weight"].clone()
    wrong[0, 0] = torch.nextafter(wrong[0, 0], torch.tensor(torch.inf))
    return replace(found, gradients={**found.gradients, "fc1.weight": wrong})


@pytest.mark.parametrize("as_json", [False, True])
def test_a_corrupted_gradient_exits_6(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(autograd, "replay", corrupted)
    flags = ["--json"] if as_json else []
    options = ["--precision", "fp32", "--out", tmp_path, *flags]
    outcome = run("inspect-grad", trained, "--replay", *options)
    assert outcome.code == 6
    assert (
        "the replay differs from autograd in 1 of 8 parameters, most in fc1.weight" in outcome.err
    )
    assert "1 ULP" in outcome.err
    if as_json:
        assert outcome.document["error"]["code"] == 6
        assert outcome.document["error"]["kind"] == "replay"
    verdict = loads((tmp_path / "graph.json").read_text()).replay
    assert verdict is not None
    assert [one.name for one in verdict.parameters if not one.equal] == ["fc1.weight"]


class Wrong(torch.autograd.Function):
    """A square whose backward forgets the factor 2."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad * x


def test_a_wrong_backward_replays_but_fails_the_numeric_check(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = saved("conv2", tmp_path)

    def forward(self: models.Conv2, images: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(images), 4)  # (N, 24, 6, 6): 864, of which 800 are taken
        scores: torch.Tensor = self.fc2(Wrong.apply(self.fc1(x.flatten(1)[:, :800])))
        return scores

    monkeypatch.setattr(models.Conv2, "forward", forward)
    assert run("inspect-grad", weights, *SMALL, "--replay", "-q", "--format", "json").code == 0
    outcome = run("inspect-grad", weights, *SMALL, "--gradcheck", "--samples", "20")
    assert outcome.code == 6
    assert "differs from the central difference by a relative error of 0.5" in outcome.err


def test_the_same_seed_writes_the_same_bytes(run: Run, trained: Path, tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        assert run("inspect-grad", trained, "--replay", "--quiet", "--out", folder).code == 0
        written.append((folder / "graph.json").read_bytes())
    elsewhere = tmp_path / "third"
    process = start("inspect-grad", trained, "--replay", "--quiet", "--out", elsewhere)
    assert finish(process).code == 0
    written.append((elsewhere / "graph.json").read_bytes())
    assert written[0] == written[1] == written[2]
    assert run("inspect-grad", trained, "--seed", 5, "--quiet", "--out", tmp_path).code == 0
    assert (tmp_path / "graph.json").read_bytes() != written[0]


def test_every_format_is_written_and_valid(run: Run, trained: Path, tmp_path: Path) -> None:
    formats = "text,json,dot,mermaid,svg,html"
    outcome = run("inspect-grad", trained, *SMALL, "--format", formats, "--out", tmp_path)
    assert outcome.code == 0
    graph = loads((tmp_path / "graph.json").read_text())
    assert graph.nodes[0].name == "NllLossBackward0"
    svg = ElementTree.parse(tmp_path / "graph.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    page = (tmp_path / "graph.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for name, beginning in {"dot": "digraph", "mmd": "flowchart"}.items():
        assert beginning in (tmp_path / f"graph.{name}").read_text()
    assert "AddmmBackward0" in (tmp_path / "graph.txt").read_text()
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    assert outcome.err.count("wrote ") == 7


def test_files_are_written_into_the_run_or_here(run: Run, trained: Path) -> None:
    assert run("inspect-grad", trained, *SMALL, "-q", "--format", "json").code == 0
    assert (trained / "grad" / "graph.json").is_file()
    assert run("inspect-grad", "--model", "conv2", *SMALL, "-q", "--format", "json").code == 0
    assert Path("grad/graph.json").is_file()


def test_a_part_and_a_fold(run: Run, trained: Path) -> None:
    part = run("inspect-grad", trained, *SMALL, "--format", "text", "--module", "fc1")
    assert "fc1.weight" in part.out
    assert "conv1" not in part.out
    assert "the ids above are renumbered" in part.out
    folded = run("inspect-grad", trained, *SMALL, "--format", "text", "--fold")
    assert "#3 AddmmBackward0" not in folded.out
    assert "ConvolutionBackward0" not in folded.out
    assert "conv1" in folded.out
    whole = run("inspect-grad", trained, *SMALL, "--format", "text", "--no-fold")
    assert "the ids above" not in whole.out


def test_findings_are_those_of_the_part(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    dead = torch.load(weights, weights_only=True)
    dead["fc1.bias"].fill_(-1e6)  # no unit of fc1 fires: nothing reaches what lies before
    torch.save(dead, weights)
    everything = run("inspect-grad", weights, *SMALL, "--format", "text").out
    assert "zero-gradient  The gradient of conv1.weight is zero" in everything
    part = run("inspect-grad", weights, *SMALL, "--format", "text", "--module", "fc1").out
    assert "The gradient of fc1.weight is zero" in part
    assert "conv1" not in part
    asked = ("inspect-grad", weights, *SMALL, "--format", "text", "--module", "fc2")
    healthy = run(*asked).out
    assert run(*asked, "--quiet").out == healthy
    assert "fc1" not in healthy


def test_an_overflow_is_named_and_is_valid_json(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    large = torch.load(weights, weights_only=True)
    large["fc2.weight"].fill_(1e38)  # finite, as its products are not
    torch.save(large, weights)
    told = run("inspect-grad", weights, *SMALL, "--replay", "--out", tmp_path)
    assert told.code == 0  # NaN for NaN is bit-equal
    assert "not-finite  First in the backward pass: node 1, LogSoftmaxBackward0" in told.out
    graph = loads((tmp_path / "graph.json").read_text())  # refuses what JSON cannot hold
    assert graph.context["loss"] == "NaN"
    assert all(one.grad is not None and one.grad.nan for one in graph.parameters)
    ElementTree.parse(tmp_path / "graph.svg")


def test_a_path(run: Run, trained: Path) -> None:
    outcome = run("inspect-grad", trained, *SMALL, "--path", "conv1.weight")
    assert outcome.code == 0
    lines = [line.split()[0] for line in outcome.out.splitlines()]
    assert lines[1] == "NllLossBackward0"
    assert lines[-1] == "parameter"
    found = run("inspect-grad", trained, *SMALL, "--path", "conv1.weight", "--json").document
    graph = loads(run("inspect-grad", trained, *SMALL, "--format", "json", "--json").out)
    (conv1,) = [one for one in graph.parameters if one.name == "conv1.weight"]
    assert conv1.grad is not None
    assert found["steps"][-1]["norm"] == conv1.grad.norm
    assert found["steps"][0]["norm"] == 1.0
    names = [graph.nodes[step["node"]].name for step in found["steps"]]
    assert names == [step["name"] for step in found["steps"]]


# ------------------------------------------------------------------ what is inspected


def test_the_newest_run_is_taken_and_named(run: Run, trained: Path) -> None:
    outcome = run("inspect-grad", "--runs", trained.parent, *SMALL, "--format", "text")
    assert outcome.code == 0
    assert f"{trained / 'best.pt'}: conv2 in training mode" in outcome.err


def test_without_a_run_a_fresh_network_is_inspected(run: Run) -> None:
    first = run("inspect-grad", "--batch-size", "2", "--json", "--format", "json")
    assert first.code == 0
    assert "inspecting a fresh network 'conv4' on digits" in first.err
    assert first.document["dataset"] == "digits"
    again = run("inspect-grad", "--batch-size", "2", "--json", "--format", "json")
    assert again.out == first.out


def test_images_by_number_and_by_chance(run: Run, trained: Path) -> None:
    assert dumped(run, trained, "--indices", "3,14,15")["batch"] == [3, 14, 15]
    sixteen = dumped(run, trained, "--batch-size", 16)["batch"]
    assert len(set(sixteen)) == 16
    assert dumped(run, trained, "--batch-size", 16, "--seed", 9)["batch"] != sixteen


def test_train_and_val_are_as_the_run_cut_them(run: Run, trained: Path) -> None:
    train, val = (
        dumped(run, trained, "--split", name, "--batch-size", count)["batch"]
        for name, count in {"train": 192, "val": 64}.items()  # all that the run had
    )
    assert not set(train) & set(val)
    refused = run("inspect-grad", trained, "--split", "val", "--batch-size", 65)
    assert refused.code == 2
    assert "Choose 1 to 64." in refused.err
    test = dumped(run, trained, "--split", "test", "--batch-size", 8)
    assert test["split"] == "test"
    assert max(test["batch"]) < len(load("digits", Path("nowhere")).test)


def test_a_compiled_networks_run_is_inspected_uncompiled(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    whole = torch.load(trained / "last.pt", weights_only=True)
    whole["config"]["compile"] = True
    torch.save(whole, tmp_path / "compiled.pt")
    outcome = run("inspect-grad", tmp_path / "compiled.pt", *SMALL, "--format", "text")
    assert outcome.code == 0
    assert "inspected uncompiled" in outcome.err
    assert "AddmmBackward0" in outcome.out


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--format", "jpeg"], 2, "Choose among text, json, dot, mermaid, svg, html"),
        (["--format", ","], 2, "--format: unknown value"),
        (["--format", "json", "--module", "fc1"], 2, "--module has no effect on --format json"),
        (["--format", "json,text", "--direction", "right"], 2, "no effect on --format json,text"),
        (["--batch-size", "99999"], 2, "Choose 1 to"),
        (["--batch-size", "4", "--indices", "1"], 2, "contradict"),
        (["--indices", "1,x"], 2, "not comma-separated numbers"),
        (["--indices", "-1"], 2, "image -1 is not in the split"),
        (["--indices", "99999"], 2, "0 to 1414"),
        (["--split", "dev"], 2, "should be one of train, val, test"),
        (["--module", "fc11"], 2, "Did you mean fc1"),
        (["--path", "fc1.wieght"], 2, "Did you mean fc1.weight"),
        (["--node", "999"], 2, "Ids run from 0 to"),
        (["--node", "addmm"], 2, "Choose one by its id"),
        (["--model", "notebook"], 4, "holds the network 'conv2'"),
        (["--model", "nosuch"], 2, "nosuch"),
        (["--device", "tpu"], 2, "unknown device"),
        (["--precision", "fp16", "--device", "cpu"], 2, "is not available on the CPU"),
        (["--dataset", "nosuch"], 2, "nosuch"),
        (["--step", "--path", "fc1.weight"], 2, "contradict"),
        (["--node", "0", "--replay"], 2, "contradict"),
        (["--expr", "x*2", "--at", "x=1"], 2, "contradict"),
        (["--path", "fc1.weight", "--out", "there"], 2, "contradict"),
        (["--grad", "1"], 2, "has no effect without"),
        (["--const", "x=1"], 2, "has no effect without"),
        (["--node", "0", "--create-graph", "--orders", "3"], 2, "has no effect without"),
        (["--no-fold", "--depth", "2"], 2, "--no-fold and --depth contradict"),
        (["--samples", "3"], 2, "--samples has no effect without"),
        (["--tolerance", "0.1"], 2, "--tolerance has no effect without"),
        (["--path", "fc1.weight", "--no-fold"], 2, "--path and --no-fold contradict"),
    ],
)
def test_invalid_options_give_one_message(
    run: Run, trained: Path, options: list[str], code: int, words: str
) -> None:
    outcome = run("inspect-grad", trained, *options)
    assert outcome.code == code
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    if "--step" not in options:
        told = run("inspect-grad", trained, *options, "--json")
        assert told.code == code
        assert told.document["error"]["code"] == code
        assert words in told.document["error"]["message"]


def test_a_dump_has_the_forward_pass_which_is_that_of_plain_torch(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    options = [*SMALL, "--eval", "--view", "modules", "--format", "text,json", "--out", tmp_path]
    outcome = run("inspect-grad", weights, *options)
    graph = loads((tmp_path / "graph.json").read_text())
    assert [(one.module, one.kind) for one in graph.modules] == [
        ("", "Conv2"), ("conv1", "Conv2d"), ("conv2", "Conv2d"), ("fc1", "Linear"), ("fc2", "Linear")
    ]  # fmt: skip
    network = models.build("conv2")
    assert sum(one.parameters for one in graph.modules) == sum(
        one.numel() for one in network.parameters()
    )
    assert "conv1 " in outcome.out
    assert "backward graph" not in outcome.out
    assert "AddmmBackward0" not in outcome.out
    first = plain_activation(weights, list(graph.context["batch"]))
    figures = graph.modules[1].activation
    assert figures is not None
    assert figures.norm == pytest.approx(float(first.double().norm()), rel=1e-6)
    assert figures.std == pytest.approx(float(first.double().std(correction=0)), rel=1e-6)


def test_a_comparison_names_the_first_activation_that_differs(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    changed = torch.load(weights, weights_only=True)
    changed["fc1.bias"] += 1
    torch.save(changed, tmp_path / "other.pt")
    outcome = run("inspect-grad", "--compare", weights, tmp_path / "other.pt", *SMALL)
    assert "the first activation to differ is the output of fc1" in " ".join(outcome.out.split())
    found = run("inspect-grad", "--compare", weights, tmp_path / "other.pt", *SMALL, "--json")
    assert found.document["first_activation"]["module"] == "fc1"


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--step"], "--step"), (["--format", "json"], "has no effect on --format json")],
)
def test_a_view_that_has_no_effect_is_refused(run: Run, flags: list[str], words: str) -> None:
    outcome = run("inspect-grad", "--view", "modules", *flags)
    assert outcome.code == 2
    assert "--view" in outcome.err
    assert words in outcome.err
