"""One line inspects any loss: the report's contents, its files, and what it shows."""

from __future__ import annotations

import json
import math
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from autograd_zoo import same_bits
from odd_graphs import Made, boxed, frozen_since, jagged_relu, lazy, nested, sparse_gradient
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from mnist_cli import autograd
from mnist_cli.autograd import (
    ExpectedError,
    GradGraph,
    OutputError,
    Report,
    UsageError,
    dumps,
    inspect,
    load,
    module_state,
    trace_modules,
)
from mnist_cli.autograd.attributing import attributed
from mnist_cli.autograd.brief import Brief
from mnist_cli.autograd.graph import Edge, Node, Parameter
from mnist_cli.autograd.render import inline
from mnist_cli.autograd.writing import save


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.fc((x + self.block(x)).flatten(1))


def small() -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(0)
    model, images = Small(), torch.randn(8, 1, 8, 8)
    return model, lambda: model(images).square().mean()


@pytest.fixture(scope="module")
def report() -> Report:
    model, loss = small()
    return inspect(loss, model, replay=True)


def test_a_function_gives_modules_a_verdict_and_the_right_gradients() -> None:
    model, loss = small()
    found = inspect(loss, model, replay=True)
    expected = torch.autograd.grad(loss(), list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    assert all(
        same_bits(found.recording.gradients[name], grad)
        for name, grad in zip(names, expected, strict=True)
    )
    assert found.verdict is not None
    assert found.verdict.exact
    assert found.graph.replay is found.verdict
    assert found.notes == ()
    assert {node.module for node in found.graph.nodes} >= {"conv", "block.1", "block.2", "fc"}
    assert [row.name for row in found.parameters] == names
    assert found.graph.context["model"] == "Small"
    assert found.graph.context["loss"] == pytest.approx(loss().item())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("as_function", [True, False])
def test_the_model_and_the_random_state_are_as_before(as_function: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.LazyLinear(2))
    images = torch.randn(5, 3)
    model(images)
    loss = model(images).square().sum()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    inspect((lambda: model(images).square().sum()) if as_function else loss, model, replay=True)
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_buffers_are_put_back_after_ctrl_c_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module_state, "_differing", interrupted)
    model = nn.BatchNorm1d(3)
    with pytest.raises(KeyboardInterrupt):
        inspect(lambda: model(torch.randn(4, 3)).sum(), model)
    assert model.num_batches_tracked == 0


class Largest(nn.Module):
    """Resizes its buffer, as observers of quantisation do, and has states as plain attributes."""

    largest: Tensor
    last: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.empty(0))
        self.calls, self.last = 0, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls, self.last = self.calls + 1, x
        torch.amax(x.detach(), 0, out=self.largest.resize_(x.shape[1]))
        return x / self.largest


@pytest.mark.parametrize("as_function", [True, False])
def test_steps_begin_with_the_buffers_of_the_pass(as_function: bool) -> None:
    """A spectral norm updates its buffers in each pass, also in a recomputed segment."""
    torch.manual_seed(0)
    norm = spectral_norm(nn.Linear(16, 16))
    model, x = nn.Sequential(norm, nn.BatchNorm1d(16), Largest()), torch.randn(4, 16)

    def loss() -> Tensor:
        twice = checkpoint(norm, checkpoint(norm, x, use_reentrant=False), use_reentrant=False)
        model[1].train()(twice)
        return model[2](model[1].eval()(twice)).square().sum()

    report = inspect(loss if as_function else loss(), model, keep=True)
    if as_function:
        assert (model[2].largest.numel(), model[2].calls, model[2].last) == (0, 0, None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in report.step():
        pairs = zip(step.grads, report.recording.grad_in[step.node], strict=True)
        assert all(same_bits(ours, theirs) for ours, theirs in pairs), step.call
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())


