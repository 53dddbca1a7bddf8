"""Small graphs of every kind that a replay must get right, each built by plain torch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

from mnist_cli.autograd import Recording, record, trace_modules, walk
from mnist_cli.autograd.expression import FUNCTIONS


@dataclass(frozen=True)
class Case:
    root: Tensor
    leaves: Mapping[str, Tensor]
    model: nn.Module | None = None

    @property
    def names(self) -> Mapping[str, Tensor] | nn.Module:
        return self.model if self.model is not None else self.leaves


def same_bits(ours: Tensor | None, theirs: Tensor | None) -> bool:
    """Whether two tensors agree in shape, dtype and every byte; compared by torch alone."""
    if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return ours is theirs
    return torch.equal(_bytes(ours), _bytes(theirs))


def _bytes(tensor: Tensor) -> Tensor:
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    return dense.resolve_conj().resolve_neg().reshape(-1).contiguous().view(torch.uint8)


def recorded(model: nn.Module, inputs: Tensor, *, keep: bool = False) -> Recording:
    """What the engine does for the mean square of a model's outputs."""
    with trace_modules(model) as modules:
        loss = model(inputs).square().mean()
    return record(walk(loss, model, modules), keep=keep)


FORMULAS = {
    "reshape": "reshape(x, 4, -1)",
    "transpose": "transpose(x, 0, 1)",
    "unsqueeze": "unsqueeze(x, 0)",
    "squeeze": "squeeze(x, 0)",
    "mv": "mv(x, sum(y, 0))",
    "dot": "dot(flatten(x), flatten(y))",
    "outer": "outer(flatten(x), flatten(y))",
    "linear": "linear(x, y, mean(y, 0))",
}


def formula(name: str) -> str:
    """A call of a function that an expression may use, on matrices x and y of two rows."""
    return FORMULAS.get(name) or f"{name}({', '.join('xyy'[: FUNCTIONS[name].tensors])})"


ZOO: dict[str, Callable[[], Case]] = {}


def kept(build: Callable[[], Case]) -> Callable[[], Case]:
    def seeded() -> Case:
        torch.manual_seed(7)
        return build()

    ZOO[build.__name__] = seeded
    return seeded


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def of_model(model: nn.Module, loss: Tensor) -> Case:
    return Case(loss, dict(model.named_parameters()), model)


