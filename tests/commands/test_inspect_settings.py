"""``inspect-grad``: the settings that every question computes under, and what is made once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from inspected import SMALL, saved
from program import Run

from mnist_cli.autograd import folding, loads
from mnist_cli.autograd.render import layout, svg
from mnist_cli.devices import device
from mnist_cli.networks import registry as models


class Seen(torch.autograd.Function):
    """The identity; notes torch's switches at each call, forward and backward."""

    switches: list[tuple[str, bool, str]]

    @classmethod
    def note(cls, way: str) -> None:
        precision = torch.get_float32_matmul_precision()
        cls.switches.append((way, torch.are_deterministic_algorithms_enabled(), precision))

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        Seen.note("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        Seen.note("backward")
        return grad


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU computes under the switches that the command asks for on CUDA."""
    monkeypatch.setattr(Seen, "switches", [], raising=False)
    real, forward = device.compute_settings, models.Conv2.forward

    def settings(_: torch.device, **options: Any) -> Any:
        return real(torch.device("cuda"), **options)

    def seen(self: models.Conv2, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = Seen.apply(forward(self, images))
        return scores

    monkeypatch.setattr(device, "compute_settings", settings)
    monkeypatch.setattr(models.Conv2, "forward", seen)
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.mark.parametrize(
    "question",
    [
        ["--step"],
        ["--node", "SeenBackward"],
        ["--gradcheck", "--samples", "1"],
        ["--path", "fc1.weight"],
        ["--against", "eval"],
        ["--replay", "--format", "text"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("flags", "deterministic", "precision"),
    [([], True, "highest"), (["--no-deterministic"], False, "high")],
    ids=["default", "no-deterministic"],
)
@pytest.mark.usefixtures("as_on_cuda")
def test_every_question_computes_under_the_settings_asked_for(
    run: Run, tmp_path: Path, question: list[str], flags: list[str], deterministic: bool,
    precision: str,
) -> None:  # fmt: skip
    weights = saved("conv2", tmp_path)
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    outcome = run("inspect-grad", weights, *SMALL, *question, *flags)
    assert outcome.code == 0, outcome.err
    assert set(Seen.switches) == {
        ("forward", deterministic, precision),
        ("backward", deterministic, precision),
    }
    after = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    assert after == before


def test_a_dump_is_folded_and_laid_out_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, **options: calls.append(name) or real(*args, **options)
        )

    counted(folding, "_group")
    counted(layout, "Scene")
    weights = saved("conv2", tmp_path)
    outcome = run("inspect-grad", weights, *SMALL, "--fold", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert sorted(calls) == ["Scene", "_group"]


def test_pictures_of_one_layout_are_those_of_their_own(run: Run, tmp_path: Path) -> None:
    weights = saved("conv2", tmp_path)
    words = ["--format", "json,svg,html,dot,mermaid", "--direction", "right", "--out", tmp_path]
    assert run("inspect-grad", weights, *SMALL, *words).code == 0
    graph = loads((tmp_path / "graph.json").read_text())
    assert (tmp_path / "graph.svg").read_text() == svg.render(graph, direction="right")
    assert '"direction":"right"' in (tmp_path / "graph.html").read_text()
    assert "rankdir=RL" in (tmp_path / "graph.dot").read_text()
    assert (tmp_path / "graph.mmd").read_text().startswith("flowchart RL\n")
