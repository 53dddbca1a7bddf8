"""The forward side of a graph, against hooks written by hand, numel sums and float64 figures."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from mnist_cli.autograd import (
    DataError,
    UsageError,
    compare,
    draw,
    dumps,
    fold,
    loads,
    record,
    select,
    trace_modules,
    walk,
    watch,
)
from mnist_cli.autograd.graph import GradGraph, ModuleCall, TensorMeta


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def traced(model: nn.Module, *inputs: Any, **named: Any) -> tuple[ModuleCall, ...]:
    with trace_modules(model, activations=True) as modules:
        model(*inputs, **named)
    return modules.calls


def graph_of(model: nn.Module, *inputs: Any) -> GradGraph:
    with trace_modules(model, activations=True) as modules:
        loss = model(*inputs).sum()
    return walk(loss, model, modules).graph


def named(calls: tuple[ModuleCall, ...]) -> list[tuple[str, str, int, int]]:
    return [(one.module, one.kind, one.call, one.depth) for one in calls]


class Shared(nn.Module):
    """A layer that is called twice, and a ReLU in place after each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.again = nn.Linear(8, 8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        for _ in range(2):
            x = self.relu(self.again(x))
        return x


def test_every_call_has_its_place_its_shapes_and_its_parameters_once() -> None:
    calls = traced(Shared(), torch.randn(5, 4))
    assert named(calls) == [
        ("", "Shared", 0, 0),
        ("first", "Linear", 0, 1),
        ("relu", "ReLU", 0, 1),
        ("again", "Linear", 0, 1),
        ("relu", "ReLU", 1, 1),
        ("again", "Linear", 1, 1),
        ("relu", "ReLU", 2, 1),
    ]
    assert calls[1].inputs == (TensorMeta((5, 4), "float32"),)
    assert calls[1].outputs == (TensorMeta((5, 8), "float32"),)
    assert [one.parameters for one in calls] == [0, 4 * 8 + 8, 0, 8 * 8 + 8, 0, 0, 0]


@torch.no_grad()
def test_figures_are_of_the_output_at_that_moment_though_a_relu_changes_it_in_place() -> None:
    model, x = Shared(), torch.randn(5, 4)
    expected = x.double() @ model.first.weight.double().T + model.first.bias.double()
    first, relu = traced(model, x)[1:3]
    assert first.activation is not None
    assert relu.activation is not None
    assert first.activation.shape == (5, 8)
    assert first.activation.norm == pytest.approx(float(expected.norm()), rel=1e-6)
    assert first.activation.min == pytest.approx(float(expected.min()), rel=1e-6)
    assert first.activation.std == pytest.approx(float(expected.std(correction=0)), rel=1e-6)
    assert first.activation.zeros == 0
    assert relu.activation.zeros == float((expected <= 0).double().mean())
    assert relu.activation.min == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64, torch.int64])
def test_figures_of_every_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([[1, -2, 0]]).to(dtype)
    figures = traced(nn.Identity(), x)[0].activation
    assert figures is not None
    assert figures.norm == pytest.approx(5**0.5)
    assert figures.zeros == pytest.approx(4 / 6 if dtype.is_complex else 1 / 3)


def test_a_nan_is_counted() -> None:
    figures = traced(nn.Identity(), torch.tensor([1.0, float("nan"), float("inf")]))[0].activation
    assert figures is not None
    assert (figures.nan, figures.inf) == (1, 1)


Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Answer:
    scores: Tensor
    hidden: Any = None


class Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor, **_: Any) -> Any:
        return self.make(x)


def packed(x: Tensor) -> PackedSequence:
    return pack_padded_sequence(x.reshape(1, 6, 1), [6], batch_first=True)


