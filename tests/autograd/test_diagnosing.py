"""Each diagnosis where it holds, on networks made to be ill, and none on a sound one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import ConvNet, leaf, recorded
from torch import Tensor, nn

from mnist_cli.autograd import inspect, record, trace_modules, walk
from mnist_cli.autograd.diagnosing import (
    Diagnosis,
    blocked_share,
    diagnose,
    parameter_table,
)
from mnist_cli.autograd.flowing import gradient_flow
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.recording import Recording
from mnist_cli.autograd.units import dead_units, first_not_finite
from mnist_cli.errors import UsageError


def kinds(graph: GradGraph) -> set[str]:
    return {finding.kind for finding in diagnose(graph)}


def sound() -> Recording:
    torch.manual_seed(0)
    return recorded(ConvNet(), torch.randn(32, 1, 8, 8), keep=True)


def test_a_sound_network_has_no_findings() -> None:
    assert diagnose(sound().graph) == ()
    assert diagnose(sound().graph, dead_units=dead_units(sound())) == ()


def test_the_table_of_parameters() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    inputs = torch.randn(5, 3)
    table = {row.name: row for row in parameter_table(recorded(model, inputs).graph)}
    model(inputs).square().mean().backward()
    grad, weight = model.weight.grad, model.weight.detach()
    row = table["weight"]
    assert row.grad_norm == pytest.approx(float(grad.norm()), rel=1e-5)
    assert row.ratio == pytest.approx(float(grad.norm() / weight.norm()), rel=1e-5)
    assert row.rms == pytest.approx(float(grad.pow(2).mean().sqrt()), rel=1e-5)
    assert row.dead == 0.0


def test_frozen_parameters_have_no_row_and_no_finding() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    graph = recorded(model, torch.randn(4, 3)).graph
    assert [row.name for row in parameter_table(graph)] == ["1.weight", "1.bias"]
    assert kinds(graph) == set()


def test_vanishing() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(12) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
    findings = diagnose(recorded(nn.Sequential(*layers), torch.randn(4, 8)).graph)
    subjects = {f.subject for f in findings if f.kind == "vanishing"}
    assert "0.weight" in subjects
    assert "22.weight" not in subjects


def test_a_dead_relu_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    found = recorded(model, torch.randn(8, 4), keep=True)
    (dead,) = [f for f in diagnose(found.graph) if f.kind == "dead-relu"]
    assert dead.subject == "1"
    assert "100.0%" in dead.message
    zero = {f.subject for f in diagnose(found.graph) if f.kind == "zero-gradient"}
    assert zero == {"0.weight", "0.bias", "2.weight"}  # what it multiplies is zero too


def test_units_are_counted_one_by_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias[:2] = -100.0
        model[0].bias[2:] = 100.0
        model[2].weight[:, 5] = 0.0  # nothing arrives there: it says nothing of the unit
    found = recorded(model, torch.randn(64, 4), keep=True)
    (counted,) = dead_units(found).values()
    assert (counted.dead, counted.total, counted.places) == (2, 5, 64)
    (finding,) = [
        f for f in diagnose(found.graph, dead_units=dead_units(found)) if f.kind == "dead-relu"
    ]
    assert "2 of 5 units" in finding.message


def test_channels_of_a_convolution_are_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        model[0].bias[1] = -100.0
        model[0].bias[0] = 100.0
    (counted,) = dead_units(recorded(model, torch.randn(3, 1, 6, 6), keep=True)).values()
    # Squares of zero have no gradient, so that the dead channel itself gets none.
    assert (counted.dead, counted.total) == (0, 3)


def test_counting_units_needs_the_gradients() -> None:
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="needs the gradients"):
        dead_units(recorded(ConvNet(), torch.randn(2, 1, 8, 8)))


def test_the_share_that_a_relu_blocks() -> None:
    x = torch.tensor([[-1.0, 2.0, -3.0, 4.0]], requires_grad=True)
    loss = (x.relu() * torch.tensor([1.0, 1.0, 1.0, 0.0])).sum()
    graph = record(walk(loss)).graph
    relu = next(n for n in graph.nodes if n.name == "ReluBackward0")
    assert blocked_share(relu) == pytest.approx(2 / 3)


def test_the_first_gradient_that_is_not_finite_is_found() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=0).sqrt()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Root(), nn.Tanh())
    with torch.no_grad():
        model[0].weight[0] = 0.0
        model[0].bias[0] = 0.0
    with trace_modules(model) as modules:
        loss = model(torch.randn(3, 4)).sum()
    graph = record(walk(loss, model, modules)).graph
    first = diagnose(graph)[0]
    assert (first.kind, first.subject) == ("not-finite", "1")
    assert "SqrtBackward0" in first.message
    assert "turned finite gradients into" in first.message


def test_the_first_saved_tensor_that_is_not_finite_is_found() -> None:
    x = leaf(3)
    scaled = x.exp()
    broken = (scaled - scaled).log()
    walked = walk((broken * x).tanh().sum(), {"x": x})
    found = first_not_finite(walked)
    assert found is not None
    names = [node.name for node in walked.graph.nodes]
    # log keeps its input, which is zero and so finite; the product keeps −inf.
    assert names[found.node] == "MulBackward0"
    assert not found.made_here
    assert first_not_finite(walk(x.sin().sum())) is None
    power = (x.abs() + 1e30) ** (leaf(3).abs() + 2)  # keeps base, exponent and result
    made = first_not_finite(walk(power.sum()))
    assert made is not None
    assert made.made_here
    alone = first_not_finite(walk((x.abs() + 1000).exp().sum()))  # keeps its result alone
    assert alone is not None
    assert not alone.made_here


def test_the_flow_has_every_module_in_forward_order(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sound().graph
    edges, asked = GradGraph.edges, []
    monkeypatch.setattr(GradGraph, "edges", lambda graph: asked.append(graph) or edges(graph))
    flow = gradient_flow(graph)
    assert len(asked) < len(flow)  # not once for each module
    order = [point.module for point in flow]
    assert order.index("conv") < order.index("norm") < order.index("act") < order.index("fc")
    by_module = {point.module: point for point in flow}
    nodes = {n.name: n for n in graph.nodes}
    assert by_module["norm"].arriving == nodes["NativeBatchNormBackward0"].grad_in[0].norm
    weights = [p.grad.norm for p in graph.parameters if p.name.startswith("fc.")]
    assert by_module["fc"].weights == pytest.approx(math.hypot(*weights))
    assert by_module["act"].weights is None
    assert by_module["act"].leaving == by_module["norm"].arriving


class Detached(nn.Module):
    """Cuts off its first layer; the middle one is frozen, and part of the last has no use."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.fixed, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.fixed.requires_grad_(False)
        self.last.register_parameter("idle", nn.Parameter(torch.ones(1)))
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.fixed(self.cut(x).detach()).relu())