class Built(nn.Module):
    """Builds its layer in the first pass, and knows so by its size."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.size:
            self.size, self.layer = x.shape[1], nn.Linear(x.shape[1], 3)
        built: Tensor = self.layer(x)
        return built


def test_layers_that_a_pass_builds_keep_their_sizes() -> None:
    model, x = nn.Sequential(nn.LazyLinear(4), Built()), torch.ones(1, 2)
    inspect(lambda: model(x).sum(), model)
    assert (model[0].in_features, model[1].size) == (2, 4)


def test_what_a_closure_does_to_gradients_and_modes_is_undone() -> None:
    model, x = nn.Linear(3, 2), torch.ones(1, 3)
    model(x).sum().backward()
    before = [parameter.grad for parameter in model.parameters()]
    for to_none in (True, False):

        def closure(to_none: bool = to_none) -> Tensor:
            model.zero_grad(to_none)
            return model.eval()(x).sum()

        inspect(closure, model)
        assert all(p.grad is grad for p, grad in zip(model.parameters(), before, strict=True))
        assert all(bool(grad.all()) for grad in before)
        assert model.training


@pytest.fixture
def one_process() -> Iterator[None]:
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_a_model_still_averages_its_gradients_over_processes() -> None:
    """It does so in one backward pass after each forward pass; the sum here is doubled."""

    def doubled(bucket: Any) -> torch.futures.Future[Tensor]:
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer() * 2)
        return done

    model, x = nn.parallel.DistributedDataParallel(nn.Linear(3, 2)), torch.ones(4, 3)
    model.register_comm_hook(None, lambda _, bucket: doubled(bucket))
    loss = model(x).sum()
    report = inspect(loss, model, replay=True)
    loss.backward()
    bias = model.module.bias.grad
    assert bias.tolist() == report.recording.gradients["module.bias"].tolist() == [8, 8]
    assert report.verdict is not None
    assert not report.verdict.exact
    assert "DistributedDataParallel" in report.verdict.notes[0]


@pytest.mark.usefixtures("one_process")
def test_unused_parameters_that_stop_the_averaging_are_findings() -> None:
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 2)})
    model.forward = lambda x: model["used"](x)
    shared = nn.parallel.DistributedDataParallel(model)
    found = inspect(shared(torch.ones(4, 3)).sum(), shared).findings
    assert {one.subject for one in found if one.kind == "no-gradient"} == {
        "module.unused.weight",
        "module.unused.bias",
    }


@pytest.mark.usefixtures("one_process")
def test_a_sharded_model_gets_its_gradients_once() -> None:
    """Its outermost module has other parameters between the forward and the backward pass."""
    from torch.distributed.fsdp import fully_shard

    model, x = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), torch.ones(4, 3)
    fully_shard(model[0], mesh=(mesh := dist.init_device_mesh("cpu", (1,))))
    fully_shard(model, mesh=mesh)
    loss = model(x).sum()
    report = inspect(loss, model)
    loss.backward()
    found = {name: parameter.grad.full_tensor() for name, parameter in model.named_parameters()}
    assert found["1.bias"].tolist() == [4, 4]
    for name, grad in found.items():
        assert same_bits(report.recording.gradients[name].full_tensor(), grad)
    assert all(one.kind != "no-gradient" for one in report.findings)


def test_the_random_numbers_of_python_and_numpy_are_as_before() -> None:
    """Layers are dropped, and images mixed, by them."""
    model = nn.Linear(3, 2)

    def loss() -> Tensor:
        factor: float = random.random() + np.random.beta(1, 1)
        return checkpoint(lambda x: model(x) * factor * random.random(), x, use_reentrant=False)

    x = torch.ones(1, 3, requires_grad=True)
    before = random.getstate(), np.random.get_state()[1].tolist()
    report = inspect(lambda: loss().sum(), model, replay=True)
    assert report.verdict is not None
    assert report.verdict.exact
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_function_may_run_a_lazy_model_first() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    found = inspect(lambda: model(torch.randn(5, 3)).square().sum(), model)
    assert found.node("1").module == "1"  # text is a module before it is an id
    assert found.node(1).id == 1
    assert found.node("7").id == 7


def test_a_tensor_stays_usable_and_its_modules_are_inferred() -> None:
    model, loss = small()
    value = loss()
    found = inspect(value, model)
    assert any("inferred" in note for note in found.notes)
    assert found.verdict is None
    value.backward()
    assert model.get_parameter("conv.weight").grad is not None
    traced = inspect(loss, model)
    for guess, true in zip(found.graph.nodes, traced.graph.nodes, strict=True):
        assert guess.name == true.name
        if guess.module:  # a guess names the module or one around it
            assert true.module == guess.module or true.module.startswith(f"{guess.module}."), guess


def test_a_trace_that_is_given_is_used_and_names_the_parameters() -> None:
    model, loss = small()
    with trace_modules(model) as modules:
        value = loss()
    found = inspect(value, modules=modules)
    assert found.notes == ()
    assert found.node("block.1").name == "NativeBatchNormBackward0"
    assert found.node("fc.bias").parameter == "fc.bias"


def test_what_a_transposed_or_indexed_weight_feeds_is_not_taken_for_the_weight() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(5, 4), "out": nn.Linear(4, 2)})
    loss = model["out"](model["emb"](torch.arange(3)).tanh()).sum()
    graph = inspect(loss, model).graph
    modules = {node.name: node.module for node in graph.nodes if node.parameter is None}
    assert modules["EmbeddingBackward0"] == "emb"
    assert modules["TBackward0"] == modules["AddmmBackward0"] == "out"
    assert modules["TanhBackward0"] == ""


def test_modules_without_a_parameter_between_two_get_the_module_around_both() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), nn.Tanh())
    graph = inspect(model(torch.randn(3, 2)).sum(), model).graph
    modules = {node.name: node.module for node in graph.nodes}
    assert modules["ReluBackward0"] == "0"
    assert modules["TanhBackward0"] == ""
    assert attributed(graph) is graph


def not_finite() -> Made:
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    return model(torch.randn(2, 3)).sqrt().sum(), model


def meta() -> Made:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)).to("meta")
    return model(torch.empty(2, 3, device="meta")).sum(), model


def sparse_relu() -> Made:
    matrix = torch.eye(3).to_sparse().requires_grad_()
    return torch.sparse.sum(torch.relu(matrix)), None


def a_leaf() -> Made:
    return torch.tensor(2.0, requires_grad=True), None


def complex_numbers() -> Made:
    x = torch.randn(3, dtype=torch.complex64, requires_grad=True)
    return (x * x).abs().sum(), None


def recomputed() -> Made:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    return checkpoint(model, torch.randn(4, 3), use_reentrant=False).sum(), model


ODD = (
    not_finite, frozen_since, meta, nested, jagged_relu, sparse_gradient, sparse_relu, boxed,
    a_leaf, complex_numbers, recomputed, lazy,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("build", ODD)
def test_odd_graphs_are_inspected_and_shown(build: Callable[[], Made], tmp_path: Path) -> None:
    torch.manual_seed(0)
    loss, model = build()
    found = inspect(loss, model, replay=build is not meta)
    if found.verdict is not None:
        assert found.verdict.exact
    ET.fromstring(found._repr_svg_())
    assert repr(found)
    assert found._repr_html_()
    assert dumps(load(found.save(tmp_path / "graph.json"))) == dumps(found.graph)
    assert sum(1 for _ in found.step()) >= 1
    if build is not meta:
        leaves = dict(found.walk.leaves)
        wanted = [name for name, leaf in leaves.items() if leaf.requires_grad]
        grads = torch.autograd.grad(
            loss, [leaves[name] for name in wanted], allow_unused=True, retain_graph=True
        )
        assert {n: g is not None for n, g in zip(wanted, grads, strict=True)} == {
            n: n in found.recording.gradients for n in wanted
        }


def test_values_that_are_not_finite_are_found_with_module_and_advice() -> None:
    loss, model = not_finite()
    first = inspect(loss, model).findings[0]
    assert (first.kind, first.node) == ("not-finite", 1)
    assert "slope of a root is infinite at zero" in first.advice
    x = torch.zeros(3, requires_grad=True)
    model = nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=1))
    with torch.no_grad():
        model[0].weight.fill_(math.inf)
    report = inspect(lambda: model(torch.ones(1, 2)).sum() + x.sum(), model)
    assert math.isnan(report.graph.context["loss"])
    weight, forward, backward = report.findings[:3]
    assert weight.message == "0.weight itself is not finite: 0 NaN and 4 Inf."
    assert forward.message.startswith("First in the forward pass")
    assert forward.module in {"0", "1"}
    assert backward.advice.startswith("It follows from the forward pass")


@pytest.mark.parametrize("cast", [False, True])
def test_the_node_before_a_layer_that_got_nan_is_named(cast: bool) -> None:
    """A linear layer saves what it got; its weight, turned and cast, is no source."""
    first, head = nn.Linear(4, 4), nn.Linear(4, 2)
    model = nn.ModuleDict({"first": first, "head": head})
    with torch.autocast("cpu", enabled=cast):
        loss = head(first(torch.ones(3, 4)).float().abs().neg().log()).sum()
    found = inspect(loss, model).findings
    assert re.search(r"holds NaN or infinity \(mat1\); node \d+, LogBackward0", found[0].message)


def _masked_entropy(output: Tensor) -> Tensor:
    log = output.masked_fill(torch.eye(3) > 0, -math.inf).log_softmax(1)
    return (log.exp() * log).sum()


@pytest.mark.parametrize(
    ("loss", "kind", "advised"),
    [
        (lambda out: nn.MSELoss()(out, out.detach() / 0), "not-finite", "the targets"),
        (_masked_entropy, "not-finite", "zero times the logarithm of a masked entry"),
        (lambda out: out[:, :1].softmax(1).sum(), "zero-gradient", "a softmax over one entry"),
        (lambda out: (out * 1e-30 * 1e-30).sum(), "zero-gradient", "that the gradient underflows"),
        (lambda out: torch.tensor(out.sum(), requires_grad=True), "no-gradient", "torch.tensor()"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*copy construct")
def test_the_advice_names_the_cause(
    loss: Callable[[Tensor], Tensor], kind: str, advised: str
) -> None:
    model = nn.Linear(4, 3)
    first = inspect(lambda: loss(model(torch.ones(3, 4))), model).findings[0]
    assert first.kind == kind
    assert advised in first.advice


def test_a_note_lists_named_tensors_that_are_ignored() -> None:
    layer, x = nn.Linear(2, 2), torch.ones(2, 2, requires_grad=True)
    hidden = layer(x)
    for names, lost in [
        (layer.state_dict(), "weight, bias"),
        ({"hidden": hidden, "x": x}, "hidden"),
        ({**dict(layer.named_parameters()), "mean": torch.ones(1)}, "mean"),
        ({**dict(layer.named_parameters()), "spare": torch.ones(1, requires_grad=True)}, ""),
    ]:
        notes = " ".join(inspect(hidden.sum(), names).notes)
        assert (f"not leaves that require a gradient: {lost}." in notes) is bool(lost)
        assert ("give the model" in notes) is (bool(lost) and lost != "mean")


def test_a_gradient_whose_square_underflows_is_not_zero() -> None:
    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    report = inspect((x * 1e-200).sum(), {"x": x})
    assert report.findings == ()
    assert report.parameters[0].grad_norm == pytest.approx(2e-200, abs=0)


def test_a_loss_that_alone_is_not_finite_is_a_finding() -> None:
    x = torch.ones(3, requires_grad=True)
    report = inspect(lambda: x.neg().log().sum(), {"x": x})
    assert [(one.kind, one.node) for one in report.findings] == [("not-finite", 0)]
    assert report.findings[0].message.startswith("The loss is nan")
    assert "healthy" not in repr(report)


class Causal(nn.Module):
    """Attends to the past by the mask of minus infinity that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x, nn.Transformer.generate_square_subsequent_mask(x.shape[1]))
        return result