def itself(x: Tensor) -> list[Any]:
    nested: list[Any] = [x]
    nested.append(nested)
    return nested


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda x: (x, x[0]), [(2, 3), (3,)]),
        (lambda x: {"a": x, "b": {"c": [x[0]]}}, [(2, 3), (3,)]),
        (lambda x: Pair(x[0], x), [(3,), (2, 3)]),
        (lambda x: Answer(x, (x[0], 7, None)), [(2, 3), (3,)]),
        (packed, [(6, 1), (6,)]),
        (lambda x: None, []),
        (lambda x: "words", []),
        (lambda x: x.to_sparse(), [(2, 3)]),
        (lambda x: x[:0], [(0, 3)]),
        (lambda x: torch.nested.nested_tensor([x, x[:1]]), [()]),
        (lambda x: torch.nested.nested_tensor([x, x[:1]], layout=torch.jagged), [()]),
        (lambda x: x.to("meta"), [(2, 3)]),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), [(2, 3)]),
        (lambda x: x > 0, [(2, 3)]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch calls nested tensors a prototype
def test_tensors_in_results_of_every_kind(make: Callable[[Tensor], Any], shapes: list[Any]) -> None:
    (call,) = traced(Returns(make), torch.randn(2, 3))
    assert [one.shape for one in call.outputs] == shapes
    assert (call.activation is None) == (not shapes or make(torch.ones(2, 3)) is None or _no(make))


def _no(make: Callable[[Tensor], Any]) -> bool:
    value = make(torch.ones(2, 3))
    return isinstance(value, Tensor) and value.is_meta


def test_a_result_that_contains_itself_ends() -> None:
    (call,) = traced(Returns(itself), torch.randn(2, 3))
    assert {one.shape for one in call.outputs} == {(2, 3)}
    assert len(call.outputs) < 50


def test_tensors_in_keyword_arguments_are_inputs() -> None:
    (call,) = traced(Returns(lambda x: x), torch.ones(2), mask=torch.ones(3).bool())
    assert call.inputs == (TensorMeta((2,), "float32"), TensorMeta((3,), "bool"))


class Segment(nn.Module):
    def __init__(self, *body: nn.Module, **how: Any) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, **self.how)


def keeps_copies() -> Any:
    def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        saved = op is torch.ops.aten.clone.default
        return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)


COPIES = (nn.Linear(4, 4), Returns(Tensor.clone), nn.Tanh(), Returns(Tensor.clone))
USUAL = (nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh())


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (USUAL, {"use_reentrant": True}),
        (USUAL, {"use_reentrant": False}),
        (COPIES, {"use_reentrant": False, "context_fn": keeps_copies}),
    ],
    ids=["reentrant", "not reentrant", "selective, which counts operations"],
)
def test_a_recomputed_segment_is_no_other_call_and_gives_the_same_gradient(
    body: tuple[nn.Module, ...], how: Any
) -> None:
    model, x = Segment(*map(copy.deepcopy, body), **how), torch.randn(6, 4, requires_grad=True)
    plain = copy.deepcopy(model)
    torch.manual_seed(1)
    plain(x).sum().backward()
    torch.manual_seed(1)
    with trace_modules(model, activations=True) as modules:
        model(x).sum().backward()
    assert [one.module for one in modules.calls] == [
        *("", "body", "body.0", "body.1", "body.2", "body.3")
    ]
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("this layer fails")


class Recovers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bad = Fails()
        self.good = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.bad(x)
        except ValueError:
            return self.good(x)


def test_a_module_that_raises_has_no_outputs_and_the_next_one_is_inside_the_same() -> None:
    calls = traced(Recovers(), torch.randn(2, 3))
    assert named(calls)[1:] == [("bad", "Fails", 0, 1), ("good", "Linear", 0, 1)]
    assert (calls[1].outputs, calls[1].activation) == ((), None)
    assert calls[2].outputs == calls[0].outputs == (TensorMeta((2, 3), "float32"),)


def test_a_hook_that_refuses_an_output_leaves_none() -> None:
    def refuse(module: nn.Module, args: Any, output: Tensor) -> None:
        raise ValueError("refused")

    model = Recovers()
    model.bad = nn.Linear(3, 3)
    model.bad.register_forward_hook(refuse)
    bad = traced(model, torch.randn(2, 3))[1]
    assert (bad.module, bad.outputs, bad.activation) == ("bad", (), None)