def test_the_flow_has_modules_that_get_no_gradient() -> None:
    torch.manual_seed(0)
    model = Detached()
    inputs = torch.randn(8, 4)
    with trace_modules(model) as modules:
        loss = model(inputs).square().mean()
    flow = gradient_flow(record(walk(loss, model, modules=modules)).graph)
    assert [(one.module, one.silent) for one in flow if one.module] == [
        *(("cut", True), ("last", True), ("unused", True))
    ]
    cut, last = (one for one in flow if one.module in ("cut", "last"))
    assert (cut.nodes, cut.arriving, cut.weights) == (0, None, None)
    model(inputs).square().mean().backward()
    norms = [float(p.grad.norm()) for p in (model.last.weight, model.last.bias)]
    assert last.weights == pytest.approx(math.hypot(*norms))
    assert not any(one.silent for one in gradient_flow(sound().graph))


def kinds_of(loss: Tensor, model: nn.Module) -> set[str]:
    return {one.kind for one in findings_of(loss, model)}


Q = nn.Parameter(torch.zeros(3, 3))
ADVICE: list[tuple[Callable[[], Tensor], str]] = [
    (lambda: Q.exp().neg().log().pow(2).sum(), "needs positive values"),  # the power holds the NaN
    (lambda: (Q[:1] - Q[1:2]).std(0).sum(), "set correction=0"),
    (lambda: Q[:1].var(0).sum(), "set correction=0"),
    (lambda: Q[Q > 1].mean(), "all labels are ignored"),
    (lambda: F.cross_entropy(Q, torch.full((3,), -100)), "all labels are ignored"),
    (lambda: F.ctc_loss(Q[:1].log_softmax(1), Q[0, :2].long() + 1, (1,), (2,)), "zero_infinity"),
    (lambda: torch.linalg.eigh(Q)[1].sum(), "eigvalsh"),
    (lambda: torch.linalg.svd(Q)[0].sum(), "svdvals"),
    (lambda: torch.linalg.slogdet(Q)[1], "to its diagonal"),
    (lambda: torch.logit(Q).sum(), "set eps"),
    (lambda: torch.xlogy(Q, Q).sum(), "needs positive values"),
    (lambda: (Q.relu() * Q.relu().log()).sum(), "needs positive values"),  # an entropy
    (lambda: (Q.exp() @ Q.relu().log()).sum(), "needs positive values"),
    (lambda: torch.addcmul(Q.exp(), Q.exp(), Q.relu().log()).sum(), "needs positive values"),
]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize(("loss", "words"), ADVICE)
def test_the_advice_names_the_cause(loss: Callable[[], Tensor], words: str) -> None:
    found = inspect(loss, {"q": Q}).findings
    assert (found[0].kind, words in found[0].advice) == ("not-finite", True)