def test_minus_infinity_in_a_mask_is_not_named_as_the_cause() -> None:
    model, x = Causal(), torch.randn(2, 5, 8)
    found = inspect(lambda: (model(x) * 0).sum().sqrt(), model).findings
    assert found[0].message.startswith("First in the backward pass: node 0, SqrtBackward0")
    overflow = inspect(lambda: (model(x).exp() * 1e38 * 1e38).sum(), model).findings[0]
    assert "SqrtBackward0" not in overflow.message
    assert "attn_mask" not in overflow.message
    logits = nn.Linear(3, 3)
    hidden = logits(torch.ones(1, 3)).masked_fill(torch.eye(3)[:1] > 0, -math.inf)
    masked = hidden.log_softmax(1)
    (only,) = inspect((masked[0, 1] * 0).sqrt(), {"w": logits.weight}).findings
    assert "SqrtBackward0" in only.message
    lost = inspect((masked * 0).sum(), {"w": logits.weight}).findings[0]
    assert "First in the forward pass" in lost.message


def test_each_kind_of_finding_has_a_module_and_advice() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(12) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
    model = nn.ModuleDict(
        {
            "deep": nn.Sequential(*layers),
            "dead": nn.Sequential(nn.Linear(8, 6), nn.ReLU()),
            "loud": nn.Linear(8, 8),
            "unused": nn.Linear(2, 2),
        }
    )
    with torch.no_grad():
        model["dead"][0].bias.fill_(-100.0)
        model["loud"].weight.mul_(1e-3)

    def loss() -> Tensor:
        images = torch.randn(4, 8)
        deep = model["deep"](images).square().mean()
        return deep + model["dead"](images).sum() + 100 * model["loud"](images).sum()

    found: dict[str, str] = {}
    for one in inspect(loss, model).findings:
        assert one.advice.endswith(".")
        assert str(one) == f"{one.kind}: {one.message} {one.advice}"
        found.setdefault(one.kind, one.module)
    assert found == {
        "no-gradient": "unused",
        "zero-gradient": "dead.0",
        "vanishing": "deep.0",
        "exploding": "loud",
        "dead-relu": "dead.1",
    }