class ConvNet(nn.Module):
    """Convolution, batch norm, in-place ReLU, pooling, dropout, linear: a usual network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(4 * 3 * 3, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.norm(self.conv(images))), 2)
        return self.fc(self.drop(x.flatten(1)))


def images() -> Tensor:
    return torch.randn(6, 1, 8, 8)


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@kept
def conv_net_train() -> Case:
    model = ConvNet()
    return of_model(model, F.cross_entropy(model(images()), LABELS))


@kept
def conv_net_channels_last() -> Case:
    model = ConvNet().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(images().to(memory_format=torch.channels_last))
        return of_model(model, F.nll_loss(F.log_softmax(out, 1), LABELS))


@kept
def heavy_fan_in() -> Case:
    x, w = leaf(17), leaf(17)
    total = x * w
    for k in range(40):
        total = total + torch.sin(x * (k + 0.37)) * w / (k + 1.3) + x.exp() * 0.01
    return Case(total.sum(), {"x": x, "w": w})


@kept
def broadcasting() -> Case:
    a, b, c = leaf(4, 1, 3), leaf(5, 1), leaf(3)
    return Case(((a + b) * c - b / (c.abs() + 1)).mean(), {"a": a, "b": b, "c": c})


@kept
def linear_bias_is_reduced() -> Case:
    x, w, b = leaf(8, 3), leaf(2, 3), leaf(2)
    return Case(F.linear(x, w, b).tanh().sum(), {"x": x, "w": w, "b": b})


@kept
def multi_output() -> Case:
    x = leaf(6, 4)
    first, second, *_ = x.unbind(0)
    halves = x.split([1, 3], dim=1)
    values, _ = (x * 2).topk(2, dim=1)
    chunks = x.sin().chunk(3)
    total = first @ second + (halves[1] ** 2).sum() + values.sum() + chunks[1].prod()
    return Case(total, {"x": x})


@kept
def one_of_many_outputs() -> Case:
    x = leaf(3, 4)
    return Case((x * x).unbind(0)[2], {"x": x})


@kept
def views_written_in_place() -> Case:
    x, y = leaf(4, 5), leaf(5)
    base = x * 1.5
    base[1] = y
    row = base[2:, ::2]
    row.mul_(y[:3])
    base.t()[0].add_(y.sum())
    return Case((base * base).sum(), {"x": x, "y": y})


@kept
def in_place_chain() -> Case:
    x = leaf(5, 5)
    y = (x + 0).clamp_(max=2.0).clone().mul_(3).add_(x).relu_()
    return Case(y.sigmoid().sum(), {"x": x})


class Scale(torch.autograd.Function):
    """Takes a plain number between tensors, and gives back one gradient a tensor."""

    @staticmethod
    def forward(ctx, a, factor, b):
        ctx.save_for_backward(a, b)
        ctx.factor = factor
        return a * b * factor, a + b

    @staticmethod
    def backward(ctx, grad_product, grad_sum):
        a, b = ctx.saved_tensors
        grad_a = grad_product * b * ctx.factor + grad_sum
        return grad_a, None, grad_product * a * ctx.factor + grad_sum


class Choosy(torch.autograd.Function):
    """Declines zeros: what does not come is None."""

    @staticmethod
    def forward(ctx, a):
        ctx.set_materialize_grads(False)
        rounded = a.round().long()
        ctx.mark_non_differentiable(rounded)
        return a * 2, rounded, a * 3

    @staticmethod
    def backward(ctx, first, _, third):
        assert first is None
        return third * 3


@kept
def custom_function() -> Case:
    a, b = leaf(3, 4), leaf(3, 4)
    product, total = Scale.apply(a, 3, b)
    return Case((product * total.detach() + product.sin()).sum(), {"a": a, "b": b})


@kept
def custom_function_with_an_unused_result() -> Case:
    a, b = leaf(3, 4), leaf(3, 4)
    _, total = Scale.apply(a, 0.5, b)
    return Case(total.cos().sum(), {"a": a, "b": b})


@kept
def custom_function_of_a_constant() -> Case:
    a, b = torch.randn(3, 4), leaf(3, 4)
    product, _ = Scale.apply(a, 2, b)
    return Case(product.exp().mean(), {"b": b})


@kept
def custom_function_without_zeros() -> Case:
    a = leaf(4)
    _, _, third = Choosy.apply(a)
    return Case(third.sum(), {"a": a})


class Deaf(torch.autograd.Function):
    """Gives no gradient at all to its input."""

    @staticmethod
    def forward(ctx, a):
        return a * 2

    @staticmethod
    def backward(ctx, grad):
        return None


@kept
def a_branch_where_nothing_flows() -> Case:
    a, b = leaf(4), leaf(4)
    product, total = Scale.apply(a, 1, b)
    return Case((Deaf.apply(product + total) + a.sin()).sum(), {"a": a, "b": b})


def segment(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: F.dropout(torch.tanh(layer(x)), 0.4)


def checkpointed(reentrant: bool) -> Case:
    first, second, last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
    model = nn.ModuleDict({"first": first, "second": second, "last": last})
    x = torch.randn(5, 6, requires_grad=True)
    h = checkpointing.checkpoint(segment(second), first(x), use_reentrant=reentrant)
    h = checkpointing.checkpoint(segment(second), h, use_reentrant=reentrant)
    return of_model(model, (last(second(h)) ** 2).sum())


def thrice(layer: nn.Module, reentrant: bool) -> Callable[[Tensor], Tensor]:
    def inner(x: Tensor) -> Tensor:
        return torch.tanh(layer(x))

    def outer(x: Tensor) -> Tensor:
        return checkpointing.checkpoint(inner, inner(x), use_reentrant=reentrant)

    return outer


@kept
def nested_checkpoint() -> Case:
    layer, x = nn.Linear(4, 4), leaf(3, 4)
    inside = checkpointing.checkpoint(thrice(layer, False), x, use_reentrant=False)
    return of_model(layer, layer(inside).sum())


@kept
def nested_reentrant_checkpoint() -> Case:
    layer, x = nn.Linear(4, 4), leaf(3, 4)
    with warnings.catch_warnings():  # the inner one runs without gradients in the forward pass
        warnings.simplefilter("ignore")
        inside = checkpointing.checkpoint(thrice(layer, True), x, use_reentrant=True)
    return of_model(layer, layer(inside).sum())


@kept
def made_by_several_threads() -> Case:
    """Each thread counts from zero: numbers repeat, and the engine's heap breaks the ties."""
    x = leaf(40)
    made: list[list[Tensor]] = [[] for _ in range(9)]

    def work(number: int) -> None:
        made[number] = [torch.sin(x * (number + k + 0.3)) for k in range(3)]

    for number in range(9):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join()
    return Case(sum(t.sum() for ts in made for t in ts), {"x": x})