def test_a_weight_that_starts_near_zero_does_not_explode() -> None:
    """As the class token of timm's vision transformers."""
    token, layer = nn.Parameter(torch.full((1, 8), 1e-6)), nn.Linear(8, 2)
    assert "exploding" not in kinds_of(layer(token).square().sum(), nn.ParameterList([token]))


def findings_of(loss: Tensor, model: nn.Module) -> tuple[Diagnosis, ...]:
    return tuple(inspect(loss, model).findings)


@pytest.mark.parametrize(
    ("examples", "units", "silent", "found"),
    [
        (1, 20, 12, False),
        (16, 20, 12, False),
        (64, 20, 12, True),
        (1, 4, 3, False),  # a third of all such layers, by chance
        (16, 12, 9, False),
        (16, 64, 48, True),
        (16, 400, 240, False),  # more than chance, but as of a layer deep in an untrained network
    ],
)
def test_units_that_are_silent_for_few_examples_are_not_dead(
    examples: int, units: int, silent: int, found: bool
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 2))
    with torch.no_grad():
        model[0].bias[:silent] = -100.0
        model[0].bias[silent:] = 100.0
    kinds = kinds_of(model(torch.randn(examples, 4)).square().mean(), model)
    assert ("dead-relu" in kinds) is found


def test_calls_of_one_layer_count_as_one_batch() -> None:
    """A policy is asked once for each step of an episode, and a unit may be silent in some."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    states = torch.randn(20, 4)
    (batch,) = dead_units(recorded(model, states, keep=True)).values()
    loss = torch.cat([model(state[None]) for state in states]).square().mean()
    counts = dead_units(record(walk(loss, model), keep=True))
    assert [*counts.values()] == [batch] * 20
    assert len({id(count) for count in counts.values()}) == 1  # else time is quadratic in calls
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    loss = torch.cat([model(state[None]) for state in states]).square().mean()
    kinds = [one.kind for one in findings_of(loss, model)]
    assert kinds.count("dead-relu") == 1  # not one for each call


class Clamp(nn.Module):
    """ReLU, as it is often written by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)


