"""Graphs that people debug, each in its smallest form: frozen, tied, checkpointed, sparse, nested.

The replay must equal what ``torch.autograd.grad`` or the engine computes, and an inspection must
leave everything as it was.
"""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import leaf
from odd_graphs import Made, boxed, frozen_since, jagged_relu, lazy, nested, sparse_gradient
from torch import Tensor, nn
from torch.autograd import Function
from torch.masked import as_masked_tensor
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from mnist_cli import autograd
from mnist_cli.autograd import (
    call_node,
    compare,
    dead_units,
    draw,
    dumps,
    experiment,
    first_not_finite,
    fold,
    gradcheck,
    inspect,
    judge,
    loads,
    record,
    replay,
    replay_steps,
    trace_modules,
    walk,
)
from mnist_cli.autograd.walking import Walk
from mnist_cli.errors import UsageError


def two_names() -> Made:
    x = leaf(3)
    return (x * 2).sum(), {"one": x, "two": x}


def tied() -> Made:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    return model(torch.randn(2, 3)).sum(), dict(model.named_parameters(remove_duplicate=False))


class Decorated(Function):
    """The dtype that it declares is in a decorated function."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.set_output_grad_dtype(torch.float32)
        return a.double()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.float() * (3 if g.dtype == torch.float32 else 5)


def decorated() -> Made:
    if not hasattr(torch.autograd.function.FunctionCtx, "set_output_grad_dtype"):
        pytest.skip("this torch has no set_output_grad_dtype")
    x = leaf(3)
    return (Decorated.apply(x) * 2).sum(), {"x": x}


def _declare(ctx: Any) -> None:
    ctx.set_materialize_grads(False)


def _deeply(function: Callable[..., Any]) -> Callable[..., Any]:
    def around(*arguments: Any) -> Any:  # without functools.wraps
        return function(*arguments)

    return around


class Helped(Function):
    """What it declares is in a function that a decorated one calls."""

    @staticmethod
    @_deeply
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        _declare(ctx)
        return a * 2, a * 3

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, h: Tensor | None) -> Tensor:
        return torch.ones(3) * (9 if g is None else 2) + (7 if h is None else 3)


class Dropped(Function):
    """Passes no gradient on."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        return None


def helped() -> Made:
    x = leaf(3)
    first, second = Helped.apply(x)
    return (Dropped.apply(first) + Dropped.apply(second) + x).sum(), {"x": x}


class Negative(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.full_like(g, -0.0)


def negative_zero() -> Made:
    """-0 from one way, then +0 from within a reentrant checkpoint: their sum is +0."""
    w, t = leaf(2), leaf(2)
    inner = checkpoint(lambda t: t * 1.0 + w * 0.0, t, use_reentrant=True)
    return inner.sum() + Negative.apply(w).sum(), {"w": w, "t": t}


def the_unnamed_ones_name() -> Made:
    a, b = leaf(2), leaf(2)
    return (a * b).sum(), {"leaf@3": a}


def another_dtype_since() -> Made:
    model = nn.Linear(3, 2)
    before = model(torch.randn(4, 3)).sum()  # keeps the AccumulateGrad nodes
    for parameter in model.parameters():
        parameter.data = parameter.data.double()
    loss = model(torch.randn(4, 3).double()).sum()
    loss.before = before  # type: ignore[attr-defined]
    return loss, model


class Noisy(Function):
    """Its backward draws random numbers."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * torch.rand_like(g)


def noisy() -> Made:
    x = leaf(3)
    return Noisy.apply(x).sum(), {"x": x}


def drawing_anew() -> Made:
    """Dropout in a checkpoint draws other numbers each time: once for all its saved tensors."""
    layer, x = nn.Linear(4, 4), leaf(3, 4)
    out = checkpoint(
        lambda x: F.dropout(layer(x).sin(), 0.5).exp(),
        x,
        use_reentrant=False,
        preserve_rng_state=False,
    )
    return (out * out).sum(), layer


def selective() -> Made:
    """Its cache serves one backward pass, which is the user's own."""
    layer, x = nn.Linear(4, 4), leaf(3, 4)
    contexts = partial(create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
    out = checkpoint(lambda x: layer(x).sin(), x, use_reentrant=False, context_fn=contexts)
    return out.exp().sum(), layer


def masked() -> Made:
    x = leaf(4)
    made = as_masked_tensor(x, torch.tensor([True, False, True, True]))
    return (made * made).to_tensor(0.0).sum(), {"x": x}


def jagged() -> Made:
    x = leaf(6, 3)
    made = torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 2, 6]))
    return (made * made).values().sum(), {"x": x}