def test_dead_units_are_counted_unless_the_gradients_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias[:2] = -100.0
        model[0].bias[2:] = 100.0

    def loss() -> Tensor:
        return model(torch.randn(64, 4)).square().sum()

    def dead(report: Report) -> list[str]:
        return [one.message for one in report.findings if one.kind == "dead-relu"]

    (message,) = dead(inspect(loss, model))
    assert "2 of 6 units" in message
    monkeypatch.setattr("mnist_cli.autograd.inspecting.UNITS_BYTES", 0)
    uncounted = inspect(loss, model)
    assert dead(uncounted) == []
    assert any("keep=True" in note for note in uncounted.notes)
    kept = inspect(loss, model, keep=True)
    assert dead(kept) == [message]
    assert len(kept.recording.grad_in) == len(kept.graph)


def test_a_loss_of_several_entries_begins_with_the_gradient_that_is_given() -> None:
    x = torch.randn(3, requires_grad=True)
    y = x.sin()
    grad = torch.tensor([1.0, 2.0, 3.0])
    found = inspect(y, {"x": x}, grad=grad, replay=True)
    (expected,) = torch.autograd.grad(y, x, grad, retain_graph=True)
    assert same_bits(found.recording.gradients["x"], expected)
    assert found.verdict is not None
    assert found.verdict.exact
    *_, last = found.step()
    assert last.grads[0] is not None
    assert same_bits(last.grads[0], expected)
    with pytest.raises(UsageError, match="needs a gradient"):
        inspect(y)