@pytest.mark.parametrize("relu", [nn.ReLU(), Clamp()], ids=["relu", "clamp"])
@pytest.mark.parametrize("norm", [nn.Identity(), nn.LayerNorm(8)], ids=["plain", "norm"])
def test_features_of_a_sequence_are_units(norm: nn.Module, relu: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), norm, relu, nn.Linear(8, 3))
    with torch.no_grad():
        getattr(norm, "bias", model[0].bias)[:4] = -100.0
    (dead,) = [
        one
        for one in findings_of(model(torch.randn(16, 5, 4)).square().mean(), model)
        if one.kind == "dead-relu"
    ]
    assert "4 of 8 units" in dead.message


@pytest.mark.parametrize(
    "hinge",
    [
        lambda scores: (scores.sum(1) - 100.0).clamp(min=0),
        lambda scores: F.relu(1.0 - (scores + 100.0)),  # as of a GAN's critic
        lambda scores: F.relu(1.0 - 1e6 * scores.square()),  # as of a support vector machine
        lambda scores: (-2.0 * (1e6 * scores.square() - 1.0)).relu(),
        lambda scores: (0.2 - 100.0 + scores - scores[:, :1]).relu(),  # as of a ranking
        lambda scores: (scores - 100.0 * scores.abs()).clamp(min=0),  # as of an overlap of boxes
    ],
)
def test_a_hinge_that_most_examples_satisfy_is_no_dead_relu(
    hinge: Callable[[Tensor], Tensor],
) -> None:
    model = nn.Linear(4, 3)
    assert "dead-relu" not in kinds_of(hinge(model(torch.randn(80, 4))).mean(), model)


def test_a_hinge_with_a_learned_weight_is_no_dead_relu() -> None:
    """As losses of several tasks have, which are weighted by their uncertainty."""
    layer, weights, x = nn.Linear(4, 3), nn.ParameterList([torch.zeros(2)]), torch.randn(80, 4)
    hinge = (layer(x) - 100.0).clamp(min=0).mean()
    losses = torch.stack([hinge, layer(x).square().mean()])
    loss = ((-weights[0]).exp() * losses + weights[0]).sum()
    assert "dead-relu" not in kinds_of(loss, nn.ModuleList([layer, weights]))


def test_a_dead_relu_after_a_constant_is_found() -> None:
    """As after a residual connection from a frozen layer."""
    first, last, x = nn.Linear(4, 4), nn.Linear(4, 3), torch.randn(80, 4)
    loss = last((first(x) + (x - 100.0)).relu()).square().mean()
    assert "dead-relu" in kinds_of(loss, nn.ModuleList([first, last]))


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Sigmoid()], ids=["tanh", "sigmoid"])
@pytest.mark.parametrize(("scale", "found"), [(1.0, False), (100.0, True)])
def test_saturation(layer: nn.Module, scale: float, found: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), layer, nn.Linear(16, 2))
    with torch.no_grad():
        model[0].weight.normal_().mul_(scale)
    saturated = [
        one
        for one in findings_of(model(torch.randn(32, 16)).square().mean(), model)
        if one.kind == "saturated"
    ]
    assert len(saturated) == found


@pytest.mark.parametrize(("flat", "found"), [(3, False), (4, True)])
def test_saturation_is_half_of_the_entries(flat: int, found: bool) -> None:
    x = torch.cat([torch.full((flat,), 1000.0), torch.zeros(8 - flat)]).requires_grad_()
    model = nn.Identity()
    assert ("saturated" in kinds_of(model(x).tanh().sum(), model)) == found


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("place", ["0.weight", "2.bias", "data"])
def test_the_source_of_a_nan_is_named(place: str, frozen: bool) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(5, 4)
    broken = x if place == "data" else model.get_parameter(place).requires_grad_(not frozen)
    with torch.no_grad():
        broken.view(-1)[0] = torch.nan
    first, *others = findings_of(model(x).square().sum(), model)
    if place == "data":
        assert "comes from the data" in first.message
    else:
        assert first.message == f"{place} itself is not finite: 1 NaN and 0 Inf."
    assert all("exponent" not in one.advice for one in others)  # of the square in the loss