def unwritten_zeros() -> Made:
    """The second derivative of ``sgn`` has no memory: the engine adds it in place to -0."""
    x = torch.tensor(-0.5363, requires_grad=True)
    (slope,) = torch.autograd.grad(F.normalize(x, dim=0).abs(), x, create_graph=True)
    return slope.abs().sum(), {"x": x}


def compiled() -> Made:
    a, b = leaf(3, 3), leaf(3, 3)
    call = torch.compile(lambda a, b: ((a @ b).sin(), (a * 2).sum()), backend="aot_eager")
    return call(a, b)[0].sum(), {"a": a, "b": b}


def sparse_saved() -> Made:
    x = leaf(3, 3)
    return torch.sparse.mm(torch.eye(3).to_sparse_csr(), x).sum(), {"x": x}


def wrapped() -> Made:
    x = TwoTensor(torch.randn(3), torch.randn(3)).requires_grad_()
    return (x.sin() * x).sum(), {"x": x}


class Declined(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        if a.numel() == 3:
            ctx.set_materialize_grads(False)
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Tensor:
        return torch.full((ctx.needs_input_grad.count(True) + 2,), 9.0) if g is None else g


class Inherits(Declined):
    """What it declares is in its base class."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return Declined.forward(ctx, a)


class Sums(Function):
    """No gradient reaches it, and only some inputs make it say that it takes none as missing."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        if a.numel() == 2:
            ctx.set_materialize_grads(False)
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Tensor:
        return torch.full((3,), 9.0) if g is None else g + 5


def no_gradient(function: type[Function]) -> Callable[[], Made]:
    def make() -> Made:
        x = leaf(3)
        return (Dropped.apply(function.apply(x)) + x).sum(), {"x": x}

    make.__name__ = f"no_gradient_at_{function.__name__}"
    return make


class InPlace(Function):
    """Changes in place the gradient that arrives."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.mul_(2)


class UsesUp(Function):
    """Its backward lets go of what its ``ctx`` keeps, to save memory."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.inputs, ctx.stack, ctx.named = [a], deque([a.detach()]), {"a": ([a.detach()],)}
        return a**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (a,), ctx.inputs[0] = ctx.inputs, None
        del ctx.inputs
        return g * a * ctx.stack.pop() * ctx.named.pop("a")[0].pop()


def used_up() -> Made:
    x = leaf(3)
    return (UsesUp.apply(x) + x).sum(), {"x": x}


class Keeps(Function):
    """Its ``ctx`` holds what it is given."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, kept: Any) -> Tensor:
        ctx.kept = kept
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g * 2, None


def holding_itself() -> Made:
    x, kept = leaf(3), []
    kept.append(kept)
    return Keeps.apply(x, kept).sum(), {"x": x}


def test_what_a_ctx_holds_is_left_alone_if_the_pass_does() -> None:
    """Another thread may read it, and tuples of tuples may be one object many times."""
    shared, nested = deque([1, 2]), ()
    for _ in range(40):
        nested = (nested, nested)
    reading, x = iter(shared), leaf(3)
    walked = walk(Keeps.apply(x, {"shared": shared, "nested": {1: nested}}).sum(), {"x": x})
    record(walked)
    assert list(reading) == [1, 2]


def hooked_inside_and_outside() -> Made:
    """What arrives first becomes ``.grad``; what the checkpoint adds is added in place."""
    model, t = nn.Linear(3, 3), leaf(2, 3)
    model.weight.register_hook(lambda grad: grad * 2)
    inner = checkpoint(model, t, use_reentrant=True)
    return inner.sum() + model(t).sum(), model


def quantised_saved() -> Made:
    class Quantised(Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor) -> Tensor:
            kept = torch.quantize_per_tensor(a, 0.1, 0, torch.qint8)
            ctx.save_for_backward(kept)
            return kept.dequantize()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * ctx.saved_tensors[0].dequantize()

    x = leaf(3)
    return Quantised.apply(x).sum(), {"x": x}


def odd_buffers() -> Made:
    """Buffers that share entries, have no values, no memory, or no shape yet."""
    model = nn.Sequential(nn.Linear(3, 3))
    model.register_buffer("expanded", torch.randn(1).expand(4))
    model.register_buffer("meta", torch.randn(3, device="meta"))
    model.register_buffer("sparse", torch.eye(3).to_sparse_csr())
    model.register_buffer("none", None)
    loss = model(torch.randn(2, 3)).sum()
    model.append(nn.LazyBatchNorm1d())
    return loss, model


ODD = [
    no_gradient(Declined),
    no_gradient(Inherits),
    no_gradient(Sums),
    used_up,
    holding_itself,
    hooked_inside_and_outside,
    quantised_saved,
    odd_buffers,
    frozen_since,
    two_names,
    tied,
    decorated,
    helped,
    negative_zero,
    the_unnamed_ones_name,
    another_dtype_since,
    noisy,
    drawing_anew,
    selective,
    masked,
    nested,
    jagged,
    jagged_relu,
    unwritten_zeros,
    lazy,
    boxed,
    compiled,
    sparse_saved,
    sparse_gradient,
    wrapped,
]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_the_replay_is_exact(make: Callable[[], Made]) -> None:
    torch.manual_seed(0)
    root, names = make()
    walked = walk(root, names)
    recorded = record(walked, keep=True)
    verdict = judge(replay(walked), recorded)
    assert verdict.exact, verdict.notes
    assert all(one.equal for one in verdict.nodes)
    assert first_not_finite(walked) is None
    dead_units(recorded)
    _same_as_the_engine(walked, root, recorded.gradients)


def _same_as_the_engine(walked: Walk, root: Tensor, recorded: Any) -> None:
    """The recording holds what a plain ``backward`` adds to each leaf."""
    torch.manual_seed(0)
    walked.random.restore()
    for one in walked.leaves.values():
        assert one.grad is None
    root.backward()
    for name, one in walked.leaves.items():
        assert (one.grad is None) == (name not in recorded), name
        if one.grad is not None and not hasattr(one.grad, "__tensor_flatten__"):
            torch.testing.assert_close(
                recorded[name].to_dense(), one.grad.to_dense(), rtol=0, atol=0
            )


def test_a_checkpoint_recomputes_once_in_a_replay() -> None:
    """As in the engine's pass; a step at a time too, with the same random numbers."""
    calls, x = [], leaf(3)

    def segment(x: Tensor) -> Tensor:
        calls.append(1)
        return F.dropout(x.sin(), 0.5).exp() * x.cos()

    out = checkpoint(segment, x, use_reentrant=False, preserve_rng_state=False)
    walked = walk(out.sum(), {"x": x})
    recorded = record(walked)
    del calls[:]
    assert judge(replay(walked), recorded).exact
    assert len(calls) == 1
    *_, last = replay_steps(walked)
    assert torch.equal(last.grads[0], recorded.gradients["x"])
    assert len(calls) == 2


class Donating(Function):
    """As a compiled function whose backward reuses the memory of what it saved."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        raise RuntimeError("This backward function was compiled with non-empty donated buffers")


@pytest.mark.parametrize("act", [record, replay])
def test_a_compiled_function_that_runs_once_is_refused(act: Callable[[Walk], object]) -> None:
    with pytest.raises(UsageError, match="gives its memory away") as refused:
        act(walk(Donating.apply(leaf(2)).sum()))
    assert "donated_buffer = False" in str(refused.value.hint)


def test_a_saved_size_of_a_jagged_dimension_is_unreadable() -> None:
    x = torch.nested.nested_tensor_from_jagged(leaf(6, 3), torch.tensor([0, 2, 6]))
    graph = walk(x.split(2, -1)[0].values().sum()).graph
    assert any("sizes" in what for what in graph.unreadable), graph.unreadable


def test_names_of_leaves() -> None:
    walked = walk(*the_unnamed_ones_name())
    assert [one.name for one in walked.graph.parameters] == ["leaf@3", "leaf@3'"]
    walked = walk(*two_names())
    assert [one.name for one in walked.graph.parameters] == ["one"]


def test_a_root_that_was_changed_since_the_walk_is_refused() -> None:
    x = leaf(3)
    y = x * 2
    walked = walk(y, {"x": x})
    y.mul_(3)
    for act in (record, replay, replay_steps):
        with pytest.raises(UsageError, match="modified in place"):
            act(walked, torch.ones(3))  # type: ignore[operator]


def test_a_parameter_too_many_is_no_exact_replay() -> None:
    walked = walk(*two_names())
    replayed, recorded = replay(walked), record(walked)
    more = {**replayed.gradients, "z": torch.ones(3)}
    assert not judge(replace(replayed, gradients=more), recorded).exact


def test_two_different_graphs_are_not_compared() -> None:
    with pytest.raises(UsageError, match="different graphs"):
        judge(replay(walk(*two_names())), record(walk(*tied()), keep=True))


def test_retained_gradients_stay_as_they_were() -> None:
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    loss = (y**2).sum()
    walked = walk(loss, {"x": x})
    record(walked)
    replay(walked)
    list(replay_steps(walked))
    assert y.grad is None
    loss.backward()
    assert torch.equal(y.grad, 2 * y.detach())


def test_a_refusal_of_a_call_by_hand_does_not_speak_of_backward() -> None:
    """A sharded model's weights are gathered by hooks, which a replay does not run."""
    x, weight = torch.ones(1, 3), leaf(3, 3)
    loss = (leaf(1, 3) @ weight).sum() + x.sum()
    held, size = weight.untyped_storage(), weight.untyped_storage().nbytes()
    walked = walk(loss, {"weight": weight})
    held.resize_(0)
    with pytest.raises(UsageError, match="cannot run") as caught:
        replay(walked)
    assert "runs no hooks" in caught.value.hint
    held.resize_(size)


def once(owner: Any) -> None:
    """A hook that takes itself off, as those that solve for a fixed point do."""

    def double(grad: Any, *_: Any) -> Any:
        handle.remove()
        return (grad[0] * 2,) if isinstance(grad, tuple) else grad * 2

    handle = owner.register_hook(double)


@pytest.mark.parametrize("mode", ["all", "any"])
def test_a_hook_of_several_leaves_is_not_replayed(mode: Any) -> None:
    model, seen = nn.Linear(3, 2), []
    leaves = list(model.parameters())
    torch.autograd.graph.register_multi_grad_hook(leaves, seen.append, mode=mode)
    walked = walk(model(torch.ones(1, 3)).sum(), model)
    assert judge(replay(walked), record(walked)).exact
    assert len(seen) == 1


def test_hooks_that_take_themselves_off_stay() -> None:
    x = leaf(3)
    y = x.clone()
    once(x)
    once(y)
    once(y.grad_fn)
    y.grad_fn.register_hook(lambda sent, _: (sent[0] + 1,))  # after the other
    loss = y.sum()
    walked = walk(loss, {"x": x})
    record(walked)
    replay(walked)
    list(replay_steps(walked))
    loss.backward()
    assert torch.equal(x.grad, torch.full((3,), 10.0))  # (1 * 2 * 2 + 1) * 2
    assert not x._backward_hooks
    assert not y._backward_hooks


def test_random_state_and_buffers_stay_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    x = leaf(4, 3)
    for options in ({"preserve_rng_state": False}, {}):
        with trace_modules(model) as modules:
            loss = checkpoint(model, x, use_reentrant=False, **options).sum()
        named = dict(model.named_parameters())  # the trace knows the buffers
        walked = walk(loss, named, modules)
        state, mean = torch.get_rng_state(), model[1].running_mean.clone()
        record(walked)
        replay(walked)
        list(replay_steps(walked))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(model[1].running_mean, mean)


def test_what_two_threads_inspect_keeps_its_grad() -> None:
    model = nn.Linear(3, 2)
    before = model.weight.grad = torch.ones(2, 3)
    first, second, ended = threading.Event(), threading.Event(), threading.Event()

    def loss(begins: threading.Event, other: threading.Event) -> Tensor:
        begins.set()
        other.wait(0.2)
        return model(torch.ones(3)).sum()

    def work() -> None:
        first.wait()
        inspect(lambda: loss(second, ended), model)

    thread = threading.Thread(target=work)
    thread.start()
    inspect(lambda: loss(first, second), model)
    ended.set()
    thread.join()
    assert model.weight.grad is before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_computes_a_graph_does_so_where_grad_mode_is_off(mode: Any) -> None:
    model, x = nn.Linear(3, 2, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64)
    with mode():
        assert inspect(lambda: model(x).sum(), model, replay=True).verdict.exact  # type: ignore[union-attr]
        gradcheck(lambda: model(x).sum(), dict(model.named_parameters()))
        experiment("x * x", {"x": model.bias}, create_graph=True, orders=2)
        assert not torch.is_grad_enabled()


def test_nothing_outlives_an_inspection_while_the_garbage_collector_is_off() -> None:
    model = nn.Linear(3, 2)
    loss, gone = model(torch.ones(3)).sum(), weakref.ref(model)
    gc.disable()
    try:
        record(walk(loss, model))
        del loss, model
        assert gone() is None
    finally:
        gc.enable()


class _Alike(type):
    """Classes that equal everything, and that have no hash."""

    def __eq__(cls, other: object) -> bool:
        return True


class _Unordered(type):
    def __eq__(cls, other: object) -> bool:
        raise ValueError("compared")

    __hash__ = type.__hash__


def test_classes_with_an_equality_of_their_own_hide_no_tensor_and_cause_no_error() -> None:
    kinds: list[Any] = [_Alike("Alike", (), {}), _Unordered("Unordered", (), {})]
    x = torch.ones(3, requires_grad=True)
    odd, kept = [], []
    for _ in range(20):
        odd += [kind() for kind in kinds]
        kept.append(x.sin())
        kept[-1].retain_grad()
    record(walk(torch.stack(kept).sum()))
    assert all(one.grad is None for one in kept)
    assert len(odd) == 40


def test_recordings_in_several_threads_wait_for_each_other() -> None:
    model = nn.Sequential(*[nn.Linear(20, 20) for _ in range(20)])
    expected: list[Tensor] = []
    found: list[tuple[int, Tensor]] = []
    walks = [walk(model(torch.full((4, 20), float(n))).sum(), model) for n in range(4)]
    expected = [record(walked).gradients["0.weight"] for walked in walks]

    def work(number: int) -> None:
        found.extend((number, record(walks[number]).gradients["0.weight"]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(torch.equal(grad, expected[number]) for number, grad in found)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module_is_passed_by() -> None:
    model = nn.Sequential(torch.jit.script(nn.Linear(3, 3)), nn.ReLU())
    with trace_modules(model) as modules:
        loss = model(torch.randn(2, 3)).sum()
    walked = walk(loss, model, modules)
    assert judge(replay(walked), record(walked)).exact
    assert {node.module for node in walked.graph.nodes} >= {"1"}


def test_tensors_without_values_are_named_and_the_rest_is_shown() -> None:
    model = nn.Linear(3, 2, device="meta")
    walked = walk(model(torch.randn(4, 3, device="meta")).sum(), model)
    recorded = record(walked, keep=True)
    assert "meta device have no values" in " ".join(recorded.graph.unreadable)
    assert recorded.graph.parameters[0].shape == (2, 3)
    with pytest.raises(UsageError, match="no values to compare"):
        judge(replay(walked), recorded)
    walked = walk(*wrapped())
    assert "TwoTensor" in " ".join(record(walked).graph.unreadable)


def test_an_optimiser_that_stepped_in_between() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    walked = walk(model(torch.randn(2, 3)).sum(), model)
    with torch.no_grad():
        model[1].weight.add_(1)
    for act in (record, replay):
        with pytest.raises(UsageError, match="overwritten in place") as raised:
            act(walked)  # type: ignore[operator]
        assert "optimiser has stepped" in raised.value.hint


ROOT = (leaf(3) * 2).sum()
GRAPH = "must be a GradGraph"
WRONG = [
    *((one, (ROOT,), "must be a Walk") for one in ("record", "saved_memory", "first_not_finite")),
    *((one, (ROOT,), GRAPH) for one in ("diagnose", "dumps", "draw", "fold", "gradient_flow")),
    *((one, (ROOT, ROOT), GRAPH) for one in ("compare", "dump", "find_node", "path_to", "select")),
    ("parameter_table", (ROOT,), GRAPH),
    ("unusable_tensors", (ROOT,), "must be a Walk"),
    ("dead_units", (ROOT,), "must be a Recording"),
    ("judge", (ROOT, ROOT), "must be a Replay"),
    ("require_exact", (ROOT,), "must be a Verdict"),
    ("gradcheck", (ROOT.sum, ROOT), "must be a Mapping"),
]
MISUSE: list[tuple[Callable[[], object], str]] = [
    (lambda: walk(3.0), "must be a tensor or a node, not a float"),  # type: ignore[arg-type]
    (lambda: walk(None), "not a NoneType"),  # type: ignore[arg-type]
    (lambda: walk([ROOT]), "not a list"),  # type: ignore[arg-type]
    (lambda: walk(ROOT, [ROOT]), "names must be a model or tensors by name"),  # type: ignore[arg-type]
    (lambda: walk(ROOT, {"x": 1}), r"names\['x'\] must be a tensor"),  # type: ignore[dict-item]
    (lambda: walk(ROOT, {0: leaf(1)}), "0 cannot name a tensor"),  # type: ignore[dict-item]
    (lambda: walk(ROOT, {"": leaf(1)}), "'' cannot name a tensor"),
    *((partial(getattr(autograd, one), *given), f"{kind}, not a") for one, given, kind in WRONG),
    (lambda: call_node(ROOT), "not a Tensor: give its grad_fn"),  # type: ignore[arg-type]
    (lambda: call_node(ROOT.grad_fn, 1.0), "must be a tensor or None"),  # type: ignore[arg-type]
    (lambda: record(walk(ROOT), 1.0), "the gradient must be a tensor"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("act", "message"), MISUSE, ids=[message for _, message in MISUSE])
def test_misuse_is_a_type_error_that_names_it(act: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        act()


def test_a_complex_gradient_for_a_real_root_is_refused() -> None:
    for act in (record, replay):
        with pytest.raises(UsageError, match="complex gradient"):
            act(walk(ROOT), torch.tensor(1j))  # type: ignore[operator]


def test_a_real_gradient_for_a_complex_root_is_refused() -> None:
    root = leaf(2, dtype=torch.complex64) * 2
    for act in (record, replay):
        with pytest.raises(UsageError, match="real gradient"):
            act(walk(root), torch.ones(2))  # type: ignore[operator]


def test_the_seed_stays_as_it_was() -> None:
    x, seed = leaf(3), torch.ones(3)
    walked = walk(InPlace.apply(x), {"x": x})
    for act in (record, replay, lambda *given: list(replay_steps(*given))):
        act(walked, seed)  # type: ignore[operator]
        assert torch.equal(seed, torch.ones(3))


def test_gradients_of_leaves_without_a_name_stay_as_they_were() -> None:
    model, x = nn.Linear(3, 3), leaf(2, 3)
    model.weight.grad = torch.ones(3, 3)
    root = checkpoint(model, x, use_reentrant=True).sum()
    walked = walk(root, {"x": x})
    record(walked)
    replay(walked)
    list(replay_steps(walked))
    call_node(walked.nodes[1])
    assert torch.equal(model.weight.grad, torch.ones(3, 3))
    assert model.bias.grad is None


@pytest.mark.parametrize("data", [torch.ones(3, dtype=torch.float64), torch.ones(5)])
def test_a_gradient_from_before_the_data_changed_stays(data: Tensor) -> None:
    x = nn.Parameter(torch.ones(3))
    before = x.grad = torch.full((3,), 7.0)
    x.data = data
    walked = walk((x * 2).sum(), {"x": x})
    assert judge(replay(walked), record(walked)).exact
    assert x.grad is before
    assert before.tolist() == [7.0] * 3


def test_both_nodes_of_a_leaf_whose_dtype_changed_are_compared() -> None:
    model = nn.Linear(3, 2)
    before = model(torch.randn(4, 3)).sum()
    graph = record(walk(before + model.double()(torch.randn(4, 3).double()).sum(), model)).graph
    assert len([node for node in graph.nodes if node.parameter == "weight"]) == 2
    assert compare(graph, loads(dumps(graph))).same


def wrong(answer: Any) -> Tensor:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
            return a * b

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return answer

    made: Tensor = Wrong.apply(leaf(3) * 1, leaf(3) * 1).sum()
    return made


WRONG = [
    (torch.ones(3), r"returns 1 gradient\(s\), not 2"),
    ([torch.ones(3), torch.ones(3)], r"returns 1 gradient\(s\), not 2"),
    ((torch.ones(3), torch.ones(3), torch.ones(3)), r"returns 3 gradient\(s\), not 2"),
    ((torch.ones(3), 1.0), "returns a float as a gradient"),
    ((torch.ones(7), None), r"cannot be summed to shape \(3,\)"),
    ((torch.ones(3) * 1j, None), "complex gradient"),
]


@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_a_function_that_the_engine_refuses_is_refused(answer: Any, message: str) -> None:
    root = wrong(answer)
    with pytest.raises(UsageError, match=message):
        replay(root)
    with pytest.raises(UsageError, match="backward cannot run"):
        record(walk(root))
    with pytest.raises((RuntimeError, TypeError)):
        root.backward()


def test_units_of_another_layout_are_not_counted() -> None:
    x = leaf(3, 4)
    assert dead_units(record(walk(torch.relu(x.to_mkldnn()).to_dense().sum()), keep=True)) == {}


def test_differences_check_complex_and_sparse_gradients() -> None:
    filters = torch.randn(3, 2, dtype=torch.complex128, requires_grad=True)
    weights = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        looked_up = nn.functional.embedding(torch.tensor([1, 2, 1]), weights, sparse=True)
        return (looked_up.to(filters.dtype) @ filters).abs().square().sum()

    checks = gradcheck(loss, {"filters": filters, "weights": weights}, samples=20)
    assert [len(check.entries) for check in checks] == [12, 15]
    assert all(check.worst_error < 1e-6 for check in checks)


class Meshed(TwoTensor):
    """Names a part that is no tensor, as a DTensor names its mesh."""

    mesh = "cpu"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["a", "b", "mesh"], None


def test_a_wrapper_with_a_part_that_is_no_tensor_is_compared() -> None:
    x = Meshed(torch.randn(3), torch.randn(3)).requires_grad_()
    walked = walk((x * 2).sum(), {"x": x})
    assert judge(replay(walked), record(walked, keep=True)).exact


class Shares(Function):
    """Hands one gradient on twice."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        return g, g


def test_what_a_function_changes_in_place_is_recorded_as_it_arrived() -> None:
    a, b = leaf(3), leaf(3)
    root = (Shares.apply(InPlace.apply(a), InPlace.apply(b)) * 3).sum()
    walked = walk(root, {"a": a, "b": b})
    recorded = record(walked, keep=True)
    assert all(one.equal for one in judge(replay(walked), recorded).nodes)
    arrived = [
        recorded.grad_in[node.id][0] for node in walked.graph.nodes if "InPlace" in node.name
    ]
    assert sorted(one[0].item() for one in arrived if one is not None) == [3.0, 6.0]


class Frees(Function):
    """Frees the memory of the gradient, as a sharded model does once it has summed it."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        result = g * 2
        g.untyped_storage().resize_(0)
        return result


def test_the_figures_of_a_gradient_that_is_freed_are_read_before() -> None:
    x = leaf(3)
    walked = walk(Frees.apply(x * 1), {"x": x})
    graph = record(walked, torch.full((3,), 2.0)).graph
    first = graph.nodes[0].grad_in[0]
    assert first is not None
    assert first.max == 2.0


def test_a_gradient_for_another_device_is_refused() -> None:
    for act in (record, replay):
        with pytest.raises(UsageError, match="on meta does not fit"):
            act(walk(leaf(3) * 2), torch.ones(3, device="meta"))  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(5,), (1,), (3, 1)])
def test_a_leaf_whose_data_got_another_shape_since_the_forward_pass(shape: tuple[int, ...]) -> None:
    x = nn.Parameter(torch.ones(3))
    walked = walk((x * 2).sum(), {"x": x})
    x.data = torch.ones(shape)
    recorded = record(walked)
    assert judge(replay(walked), recorded).exact
    assert recorded.gradients["x"].tolist() == [2.0] * 3


def test_a_leaf_whose_gradient_no_longer_fits_is_named() -> None:
    x = nn.Parameter(torch.ones(2, 3))
    walked = walk((x * 2).sum(), {"x": x})
    x.data = torch.ones(3, 2)
    with pytest.raises(UsageError, match="the data of x changed shape"):
        record(walked)


def another_recomputation() -> Tensor:
    calls: list[int] = []

    def segment(t: Tensor) -> Tensor:
        calls.append(1)
        return t.sin().exp() if len(calls) == 1 else t.sin()

    made: Tensor = checkpoint(segment, leaf(3), use_reentrant=False).sum()
    return made


def an_unclear_eigenvector() -> Tensor:
    vectors = torch.linalg.eig(torch.ones(3, 3, requires_grad=True))[1]
    return vectors.imag.sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (another_recomputation, "computes other tensors than in its forward pass"),
        (an_unclear_eigenvector, "specified up to multiplication"),
    ],
)
def test_what_torch_refuses_is_refused(make: Callable[[], Tensor], message: str) -> None:
    root = make()
    for act in (record, replay):
        with pytest.raises(UsageError, match=message):
            act(walk(root))  # type: ignore[operator]


def test_a_pass_inside_torch_func_is_refused() -> None:
    model = nn.BatchNorm1d(3).eval()

    def loss(x: Tensor) -> Tensor:
        made: Tensor = model(x).sum()
        for act in (record, replay):
            with pytest.raises(UsageError, match=r"torch\.func"):
                act(walk(made, model))  # type: ignore[operator]
        return made

    torch.func.grad(loss)(torch.ones(4, 3))


class Fails(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        raise RuntimeError("mine")


def test_an_error_of_the_users_own_code_is_not_changed_and_all_is_put_back() -> None:
    x = leaf(3)
    x.grad = before = torch.ones(3)
    walked = walk(Fails.apply(x).sum(), {"x": x})
    for act in (record, replay):
        with pytest.raises(RuntimeError, match=r"^mine$"):
            act(walked)  # type: ignore[operator]
        assert x.grad is before


def batch_norm_in_a_checkpoint(**options: Any) -> tuple[nn.Sequential, Tensor]:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    loss = checkpoint(lambda t: model(t), leaf(4, 3), **options).sum()
    return model, loss


@pytest.mark.parametrize(
    "options",
    [
        {"use_reentrant": False},
        {"use_reentrant": True},
        {"use_reentrant": False, "preserve_rng_state": False},
        pytest.param(
            {"use_reentrant": False, "debug": True},
            marks=pytest.mark.skipif(
                shutil.which("addr2line") is None, reason="no addr2line, without which torch forks"
            ),
        ),
    ],
    ids=str,
)
def test_a_checkpoint_leaves_everything_as_it_was_without_a_model(options: Any) -> None:
    model, loss = batch_norm_in_a_checkpoint(**options)
    walked = walk(loss, dict(model.named_parameters()))
    before = [one.clone() for one in (*model.buffers(), torch.get_rng_state())]
    assert judge(replay(walked), record(walked)).exact
    list(replay_steps(walked))
    for node in walked.nodes:
        if node.name() != "torch::autograd::AccumulateGrad":
            call_node(node)
    after = [*model.buffers(), torch.get_rng_state()]
    assert all(map(torch.equal, after, before))
    assert all(one.grad is None for one in model.parameters())
    loss.backward()


def test_leaves_of_other_models_are_not_touched() -> None:
    """Another thread may train them meanwhile."""
    other, model = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight.grad = held = torch.ones(3, 3)
    seen: list[Tensor | None] = []

    class Looks(Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor) -> Tensor:
            return a * 1

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            seen.append(globals()["_OTHER"][0].weight.grad)
            return g

    _OTHER.append(other)
    walked = walk(Looks.apply(model(leaf(2, 3))).sum(), model)
    record(walked)
    replay(walked)
    _OTHER.clear()
    assert all(one is held for one in seen)
    assert len(seen) == 2


_OTHER: list[nn.Linear] = []


def test_a_leaf_whose_memory_was_freed_has_no_figures() -> None:
    x = nn.Parameter(torch.ones(3))
    walked = walk((x * 2).sum(), {"x": x})
    x.untyped_storage().resize_(0)
    assert "their memory was freed" in " ".join(record(walked).graph.unreadable)


class AccumulateGrad(nn.Module):
    """Has the name of torch's node for a leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).tanh().exp()


@pytest.mark.parametrize("drawing", ["text", "dot", "svg", "html"])
def test_a_folded_module_called_as_a_leafs_node_is_drawn(drawing: str) -> None:
    model = nn.Sequential()
    model.add_module("AccumulateGrad", AccumulateGrad())
    model.append(nn.Linear(3, 1))
    report = inspect(lambda: model(torch.randn(2, 3)).sum(), model)
    assert "AccumulateGrad" in draw(fold(report.graph, 2), drawing)