class Output:
    loss = torch.ones(())


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (nn.Linear(1, 1), r"not a model \(Linear\).*lambda: criterion"),
        ((torch.ones(1), torch.ones(1)), "not a tuple. Inspect one of its tensors"),
        ({}, "not a dict"),
        (3.0, "not a float"),
        (None, "not a NoneType"),
        (Output(), r"not a Output. Inspect its attribute \.loss"),
        (lambda: (torch.ones(1), 2), "the function must return one tensor.*not a tuple"),
        (lambda: None, "the function must return one tensor.*not a NoneType"),
    ],
)
def test_what_is_no_loss_is_refused_by_name(loss: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        inspect(loss, nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_loss_without_a_graph_and_a_freed_one_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with torch.no_grad():
        plain = model(torch.ones(1, 2)).sum()
    with pytest.raises(UsageError, match="no backward graph"):
        inspect(plain, model)
    freed = model(torch.ones(1, 2)).sum()
    freed.backward()
    with pytest.raises(UsageError, match="freed"):
        inspect(freed, model)


def test_a_node_is_found_by_every_name(report: Report) -> None:
    by_id = report.node(2)
    assert by_id.id == 2
    assert report.node("2") is by_id
    assert report.node("fc.weight").parameter == "fc.weight"
    assert report.node("fc").name == "AddmmBackward0"
    assert report.node("block").name == "ReluBackward0"  # the last operation inside it
    assert report.node("native_batch_norm".replace("_", "")).module == "block.1"
    with pytest.raises(UsageError, match="2 nodes are called 'relu'"):
        report.node("relu")
    with pytest.raises(UsageError, match="no node 'fcc'"):
        report.node("fcc")


def test_paths_and_comparisons(report: Report, tmp_path: Path) -> None:
    path = report.path("conv.weight")
    assert path.steps[-1].node.parameter == "conv.weight"
    model, loss = small()
    same = inspect(loss, model)
    other = inspect(lambda: loss() * 2, model)
    dump = tmp_path / "graph.json"
    dump.write_text(dumps(report.graph), encoding="utf-8-sig")  # editors add the mark
    for first in (same, same.graph, str(dump), dump):
        assert report.compare(first).same
    assert not report.compare(other).same
    with pytest.raises(TypeError, match="not a int"):
        report.compare(3)  # type: ignore[arg-type]
    with pytest.raises(ExpectedError, match="cannot read the dump"):
        report.compare(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("ending", "start"),
    [
        (".html", "<!doctype html>"), (".htm", "<!doctype html>"), (".svg", "<svg"),
        (".json", "{"), (".dot", "digraph"), (".gv", "digraph"), (".mmd", "flowchart"),
        (".mermaid", "flowchart"), (".txt", "backward graph"), (".SVG", "<svg"),
    ],
)  # fmt: skip
def test_the_ending_chooses_the_format(
    report: Report, ending: str, start: str, tmp_path: Path
) -> None:
    file = report.save(tmp_path / f"graph{ending}")
    written = Path(file).read_text(encoding="utf-8")
    assert written.lower().startswith(start)
    assert file.note == ""
    assert list(tmp_path.iterdir()) == [file.path]


@pytest.mark.parametrize("name", ["graph.png", "graph", ".svg", "graph.svg.gz"])
def test_other_endings_are_refused(report: Report, name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ending") as error:
        report.save(tmp_path / name)
    assert ".html" in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    (tmp_path / "file").write_text("")
    for path in (
        "missing/graph.svg",
        "file/graph.svg",
        "folder.svg",
        "nul\0.svg",
        "a" * 300 + ".svg",
    ):
        with pytest.raises(OutputError, match="cannot write") as error:
            report.save(tmp_path / path)
        assert error.value.code == 5
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["file", "folder.svg"]


def test_a_failed_write_keeps_the_old_file(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "graph.json"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        report.save(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def chain(count: int, modules: Callable[[int], str]) -> GradGraph:
    """A chain of operations without figures, and one parameter at its end."""
    nodes = [
        Node(i, "MulBackward0", modules(i), sequence=count - i, next=(Edge(i + 1, 0),))
        for i in range(count)
    ]
    leaf = Node(count, "AccumulateGrad", parameter="end.weight")
    return GradGraph((*nodes, leaf), (Parameter("end.weight", count, (1,)),))


@pytest.mark.parametrize(
    "modules",
    [
        lambda i: f"layer{i // 200}.part{i // 100}",
        lambda i: f"layer{i // 2}",
        lambda i: f"a{i // 1000}.b{i // 100}.c{i // 10}",
        lambda i: "",
    ],
    ids=["nested", "flat", "deep", "none"],
)
def test_large_graphs_are_condensed_and_say_so(
    modules: Callable[[int], str], tmp_path: Path
) -> None:
    graph = chain(2000, modules)
    text = inline.text(graph, ())
    assert text.startswith("backward graph · 2,001 nodes · 2,000 edges")
    assert re.search(r"2,001 nodes in \d\d boxes", text)
    assert text.count("\n") < 60
    small = inline.picture(graph)
    assert re.search(r"2,001 nodes in \d\d boxes", small)
    assert len(small) < 200_000
    for name in ("graph.svg", "graph.dot"):
        saved = save(graph, tmp_path / name)
        assert re.fullmatch(r"2,001 nodes in \d+ boxes: modules are folded", saved.note)
        assert saved.note in repr(saved)
        assert name == "graph.dot" or saved.note in Path(saved).read_text(encoding="utf-8")
    whole = save(graph, tmp_path / "graph.json")
    assert not whole.note
    assert len(json.loads(Path(whole).read_text(encoding="utf-8"))["nodes"]) == 2001


def test_the_notebook_shows_html_without_scripts_styles_or_ids(report: Report) -> None:
    bundle = report._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(report)
    html = bundle["text/html"]
    assert not re.search(r"<script|<style|\sid=|\sclass=|javascript:|\son\w+=", html)
    assert set(re.findall(r'src="([^;]*;)', html)) == {"data:image/svg+xml;"}
    assert "<table" in html
    assert "conv.weight" in html
    ET.fromstring(html)  # each tag is closed, so that nothing after the report changes


def test_several_models_have_names() -> None:
    generator, judge = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1))

    def loss() -> Tensor:
        result: Tensor = judge(generator(torch.ones(4, 2))).mean()
        return result

    found = inspect(loss, {"generator": generator, "judge": judge})
    assert [one.name for one in found.parameters] == [
        "generator.weight", "generator.bias", "judge.0.weight", "judge.0.bias",
    ]  # fmt: skip
    assert {node.module for node in found.graph.nodes} >= {"generator", "judge.0"}
    with pytest.raises(UsageError, match=r"'a\.b' cannot name a model"):
        inspect(loss, {"a.b": generator})


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda found: found.node(None), "node takes a name, not a NoneType"),
        (lambda found: found.node(1.5), "node takes a name, not a float"),
        (
            lambda found: found.path(found.walk.model.fc.weight),
            "path takes a name, not a Parameter",
        ),
    ],
)
def test_what_is_no_name_is_refused(
    report: Report, use: Callable[[Report], object], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        use(report)


def test_an_unknown_direction_is_refused(report: Report, tmp_path: Path) -> None:
    for write in (
        lambda: report.save(tmp_path / "a.svg", direction="up"),  # type: ignore[arg-type]
        lambda: autograd.draw(report.graph, "svg", direction="up"),
    ):
        with pytest.raises(UsageError, match="no direction 'up'"):
            write()


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = '<img src=x onerror=alert(1)>"\x1b[31m\u202e' + "n" * 5000
    x = torch.randn(2, requires_grad=True)
    found = inspect((x * 2).sum(), {name: x})
    html = found._repr_html_()
    assert "<img src=x" not in html
    assert "\x1b" not in html + repr(found)
    node = found.graph.nodes[-1]
    shown = [found.node(node.id), found.path(str(node.parameter)), *list(found.step())[-1:]]
    assert not any("\x1b" in repr(one) or "\u202e" in repr(one) for one in shown)
    assert len(repr(found)) < 4000
    assert len(html) < 60_000


def test_findings_and_rows_are_cut() -> None:
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(100))
    x = torch.randn(3, 2)
    found = inspect(lambda: model[0](x).sum(), model)
    assert len(found.findings) == 198
    assert repr(found).count("\n") < 60
    assert "and 190 more findings" in repr(found)
    html = found._repr_html_()
    assert "and 190 more findings" in html
    assert "and 160 more parameters" in html
    assert "and 160 more parameters" in repr(found.parameters)
    assert len(html) < 100_000