@kept
def packed_by_hooks() -> Case:
    x = leaf(4)
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: t.numpy(force=True), lambda a: torch.from_numpy(a)
    )
    with hooks:
        y = (x.sin() * x).exp()
    return Case(y.sum(), {"x": x})


class Widening(torch.autograd.Function):
    """Asks for its gradient in float64, where this version of torch has it."""

    @staticmethod
    def forward(ctx, a):
        if hasattr(ctx, "set_output_grad_dtype"):
            ctx.set_output_grad_dtype(torch.float64, None, None)
        whole = a.long()
        ctx.mark_non_differentiable(whole)
        return a * 2, whole, a + 1

    @staticmethod
    def backward(ctx, grad, _, other):
        return (grad.sin() * 2 + other).to(torch.float32)


@kept
def custom_function_with_a_dtype_of_its_own() -> Case:
    x = leaf(4)
    wide, _, as_it_comes = Widening.apply(x)
    return Case((wide.sin() * as_it_comes).sum(), {"x": x})


@kept
def many_at_once() -> Case:
    a, b = leaf(3), leaf(4)
    doubled = torch._foreach_mul([a, b], 2.0)
    rows = torch.vmap(lambda row: (row * row).sin().sum())(doubled[1].expand(3, 4))
    return Case(doubled[0].exp().sum() + rows.sum(), {"a": a, "b": b})


@kept
def checkpoint() -> Case:
    return checkpointed(reentrant=False)


@kept
def reentrant_checkpoint() -> Case:
    return checkpointed(reentrant=True)


@kept
def third_order() -> Case:
    x = leaf(5)
    y = (x**4 * x.sin()).sum()
    for _ in range(2):
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        y = (g * g.cos()).sum()
    return Case(y, {"x": x})


@kept
def several_dtypes() -> Case:
    x, w = leaf(4, 4, dtype=torch.float64), leaf(4, 4)
    mixed = (x.float() @ w).to(torch.bfloat16) * w.to(torch.bfloat16)
    return Case(mixed.double().sum() + (x * w).sum(), {"x": x, "w": w})


@kept
def complex_numbers() -> Case:
    x = leaf(4, dtype=torch.complex64)
    y = leaf(4)
    return Case((x * y + x.conj() * 2j).abs().sum(), {"x": x, "y": y})


@kept
def not_finite() -> Case:
    x = torch.tensor([0.0, -1.0, 2.0, -0.0], requires_grad=True)
    return Case((x.sqrt() * x + x.log() + x.abs()).sum(), {"x": x})


@kept
def attention_and_recurrence() -> Case:
    model = nn.ModuleDict(
        {"attend": nn.MultiheadAttention(8, 2, batch_first=True), "recur": nn.GRU(8, 8)}
    )
    x = torch.randn(3, 5, 8)
    h, _ = model["attend"](x, x, x)
    out, _ = model["recur"](h)
    return of_model(model, out.pow(2).mean())


@kept
def shared_and_unused() -> Case:
    table = nn.Embedding(7, 4)
    used, unused = leaf(4), leaf(4)
    h = table(torch.tensor([1, 1, 3])) @ used
    return Case(
        (h @ table.weight.sum(1)[:3]).sum(),
        {"table": table.weight, "used": used, "unused": unused},
    )


@kept
def sparse_embedding() -> Case:
    table = nn.Embedding(9, 3, sparse=True)
    h = table(torch.tensor([1, 4, 1])) * table(torch.tensor([0, 4, 8]))
    return Case(h.sum(), {"table": table.weight})


@kept
def a_hooked_leaf() -> Case:
    x = leaf(3)
    x.register_hook(lambda g: g * 0.5)
    return Case((x.sin() * x).sum(), {"x": x})


@kept
def long_chain() -> Case:
    x = leaf(3)
    y = x
    for _ in range(3000):
        y = y * 1.0001
    return Case(y.sum(), {"x": x})