class Stops(nn.Module):
    """Ctrl-C comes in its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt
        return x


def test_after_ctrl_c_the_next_call_is_inside_of_none() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Stops(), nn.Linear(3, 3))
    with trace_modules(model, activations=True) as modules:
        with pytest.raises(KeyboardInterrupt):
            model(torch.randn(2, 3))
        loss = model(torch.randn(2, 3)).sum()
    assert [one.depth for one in modules.calls] == [0, 1, 1, 0, 1, 1, 1]
    root = walk(loss, model, modules).graph.nodes[0]
    assert (root.name, root.module) == ("SumBackward0", "")


def test_an_error_that_leaves_the_block_is_the_models_own_and_no_hook_remains() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Fails())
    with (
        pytest.raises(ValueError, match="this layer fails"),
        trace_modules(model, activations=True),
    ):
        model(torch.randn(2, 3))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("hook", ["register_forward_pre_hook", "register_forward_hook"])
@pytest.mark.parametrize("start", [trace_modules, watch])
def test_an_interrupted_start_leaves_no_hooks(
    start: Any, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model[1], hook, interrupted)
    with pytest.raises(KeyboardInterrupt), start(model):
        pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_global_hook_that_raises_before_a_call_ends_no_other_call() -> None:
    def refuse(module: nn.Module, args: Any) -> None:
        if isinstance(module, Fails):
            raise ValueError("refused")

    handle = nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        calls = traced(Recovers(), torch.randn(2, 3))
    finally:
        handle.remove()
    assert named(calls) == [("", "Recovers", 0, 0), ("good", "Linear", 0, 1)]


def test_a_hook_that_changes_the_output_changes_the_figures() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].register_forward_hook(lambda module, args, output: output * 0)
    figures = traced(model, torch.randn(2, 3))[1].activation
    assert figures is not None
    assert figures.zeros == 1


def test_a_lazy_module_has_the_kind_and_the_parameters_that_its_first_call_gives_it() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d())
    model.add_module("never", nn.Sequential(nn.LazyLinear(2)))
    model.forward = lambda x: model[1](model[0](x))  # type: ignore[method-assign]
    calls = traced(model, torch.randn(4, 3))
    assert [(one.kind, one.parameters) for one in calls[1:]] == [
        ("Linear", 20),
        ("BatchNorm1d", 10),
    ]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_scripted_module_is_passed_by_and_its_parameters_count_around_it() -> None:
    inner = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    calls = traced(nn.Sequential(inner, nn.Linear(3, 1)), torch.randn(2, 3))
    assert [(one.module, one.parameters) for one in calls] == [("", 12), ("1", 4)]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.filterwarnings("ignore:Guards may run slower")
def test_a_compiled_module_is_one_call_at_most_and_compiles_whole(in_place: bool) -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    if in_place:
        inner.compile(backend="eager", fullgraph=True)
        model = nn.Sequential(inner, nn.Linear(3, 1))
    else:
        whole = torch.compile(inner, backend="eager", fullgraph=True)
        model = nn.Sequential(whole, nn.Linear(3, 1))
    calls = traced(model, torch.randn(2, 3))
    expected = [("", 12), ("1", 4)] if in_place else [("", 0), ("0", 12), ("1", 4)]
    assert [(one.module, one.parameters) for one in calls] == expected


@pytest.mark.parametrize("first", [False, True])
def test_a_call_in_another_thread_is_not_of_this_pass(first: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    x, other = torch.randn(2, 3), threading.Thread(target=model, args=(torch.randn(4, 3),))
    with trace_modules(model, activations=True) as modules:
        loss = None if first else model(x).sum()
        other.start()
        other.join()
        loss = model(x).sum() if loss is None else loss
    graph = walk(loss, model, modules).graph
    assert [call.outputs[0].shape for call in graph.modules] == [(2, 3)] * 2
    assert "0" in {node.module for node in graph.nodes if node.parameter is None}


def test_another_thread_may_call_hooks_that_are_half_registered() -> None:
    model = nn.Linear(3, 3)
    with trace_modules(model), closing(watch(model)) as watched:
        watched.__enter__()
        model._forward_pre_hooks_with_kwargs.clear()
        model._forward_hooks_with_kwargs.clear()
        model(torch.randn(2, 3)).sum().backward()


def test_a_pass_that_runs_whole_in_another_thread_is_seen() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    with trace_modules(model, activations=True) as modules, ThreadPoolExecutor(1) as pool:
        loss = pool.submit(model, torch.randn(2, 3)).result().sum()
    graph = walk(loss, model, modules).graph
    assert len(graph.modules) == 2
    assert "0" in {node.module for node in graph.nodes if node.parameter is None}


def test_a_module_with_methods_of_its_own_is_traced() -> None:
    class Own(nn.Linear):
        def parameters(self) -> Any:  # type: ignore[override]
            raise AssertionError

    assert traced(Own(3, 2), torch.randn(2, 3))[0].parameters == 8


@pytest.mark.parametrize("large", [(10**9,), (10**6, 10**6)], ids=["expanded", "sparse"])
def test_an_output_that_has_far_more_entries_than_memory_has_no_figures(large: Any) -> None:
    def make(x: Tensor) -> Tensor:
        if len(large) == 1:
            return x[0, :1].expand(large)
        indices = torch.tensor([[0], [1]])
        return torch.sparse_coo_tensor(indices, x[0, :1], large, check_invariants=True)

    (call,) = traced(Returns(make), torch.randn(2, 3))
    assert (call.outputs[0].shape, call.activation) == (large, None)


def test_the_text_form_shows_the_calls_with_the_gradient_beside_them() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(4, 3)
    with trace_modules(model, activations=True) as modules:
        loss = model(x).sum()
    graph = record(walk(loss, model, modules)).graph
    loss.backward()
    lines = draw(graph, "text", view="modules").splitlines()
    norm = torch.cat([one.grad.reshape(-1) for one in model.parameters()]).norm()  # type: ignore[union-attr]
    assert lines[3].split()[:2] == ["0", "Linear"]
    assert lines[3].split()[-1] == f"{norm:.3g}"
    assert lines[4].split()[:2] == ["1", "ReLU"]
    plain = draw(graph, "text", view="modules", ascii_only=True)
    assert plain.isascii()
    assert "+-" in plain


def test_names_in_the_text_form_have_no_control_characters() -> None:
    model = nn.Sequential()
    model.add_module("\x1b[31m\u202e", nn.Linear(3, 2))
    text = draw(graph_of(model, torch.randn(2, 3)), "text", view="modules")
    assert "\\x1b[31m\\u202e" in text
    assert text.replace("\n", "").isprintable()


def test_a_view_without_calls_and_an_unknown_one_are_refused() -> None:
    graph = walk(nn.Linear(3, 2)(torch.randn(2, 3)).sum()).graph
    with pytest.raises(UsageError, match="no calls of modules"):
        draw(graph, "text", view="modules")
    with pytest.raises(UsageError, match="no view 'forward'"):
        draw(graph, "text", view="forward")


def test_data_parallel_without_a_gpu() -> None:
    calls = traced(nn.DataParallel(nn.Linear(3, 2)), torch.randn(4, 3))
    assert [(one.module, one.parameters) for one in calls] == [("", 0), ("module", 8)]


def test_evaluation_and_parts_without_gradient_are_calls_too() -> None:
    model = Shared().eval()
    with torch.no_grad():
        assert len(traced(model, torch.randn(5, 4))) == 7
    with torch.inference_mode():
        assert traced(model, torch.randn(5, 4))[0].activation is not None


def test_inside_torch_func_shapes_are_known_and_figures_are_not() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with trace_modules(model, activations=True) as modules:
        torch.func.vmap(model)(torch.randn(5, 3))
    assert modules.calls[0].outputs == (TensorMeta((2,), "float32"),)
    assert modules.calls[0].activation is None


def test_a_model_on_meta_has_shapes_and_memory_without_figures() -> None:
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)), torch.empty(2, 3)
    graph = graph_of(model, x)
    assert [one.activation for one in graph.modules] == [None] * 4
    # The first layer keeps the images, Tanh its result, which is the last layer's input.
    assert [one.saved_bytes for one in graph.modules] == [0, 2 * 3 * 4, 2 * 4 * 4, 0]


def bytes_by_hand(model: nn.Module, x: Tensor) -> int:
    """What autograd packs, each storage once, without the model's own tensors."""
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(x)
    assert output.requires_grad
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Shared(), (5, 4)),
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (2, 1, 8, 8)),
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval(), (2, 1, 8, 8)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    ],
    ids=["shared", "convolution", "evaluation", "transformer"],
)  # fmt: skip
def test_saved_bytes_add_up_to_what_autograd_packs(model: nn.Module, x: tuple[int, ...]) -> None:
    images = torch.randn(x)
    with trace_modules(model, activations=True) as modules:
        output = model(images)
    graph = walk(output, model, modules).graph
    assert sum(one.saved_bytes or 0 for one in graph.modules) == bytes_by_hand(model, images)
    bare = walk(output, model, modules, saved=False).graph
    assert {one.saved_bytes for one in bare.modules} == {None}