def test_everything_public_prints_briefly() -> None:
    torch.manual_seed(0)
    torchvision = pytest.importorskip("torchvision")
    model, images = torchvision.models.resnet18(), torch.randn(2, 3, 32, 32)
    with trace_modules(model) as modules:
        loss = model(images).square().mean()
    found = inspect(loss, model, modules=modules, replay=True, keep=True)
    step = next(found.step())
    shown = [
        found, found.graph, found.walk, found.recording, found.verdict, found.findings,
        found.parameters, found.node("fc"), found.path("conv1.weight"), found.compare(found),
        step, step.deliveries[0], modules, autograd.replay(found.walk),
        autograd.find_nodes(found.graph, "relu"), autograd.gradient_flow(found.graph),
        autograd.parameter_table(found.graph), autograd.dead_units(found.recording),
        autograd.diagnose(found.graph), autograd.select(found.graph, "layer1"),
        autograd.fold(found.graph), found.graph.parameters[0], found.graph.nodes[0].grad_in,
        found.path("conv1.weight").steps[3], found.compare(found).nodes[0],
    ]  # fmt: skip
    lengths = {type(one).__name__: len(repr(one)) for one in shown}
    assert max(lengths.values()) < 4000, lengths


def test_two_nodes_with_many_edges_between_them_are_drawn_with_a_few() -> None:
    x = torch.randn(300, requires_grad=True)
    found = inspect(torch.stack(x.unbind()).sum())
    assert "at most 40 edges" in repr(found)
    assert len(found._repr_html_()) < 400_000


def test_a_node_of_many_inputs_prints_briefly() -> None:
    parts = [torch.randn((), requires_grad=True) for _ in range(300)]
    found = inspect(torch.stack(parts).sum())
    longest = max([*map(repr, found.graph.nodes), *map(repr, found.step())], key=len)
    assert len(longest) < 1000
    assert len(found._repr_html_()) < 400_000
    assert repr(Brief(range(20))).endswith("… and 12 more")


@pytest.mark.parametrize("name", ["Report", "inspect", "load"])
def test_the_names_are_public(name: str) -> None:
    assert name in autograd.__all__
    assert getattr(autograd, name).__doc__
