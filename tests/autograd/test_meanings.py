"""The names in the table are those that this torch gives, and the common nodes have a meaning.

Formulas are text: whether they are right, torch's derivatives.yaml says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import formula
from torch import Tensor

from mnist_cli.autograd import walk
from mnist_cli.autograd.expression import FUNCTIONS, evaluate
from mnist_cli.autograd.meanings import MEANINGS, meaning
from mnist_cli.networks import registry as models

X = torch.tensor([[0.3, 0.7, 0.2], [0.9, 0.5, 0.4]])


def _fused_batch(x: Tensor) -> Tensor:
    return F.batch_norm(x.reshape(2, 3, 1, 1), None, None, training=True)


def _changed_in_place(x: Tensor) -> Tensor:
    whole = x * 1
    whole[0].mul_(2)
    return whole


MAKERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Neg": lambda x: -x,
    "Threshold": lambda x: F.threshold(x, 0.45, 0.0),
    "Bmm": lambda x: torch.bmm(x[None], x.t()[None]),
    "NllLoss": lambda x: F.nll_loss(x, torch.tensor([2, 0])),
    "T": lambda x: x.t(),
    "Transpose": lambda x: x.transpose(0, 1),
    "Permute": lambda x: x.permute(1, 0),
    "View": lambda x: x.view(3, 2),
    "UnsafeView": lambda x: x.t().reshape(6),
    "ReshapeAlias": lambda x: torch.ops.aten._reshape_alias(x, [3, 2], [2, 1]),
    "Expand": lambda x: x.expand(4, 2, 3),
    "Squeeze": lambda x: x.squeeze(),
    "Unsqueeze": lambda x: x.unsqueeze(0),
    "Select": lambda x: x[0],
    "Slice": lambda x: x[:1],
    "Index": lambda x: x[torch.tensor([0, 0])],
    "Cat": lambda x: torch.cat([x, x]),
    "Stack": lambda x: torch.stack([x, x]),
    "Split": lambda x: x.split(1)[0],
    "Unbind": lambda x: x.unbind()[0],
    "Clone": lambda x: x.clone(),
    "ToCopy": lambda x: x.double(),
    "MaskedFill": lambda x: x.masked_fill(x > 0.5, 0.0),
    "Convolution": lambda x: F.conv1d(x[None], torch.ones(1, 2, 2)),
    "MaxPool2DWithIndices": lambda x: F.max_pool2d(x[None], 2),
    "AvgPool2D": lambda x: F.avg_pool2d(x[None], 2),
    "NativeBatchNorm": _fused_batch,
    "NativeLayerNorm": lambda x: F.layer_norm(x, (3,)),
    "NativeDropout": lambda x: torch.native_dropout(x, 0.5, train=True)[0],
    "CopySlices": _changed_in_place,
}

ELSEWHERE = {"FusedDropout", "CompiledFunction", "AccumulateGrad"}
"""On CUDA, under torch.compile, and at every leaf."""


def meanings_of(root: Tensor) -> set[str]:
    """Keys of the table for the nodes of a graph."""
    names = {node.name for node in walk(root).graph.nodes if meaning(node.name)}
    return {name.rstrip("0123456789").removesuffix("Backward") for name in names}


def called(name: str) -> Tensor:
    return evaluate(formula(name), {key: torch.rand(2, 2).requires_grad_() for key in "xy"})


@pytest.mark.parametrize("key", MAKERS)
def test_a_name_is_one_that_this_torch_gives(key: str) -> None:
    assert key in meanings_of(MAKERS[key](X.clone().requires_grad_()))


def test_every_name_in_the_table_is_one_that_this_torch_gives() -> None:
    operators = evaluate("x * y - x / y", {k: torch.rand(2).requires_grad_() for k in "xy"})
    found = meanings_of(operators).union(*(meanings_of(called(name)) for name in FUNCTIONS))
    assert set(MEANINGS) == found | set(MAKERS) | ELSEWHERE


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", models.REGISTRY)
def test_every_node_of_the_networks_has_a_meaning(name: str, smoothing: float) -> None:
    network = models.build(name)
    logs = bool(getattr(network, "log_probabilities", False))
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(torch.rand(2, 1, 28, 28))
    loss = models.loss(scores, torch.tensor([1, 2]), log_probabilities=logs, smoothing=smoothing)
    names = {node.name for node in walk(loss).graph.nodes}
    assert [one for one in names if not meaning(one)] == []


def test_an_unknown_name_has_none() -> None:
    assert meaning("SomethingElseBackward0") == ""
    assert meaning("MulBackward1") == meaning("MulBackward0") == MEANINGS["Mul"]