def test_the_models_results_random_state_and_buffers_are_the_same_with_and_without() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(True))
    plain, x = copy.deepcopy(model), torch.randn(6, 4)
    torch.manual_seed(3)
    expected, after = plain(x), torch.get_rng_state()
    torch.manual_seed(3)
    with trace_modules(model, activations=True) as modules:
        result = model(x)
    assert torch.equal(result, expected)
    assert torch.equal(torch.get_rng_state(), after)
    assert modules.calls
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_dump_has_the_calls_and_one_without_them_has_no_such_key() -> None:
    graph = graph_of(Shared(), torch.randn(5, 4))
    assert loads(dumps(graph)) == graph
    assert dumps(graph).count('"module": "relu", "kind": "ReLU"') == 3
    bare = dataclasses.replace(graph, modules=())
    assert "modules" not in json.loads(dumps(bare))
    before, _, after = dumps(graph).partition(',\n"modules"')
    assert after
    assert dumps(bare) == before + "\n}\n"


HOSTILE = {
    "a negative number": ("parameters", -1),
    "more than 64 bits": ("saved_bytes", 2**64),
    "a number as text": ("call", "0"),
    "a size that is no number": ("inputs", [{"shape": [1.5], "dtype": "float32"}]),
    "no shape": ("outputs", [{"dtype": "float32"}]),
    "figures without a norm": ("activation", {"shape": []}),
    "a kind that is no text": ("kind", None),
    "a call inside of none": ("depth", 5),
    "the first call inside another": ("depth", 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_call_is_refused_and_the_place_is_named(what: str) -> None:
    document = json.loads(dumps(graph_of(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3))))
    key, value = HOSTILE[what]
    document["modules"][0][key] = value
    with pytest.raises(DataError, match=r"modules\[\d\]"):
        loads(json.dumps(document))


@pytest.mark.parametrize("modules", [None, 3, {}, "words", [None], [[]]])
def test_a_hostile_list_of_calls_is_refused(modules: Any) -> None:
    document = json.loads(dumps(graph_of(nn.Linear(3, 2), torch.randn(2, 3))))
    with pytest.raises(DataError, match="modules"):
        loads(json.dumps({**document, "modules": modules}))


def test_one_module_selected_has_its_own_calls_and_a_folded_graph_all() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    graph = graph_of(model, torch.randn(2, 3))
    assert named(select(graph, "1").modules) == [
        ("1", "Sequential", 0, 0),
        ("1.0", "Linear", 0, 1),
        ("1.1", "Tanh", 0, 1),
    ]
    assert fold(graph).modules == graph.modules


def test_a_comparison_names_the_first_module_whose_activation_differs() -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)), torch.randn(2, 3)
    first = graph_of(model, x)
    assert compare(first, first).activation is None
    with torch.no_grad():
        model[2].bias += 1
    found = compare(first, graph_of(model, x)).activation
    assert found is not None
    assert (found.module, found.call) == ("2", 0)
    assert found.difference > 0.1
