"""``--expr``, ``--node`` and ``--gradcheck``: the notebook's cells, with the numbers it printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from program import Run

from mnist_cli.errors import OutOfMemory
from mnist_cli.gradients import experiments


def test_a_formula_is_called_at_its_values(run: Run) -> None:
    asked = ("--expr", "x * y", "--at", "x=2", "--at", "y=3", "--grad", "0.1")
    document = run("inspect-grad", *asked, "--json").document
    assert document["results"] == pytest.approx([0.3, 0.2])
    assert set(document) >= {"expression", "value", "node", "results"}
    assert "tensor(0.3000)" in run("inspect-grad", *asked).out


def test_create_graph_shows_the_results_own_nodes(run: Run) -> None:
    asked = ("--expr", "x * y", "--at", "x=2", "--at", "y=3", "--grad", "0.1", "--create-graph")
    outcome = run("inspect-grad", *asked)
    assert "tensor(0.3000, grad_fn=<MulBackward0>)" in outcome.out
    assert "order 2" in outcome.out


def test_as_many_orders_as_wanted(run: Run) -> None:
    asked = ("--expr", "x ** 4", "--at", "x=2", "--create-graph", "--orders", "3", "--json")
    orders = run("inspect-grad", *asked).document["orders"]
    assert [(one["order"], one["of"], one["value"]) for one in orders] == [
        (2, "x", pytest.approx(4 * 2**3)),
        (3, "x", pytest.approx(12 * 2**2)),
    ]


def test_a_node_called_with_ones_equals_plain_torch(run: Run) -> None:
    asked = ("inspect-grad", "--model", "conv2", "--batch-size", "3", "--precision", "fp32")
    tree = run(*asked, "--json").document
    node = next(n for n in tree["nodes"] if n["name"] == "AddmmBackward0" and n["module"] == "fc2")
    called = run(*asked, "--node", str(node["id"]), "--grad", "ones", "--json").document
    (grad,) = called["grad"]
    assert torch.tensor(grad).shape == (3, 10)
    assert called["results"][0] == torch.ones(3, 10).tolist()
    assert torch.tensor(called["results"][1]).shape == (3, 256)


def test_a_gradient_from_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "grad.pt"
    torch.save(torch.full((2, 10), 0.5), path)
    asked = ("inspect-grad", "--model", "conv2", "--batch-size", "2", "--precision", "fp32")
    called = run(*asked, "--node", "LogSoftmaxBackward0", "--grad", path, "--json")
    assert called.document["grad"] == [[[0.5] * 10] * 2]
    hostile = tmp_path / "hostile.pt"
    hostile.write_bytes(b"\x80\x04cos\nsystem\n.")
    assert run(*asked, "--node", "LogSoftmaxBackward0", "--grad", hostile).code == 4


def test_gradcheck_agrees(run: Run) -> None:
    asked = "inspect-grad --model conv2 --batch-size 2 --gradcheck --samples 1"
    outcome = run(*asked.split(), "--precision", "bf16", "--json")
    assert "--precision is not used: the check computes in float64" in outcome.err
    document = outcome.document
    assert document["worst_error"] < document["tolerance"]
    assert {one["name"] for one in document["parameters"]} >= {"conv1.weight", "fc2.bias"}
    assert "images of digits, float64 on cpu" in run(*asked.split()).err


def test_a_gradient_longer_than_any_file_name(run: Run, tmp_path: Path) -> None:
    """Written out, a hundred numbers are no file's name."""
    numbers = str([0.5] * 100)
    assert len(numbers) > 255
    file = tmp_path / "grad.json"
    file.write_text(numbers, encoding="utf-8-sig")  # editors add the mark
    call = ("inspect-grad", "--expr", "2 * x", "--at", f"x={numbers}", "--json", "--grad")
    for gradient in (numbers, file):
        outcome = run(*call, gradient)
        assert outcome.code == 0, outcome.err


def test_a_formula_that_runs_out_of_memory_has_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(experiments, "experiment", fail)
    with pytest.raises(OutOfMemory) as caught:
        experiments.call_formula("2 * x", ["x=1"], [], None, None)
    assert "images" not in caught.value.hint
