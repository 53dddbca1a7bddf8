"""What the table says of a node is what the node does, and its names are those of this torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cli.autograd import call_node, walk
from mnist_cli.autograd.expression import FUNCTIONS, evaluate
from mnist_cli.autograd.meanings import MEANINGS, meaning
from mnist_cli.autograd.replaying import replay
from mnist_cli.networks import registry as models

# ------------------------------------------------------------------ formulas

X = torch.tensor([[0.3, 0.7, 0.2], [0.9, 0.5, 0.4]], dtype=torch.float64)
Y = torch.tensor([[1.5, 0.6, 0.1], [0.2, 0.8, 1.1]], dtype=torch.float64)
G = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]], dtype=torch.float64)
SCALAR = torch.tensor(3.0, dtype=torch.float64)

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]  # of x, z and grad

ELEMENTWISE: Mapping[str, tuple[Callable[[Tensor], Tensor], Formula]] = {
    "Neg": (torch.neg, lambda x, z, g: -g),
    "Pow": (lambda x: x**3, lambda x, z, g: g * 3 * x**2),
    "Exp": (torch.exp, lambda x, z, g: g * z),
    "Expm1": (torch.expm1, lambda x, z, g: g * (z + 1)),
    "Log": (torch.log, lambda x, z, g: g / x),
    "Log2": (torch.log2, lambda x, z, g: g / (x * math.log(2))),
    "Log10": (torch.log10, lambda x, z, g: g / (x * math.log(10))),
    "Log1P": (torch.log1p, lambda x, z, g: g / (1 + x)),
    "Sqrt": (torch.sqrt, lambda x, z, g: g / (2 * z)),
    "Rsqrt": (torch.rsqrt, lambda x, z, g: -g * z**3 / 2),
    "Reciprocal": (torch.reciprocal, lambda x, z, g: -g * z**2),
    "Sin": (torch.sin, lambda x, z, g: g * x.cos()),
    "Cos": (torch.cos, lambda x, z, g: -g * x.sin()),
    "Tan": (torch.tan, lambda x, z, g: g * (1 + z**2)),
    "Asin": (torch.asin, lambda x, z, g: g / (1 - x**2).sqrt()),
    "Acos": (torch.acos, lambda x, z, g: -g / (1 - x**2).sqrt()),
    "Atan": (torch.atan, lambda x, z, g: g / (1 + x**2)),
    "Sinh": (torch.sinh, lambda x, z, g: g * x.cosh()),
    "Cosh": (torch.cosh, lambda x, z, g: g * x.sinh()),
    "Erf": (torch.erf, lambda x, z, g: g * 2 / math.sqrt(math.pi) * (-(x**2)).exp()),
    "Tanh": (torch.tanh, lambda x, z, g: g * (1 - z**2)),
    "Sigmoid": (torch.sigmoid, lambda x, z, g: g * z * (1 - z)),
    "Relu": (lambda x: (x - 0.45).relu(), lambda x, z, g: torch.where(z > 0, g, 0)),
    "LeakyRelu": (
        lambda x: F.leaky_relu(x - 0.45, 0.1),
        lambda x, z, g: torch.where(x > 0.45, g, 0.1 * g),
    ),
    "Gelu": (
        F.gelu,
        lambda x, z, g: (
            g
            * (
                (1 + (x / math.sqrt(2)).erf()) / 2
                + x * (-(x**2) / 2).exp() / math.sqrt(2 * math.pi)
            )
        ),
    ),
    "Silu": (F.silu, lambda x, z, g: g * x.sigmoid() * (1 + x * (1 - x.sigmoid()))),
    "Softplus": (F.softplus, lambda x, z, g: g * x.sigmoid()),
    "Abs": (lambda x: (x - 0.45).abs(), lambda x, z, g: g * (x - 0.45).sign()),
    "Sign": (torch.sign, lambda x, z, g: torch.zeros_like(x)),
    "Floor": (torch.floor, lambda x, z, g: torch.zeros_like(x)),
    "Ceil": (torch.ceil, lambda x, z, g: torch.zeros_like(x)),
    "Threshold": (
        lambda x: F.threshold(x, 0.45, 0.0),
        lambda x, z, g: torch.where(x > 0.45, g, 0),
    ),
    "Softmax": (
        lambda x: x.softmax(1),
        lambda x, z, g: z * (g - (g * z).sum(1, keepdim=True)),
    ),
    "LogSoftmax": (
        lambda x: x.log_softmax(1),
        lambda x, z, g: g - x.softmax(1) * g.sum(1, keepdim=True),
    ),
    "Cumsum": (lambda x: x.cumsum(1), lambda x, z, g: g.flip(1).cumsum(1).flip(1)),
}

REDUCED: Mapping[str, tuple[Callable[[Tensor], Tensor], Formula]] = {
    "Sum": (torch.sum, lambda x, z, g: g.expand(x.shape)),
    "Mean": (torch.mean, lambda x, z, g: (g / x.numel()).expand(x.shape)),
    "Prod": (torch.prod, lambda x, z, g: g * z / x),
    "Var": (torch.var, lambda x, z, g: g * 2 * (x - x.mean()) / (x.numel() - 1)),
    "Std": (torch.std, lambda x, z, g: g * (x - x.mean()) / ((x.numel() - 1) * z)),
    "Logsumexp": (
        lambda x: torch.logsumexp(x, (0, 1)),
        lambda x, z, g: g * x.flatten().softmax(0).reshape(x.shape),
    ),
    "LinalgVectorNorm": (torch.linalg.vector_norm, lambda x, z, g: g * x / z),
    "Max": (torch.max, lambda x, z, g: torch.where(x == x.max(), g, 0)),
    "Min": (torch.min, lambda x, z, g: torch.where(x == x.min(), g, 0)),
}


def the_nodes_answer(make: Callable[[Tensor], Tensor], key: str, grad: Tensor) -> Tensor:
    """What the one node of that name gives for x, called by hand."""
    x = X.clone().requires_grad_()
    z = make(x)
    found = z.grad_fn
    assert found is not None
    assert meaning(found.name()) == MEANINGS[key]
    (result, *_rest) = call_node(found, grad)
    assert result is not None
    return result


@pytest.mark.parametrize("key", ELEMENTWISE)
def test_a_formula_of_one_argument(key: str) -> None:
    make, formula = ELEMENTWISE[key]
    with torch.no_grad():
        expected = formula(X, make(X), G)
    torch.testing.assert_close(the_nodes_answer(make, key, G), expected)


@pytest.mark.parametrize("key", REDUCED)
def test_a_formula_of_a_sum_over_everything(key: str) -> None:
    make, formula = REDUCED[key]
    with torch.no_grad():
        expected = formula(X, make(X), SCALAR)
    torch.testing.assert_close(the_nodes_answer(make, key, SCALAR), expected)


def test_equal_entries_share_evenly() -> None:
    tied = torch.tensor([2.0, 5.0, 5.0], requires_grad=True)
    for make in (torch.max, lambda x: -torch.min(-x)):
        (grad,) = torch.autograd.grad(make(tied), tied)
        assert grad.tolist() == [0.0, 0.5, 0.5]
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    for pick in (torch.maximum, torch.minimum):
        assert [g.item() for g in torch.autograd.grad(pick(a, b), (a, b))] == [0.5, 0.5]


BINARY: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], Formula, Formula]] = {
    # x's and y's formulas take (x, y, grad)
    "Add": (torch.add, lambda x, y, g: g, lambda x, y, g: g),
    "Sub": (torch.sub, lambda x, y, g: g, lambda x, y, g: -g),
    "Mul": (torch.mul, lambda x, y, g: g * y, lambda x, y, g: g * x),
    "Div": (torch.div, lambda x, y, g: g / y, lambda x, y, g: -g * x / y**2),
    "Maximum": (
        torch.maximum,
        lambda x, y, g: torch.where(x > y, g, 0),
        lambda x, y, g: torch.where(y > x, g, 0),
    ),
    "Minimum": (
        torch.minimum,
        lambda x, y, g: torch.where(x < y, g, 0),
        lambda x, y, g: torch.where(y < x, g, 0),
    ),
    "MseLoss": (
        F.mse_loss,
        lambda x, y, g: g * 2 * (x - y) / x.numel(),
        lambda x, y, g: -g * 2 * (x - y) / x.numel(),
    ),
    "Mm": (
        lambda x, y: x @ y.reshape(3, 2),
        lambda x, y, g: g @ y.reshape(3, 2).T,
        lambda x, y, g: (x.T @ g).reshape(2, 3),
    ),
    "Mv": (
        lambda x, y: x @ y[0],
        lambda x, y, g: torch.outer(g, y[0]),
        lambda x, y, g: torch.stack([x.T @ g, torch.zeros(3, dtype=x.dtype)]),
    ),
    "Dot": (
        lambda x, y: x[0].dot(y[0]),
        lambda x, y, g: torch.stack([g * y[0], torch.zeros(3, dtype=x.dtype)]),
        lambda x, y, g: torch.stack([g * x[0], torch.zeros(3, dtype=x.dtype)]),
    ),
    "Bmm": (
        lambda x, y: torch.bmm(x[None], y.reshape(1, 3, 2)),
        lambda x, y, g: g[0] @ y.reshape(3, 2).T,
        lambda x, y, g: (x.T @ g[0]).reshape(2, 3),
    ),
}


@pytest.mark.parametrize("key", BINARY)
def test_a_formula_of_two_arguments(key: str) -> None:
    make, for_x, for_y = BINARY[key]
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    z = make(x, y)
    assert z.grad_fn is not None
    assert meaning(z.grad_fn.name()) == MEANINGS[key]
    grad = torch.linspace(0.5, 2.0, z.numel(), dtype=z.dtype).reshape(z.shape)
    found = replay(z, grad, {"x": x, "y": y}).gradients
    torch.testing.assert_close(found["x"], for_x(X, Y, grad))
    torch.testing.assert_close(found["y"], for_y(X, Y, grad))


def test_a_linear_layers_node() -> None:
    x, weight, bias = (t.clone().requires_grad_() for t in (X, Y, torch.zeros(2).double()))
    z = F.linear(x, weight, bias)
    grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    assert z.grad_fn is not None
    assert meaning(z.grad_fn.name()) == MEANINGS["Addmm"]
    to_bias, to_x, to_weight_t = call_node(z.grad_fn, grad)
    assert to_bias is not None
    assert to_bias.shape == (2, 2)  # summed over the batch only on its way
    torch.testing.assert_close(to_x, grad @ Y)
    torch.testing.assert_close(to_weight_t, X.T @ grad)


def test_the_losss_node() -> None:
    scores = X.log_softmax(1).requires_grad_()
    loss = F.nll_loss(scores, torch.tensor([2, 0]))
    assert loss.grad_fn is not None
    assert meaning(loss.grad_fn.name()) == MEANINGS["NllLoss"]
    (grad,) = call_node(loss.grad_fn, SCALAR)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    expected[0, 2] = expected[1, 0] = -SCALAR / 2
    torch.testing.assert_close(grad, expected)


# ------------------------------------------------------------------ names


def _fused_batch(x: Tensor) -> Tensor:
    return F.batch_norm(x.reshape(2, 3, 1, 1), None, None, training=True)


def _changed_in_place(x: Tensor) -> Tensor:
    whole = x * 1
    whole[0].mul_(2)
    return whole


MAKERS: Mapping[str, Callable[[Tensor], Tensor]] = {
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
    "ToCopy": lambda x: x.float(),
    "MaskedFill": lambda x: x.masked_fill(x > 0.5, 0.0),
    "Convolution": lambda x: F.conv1d(x[None], torch.ones(1, 2, 2, dtype=x.dtype)),
    "MaxPool2DWithIndices": lambda x: F.max_pool2d(x[None], 2),
    "AvgPool2D": lambda x: F.avg_pool2d(x[None], 2),
    "NativeBatchNorm": _fused_batch,
    "NativeLayerNorm": lambda x: F.layer_norm(x, (3,)),
    "NativeDropout": lambda x: torch.native_dropout(x, 0.5, train=True)[0],
    "CopySlices": _changed_in_place,
}

ELSEWHERE = {"FusedDropout", "CompiledFunction", "AccumulateGrad", "Addmm", "NllLoss"}
"""On CUDA, under torch.compile, at every leaf; and two that have a test of their own."""


@pytest.mark.parametrize("key", MAKERS)
def test_a_name_is_one_that_this_torch_gives(key: str) -> None:
    x = X.clone().requires_grad_()
    names = [node.name for node in walk(MAKERS[key](x)).graph.nodes]
    assert MEANINGS[key] in [meaning(name) for name in names], names


def test_every_meaning_has_been_tried() -> None:
    tried = {*ELEMENTWISE, *REDUCED, *BINARY, *MAKERS, *ELSEWHERE}
    assert set(MEANINGS) == tried


# ------------------------------------------------------------------ what has one

CALLS = {
    "add": "add(x, y)",
    "reshape": "reshape(x, 4, -1)",
    "transpose": "transpose(x, 0, 1)",
    "unsqueeze": "unsqueeze(x, 0)",
    "mv": "mv(x, sum(y, 0))",
    "dot": "dot(flatten(x), flatten(y))",
    "outer": "outer(flatten(x), flatten(y))",
    "linear": "linear(x, y, mean(y, 0))",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_an_expression_has_a_meaning(name: str) -> None:
    function = FUNCTIONS[name]
    call = CALLS.get(name) or f"{name}({', '.join('xyy'[: function.tensors])})"
    leaves = {key: torch.rand(2, 2).requires_grad_() for key in "xy"}
    value = evaluate(call, leaves)
    assert value.grad_fn is not None
    assert meaning(value.grad_fn.name())


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
