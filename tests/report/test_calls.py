"""A node and its call in lines: as torch prints small tensors, as figures and rows the large."""

from __future__ import annotations

import math

import pytest
import torch

from mnist_cli.autograd import parse_value, walk
from mnist_cli.autograd.experimenting import experiment
from mnist_cli.report.node_calls import call_lines, cut_lines, experiment_lines, node_lines, shown
from mnist_cli.report.steps import Glyphs, describe, find_step, step_lines


def lines(expression: str, *, grad: str | None = None, **options: object) -> list[str]:
    leaves = {
        name: parse_value(text).requires_grad_()
        for name, text in {"x": "2", "y": "3", "a": "[[1, 2], [3, 4]]"}.items()
        if name in expression
    }
    given = None if grad is None else parse_value(grad)
    return list(experiment_lines(experiment(expression, leaves, given, **options)))  # type: ignore[arg-type]


def test_a_scalars_experiment_reads_as_torch_prints() -> None:
    text = lines("x * y", grad="0.1")
    assert text[:3] == [
        "x = tensor(2.)",
        "y = tensor(3.)",
        "x * y = tensor(6., grad_fn=<MulBackward0>)",
    ]
    call = text.index("MulBackward0(tensor(0.1000)) returns")
    assert text[call + 1 :] == ["  [0] tensor(0.3000)   to x", "  [1] tensor(0.2000)   to y"]


def test_the_sum_of_several_paths_is_shown() -> None:
    text = lines("x * x")
    assert "  [0] tensor(2.)   to x" in text
    assert "  [1] tensor(2.)   to x" in text
    assert "  gradient of x = tensor(4.)" in text  # 2 x
    deeper = lines("exp(x * 2)")
    assert any(line.startswith("  gradient of x = ") for line in deeper)
    assert not any(line.startswith("  gradient of") for line in lines("x + y"))


def test_later_orders_follow() -> None:
    text = lines("x ** 3", create_graph=True, orders=3)
    starts = [line for line in text if line.startswith("order ")]
    assert [line[:26] for line in starts] == [f"order {n}: the gradient of x" for n in (2, 3)]
    assert "tensor(12.," in starts[0]
    assert "tensor(12.," in starts[1]


def test_node_lines_hold_all_that_the_walk_knows() -> None:
    layer = torch.nn.Linear(3, 2)
    walked = walk(layer(torch.ones(4, 3)), names=layer)
    node = walked.graph.nodes[0]
    text = "\n".join(node_lines(node, walked.graph))
    assert "#0 AddmmBackward0" in text
    assert "a Linear layer" in text
    assert "a gradient of shape (4, 2), float32" in text
    for saved in node.saved:
        assert f"{saved.slot}: {saved.shape}" in text
    assert "result [1]  needs no gradient" in text
    assert "AccumulateGrad of bias" in text
    leaf = next(n for n in walked.graph.nodes if n.parameter == "bias")
    assert "not called" in "\n".join(node_lines(leaf, walked.graph))


def test_large_tensors_are_named_and_shown_in_rows() -> None:
    matrix, volume = torch.ones(50, 60), torch.zeros(2, 3, 4, 5)
    text = list(call_lines("ManyBackward0", [matrix, None], [volume, torch.tensor(1.0)], ["a", ""]))
    assert text[0] == f"grad[0] = {describe(matrix)}"
    assert text[1].strip().startswith("tensor([[1., 1., 1.,  ..., 1., 1., 1.],")
    call = text.index("ManyBackward0(grad[0], None) returns")
    assert text[call + 1 :] == [f"  [0] {describe(volume)}   to a", "  [1] tensor(1.)"]


def test_small_matrices_stand_in_one_line() -> None:
    assert shown(torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == "tensor([[1., 2.], [3., 4.]])"
    assert shown(None) == "None"


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (None, "no gradient"),
        (torch.tensor(3.0), "scalar float32  norm 3  [3]"),
        (torch.tensor([3.0, 4.0]).bfloat16(), "2 bfloat16  norm 5  [3, 4]"),
        (torch.ones(2, 8), "2×8 float32  norm 4  [1, 1, 1, 1, …]"),
        (torch.zeros(0, 3), "0×3 float32  norm 0  []"),
        (torch.tensor([torch.nan]), "1 float32  norm nan  [nan]"),
    ],
)
def test_a_tensor_in_a_line(tensor: torch.Tensor | None, words: str) -> None:
    assert describe(tensor) == words


def test_steps_say_what_meets_waits_and_is_cast() -> None:
    from mnist_cli.autograd import replay_steps

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    half = (x.sin() * x.cos()).bfloat16()
    walked = walk(half.sum(), names={"x": x}, saved=False)
    steps = list(replay_steps(walked))
    text = "\n".join(
        line
        for step in steps
        for line in step_lines(step, walked.graph, len(steps), Glyphs.ascii())
    )
    assert "cast on the way" in text or "ToCopyBackward0" in text
    assert "waits for more gradients" in text
    assert "added to what had arrived before" in text
    assert "arrived  this is the gradient of x" in text
    assert text.isascii()


def test_a_step_is_found_by_what_it_is_called() -> None:
    from mnist_cli.autograd import replay_steps, trace_modules

    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    with trace_modules(network) as modules:
        loss = network(torch.ones(1, 2)).sum()
    walked = walk(loss, names=network, modules=modules, saved=False)
    steps = list(replay_steps(walked))

    def named(text: str) -> str | None:
        place = find_step(steps, walked.graph, text)
        return None if place is None else walked.graph.nodes[steps[place].node].name

    assert named("tanh") == "TanhBackward0"
    assert named("0.bias") == "AccumulateGrad"
    assert named("1") == walked.graph.nodes[1].name  # an id before a module's name
    assert named("#0") == "SumBackward0"
    assert named("nowhere") is None
    assert named("99") is None
    assert named("  ") is None


@pytest.mark.parametrize("shape", [(4, 25), (4, 26), (101,), (2, 2, 99)])
def test_a_large_matrix_is_cut_as_torch_cuts_it(shape: tuple[int, ...]) -> None:
    grad = torch.arange(float(math.prod(shape))).reshape(shape)
    text = list(call_lines("It", [grad], [grad.t() if grad.dim() == 2 else grad]))
    assert text[0].startswith(f"grad = {'×'.join(map(str, shape))} float32  norm ")
    body = "\n".join(text[1:])
    whole = grad.numel() <= 100
    assert bool(list(cut_lines([None, grad]))) is (not whole and grad.dim() <= 2)
    assert ("..." in body) is (not whole and grad.dim() <= 2)
    if grad.dim() <= 2:
        assert f"{grad.flatten()[-1]:.0f}." in body
    assert (len(body) < 2000) or whole
    assert repr(grad).count("...") == 0  # torch itself is as before
