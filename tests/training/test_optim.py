"""Optimisers and schedules against torch's own, step by step."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rounding import assert_as_accurate, in_float64, moves, weights_of
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from mnist_cli.base.pair import Pair
from mnist_cli.config.schema import TrainConfig
from mnist_cli.training.optim import LearningRate, build_optimizers


def config(**values: Any) -> TrainConfig:
    return TrainConfig(**{"val_size": 0, **values})


def theirs(make: Callable[[Optimizer], LRScheduler], steps: int, lr: float) -> list[float]:
    """The learning rates that one of torch's schedulers gives, each step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(settings: TrainConfig, steps_per_epoch: int) -> list[float]:
    schedule = LearningRate(settings, steps_per_epoch)
    return [schedule.rate(step) for step in range(settings.epochs * steps_per_epoch)]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 4), (1, 7), (3, 10), (7, 13), (2, 500)])
@pytest.mark.parametrize(
    ("peak", "first", "last"), [(0.3, 0.04, 4e-6), (0.5, 0.1, 0.01), (0.9, 1, 0.5)]
)
def test_onecycle_is_torchs(
    epochs: int, steps: int, peak: float, first: float, last: float
) -> None:
    settings = config(
        schedule="onecycle",
        lr=0.3,
        epochs=epochs,
        peak_at=peak,
        initial_factor=first,
        final_factor=last,
    )
    expected = theirs(
        lambda optimizer: OneCycleLR(
            optimizer,
            max_lr=0.3,
            total_steps=epochs * steps,
            pct_start=peak,
            div_factor=1 / first,
            final_div_factor=first / last,
            cycle_momentum=False,
        ),
        epochs * steps - 1,
        0.3,
    )
    rates = ours(settings, steps)
    assert rates[:-1] == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert rates[-1] == pytest.approx(0.3 * last, rel=1e-9)


def test_onecycles_defaults_are_torchs() -> None:
    expected = theirs(
        lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=60, cycle_momentum=False), 59, 0.1
    )
    rates = ours(config(schedule="onecycle", lr=0.1, epochs=3), 20)
    assert rates[:-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_onecycle_of_very_few_steps_stays_within_its_bounds(total: int) -> None:
    """torch's own divides by zero or starts beyond its first phase there."""
    rates = ours(config(schedule="onecycle", lr=1.0, epochs=total), 1)
    assert max(rates) == pytest.approx(1.0)
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize(("epochs", "steps", "final"), [(1, 1, 0.0), (5, 8, 0.0), (3, 11, 0.1)])
def test_cosine_is_torchs(epochs: int, steps: int, final: float) -> None:
    total = epochs * steps
    expected = theirs(
        lambda optimizer: CosineAnnealingLR(optimizer, total, eta_min=0.2 * final), total, 0.2
    )
    settings = config(schedule="cosine", lr=0.2, epochs=epochs, final_factor=final)
    assert ours(settings, steps) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("drop_every", "gamma"), [(1, 0.7), (2, 0.1), (5, 0.5)])
def test_step_is_torchs(drop_every: int, gamma: float) -> None:
    expected = theirs(lambda optimizer: StepLR(optimizer, drop_every * 6, gamma), 42, 1.0)
    settings = config(schedule="step", lr=1.0, epochs=7, step_epochs=drop_every, gamma=gamma)
    assert ours(settings, 6) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("warmup", [0.5, 1.0, 2.0])
def test_warmup_is_linear_and_the_schedule_follows(warmup: float) -> None:
    steps = round(warmup * 10)

    def make(optimizer: Optimizer) -> LRScheduler:
        first = LinearLR(optimizer, start_factor=1 / steps, end_factor=1.0, total_iters=steps - 1)
        then = CosineAnnealingLR(optimizer, 40 - steps)
        return SequentialLR(optimizer, [first, then], milestones=[steps])

    settings = config(schedule="cosine", lr=0.2, epochs=4, warmup=warmup)
    assert ours(settings, 10) == pytest.approx(theirs(make, 40, 0.2), rel=1e-9)


@pytest.mark.parametrize(("points", "count"), [(30, 30), (1000, 30), (7, 9)])
def test_the_course_is_torchs_thinned_out_with_both_ends(points: int, count: int) -> None:
    settings = config(schedule="onecycle", lr=0.3, epochs=3)
    rates = theirs(
        lambda optimizer: OneCycleLR(optimizer, 0.3, total_steps=30, cycle_momentum=False), 29, 0.3
    )
    course = LearningRate(settings, 10).course(3, points)
    assert len(course) == count
    assert (course[0][0], course[-1][0]) == (0, 2.9)
    for done, rate in course[:-1]:
        assert rate == pytest.approx(rates[round(10 * done)])


def test_apply_sets_every_group_of_every_optimiser() -> None:
    parameters = [nn.Parameter(torch.zeros(2, 2)) for _ in range(3)]
    optimizers: list[Optimizer] = [
        torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:2]}], lr=9.0),
        torch.optim.Adam(parameters[2:], lr=torch.tensor(9.0), capturable=False, foreach=False),
    ]
    settings = config(schedule="step", step_epochs=1, gamma=0.5, epochs=3, lr=0.8)
    value = LearningRate(settings, 2).apply(optimizers, 5)
    assert value == pytest.approx(0.2)
    rates = [float(group["lr"]) for o in optimizers for group in o.param_groups]
    assert rates == pytest.approx([0.2, 0.2, 0.2])


# --- optimisers


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Softplus(),  # smooth: rounding must not decide where a gradient goes
        nn.Flatten(),
        nn.Linear(108, 4),
    )


def trained(
    model: nn.Module, optimizers: list[Optimizer], steps: int = 5
) -> dict[str, torch.Tensor]:
    start = weights_of(model)
    source = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(6, 1, 8, 8, generator=source)
        labels = torch.randint(4, (6,), generator=source)
        for optimizer in optimizers:
            optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        for optimizer in optimizers:
            optimizer.step()
    return moves(weights_of(model), start)


PLAIN_TORCH: dict[str, tuple[dict[str, Any], Callable[[Any], Optimizer]]] = {
    "sgd": (
        {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    "sgd without momentum": (
        {"lr": 0.1, "momentum": 0.0},
        lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=5e-4),
    ),
    "sgd without nesterov": (
        {"lr": 0.1, "nesterov": False, "weight_decay": 0.0},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ),
    "adam": (
        {"lr": 0.01, "beta1": 0.7, "beta2": 0.9, "eps": 1e-5, "weight_decay": 0.1},
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.7, 0.9), eps=1e-5, weight_decay=0.1),
    ),
    "adamw": (
        {"lr": 0.01, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ),
    "adadelta": (
        {"lr": 0.5, "rho": 0.8, "weight_decay": 0.0},
        lambda p: torch.optim.Adadelta(p, lr=0.5, rho=0.8),
    ),
}


@pytest.mark.parametrize("case", PLAIN_TORCH)
def test_an_optimiser_is_torchs_plain_one(case: str) -> None:
    """Up to rounding: fused kernels round otherwise."""
    values, make = PLAIN_TORCH[case]
    ours, theirs, exact = network(), network(), in_float64(network())
    settings = config(optimizer=case.split()[0], **values)
    assert_as_accurate(
        trained(ours, build_optimizers(settings, ours.parameters())),
        *(trained(one, [make(one.parameters())]) for one in (theirs, exact)),
    )


def test_an_optimisers_steps_and_saving_do_not_import_torchs_compiler() -> None:
    """It costs a second, and torch's own optimisers import it when they are built."""
    code = (
        "import sys, torch\n"
        "from mnist_cli.config.schema import Layer, compose\n"
        "from mnist_cli.training.optim import build_optimizers\n"
        "for name in ('sgd', 'adam', 'adamw', 'adadelta', 'muon'):\n"
        "    weight = torch.nn.Parameter(torch.ones(3, 3))\n"
        "    config = compose([Layer({'optimizer': name}, {})])\n"
        "    for optimizer in build_optimizers(config, [weight]):\n"
        "        weight.grad = torch.ones(3, 3)\n"
        "        optimizer.step()\n"
        "        optimizer.zero_grad()\n"
        "        optimizer.load_state_dict(optimizer.state_dict())\n"
        "        assert not torch.equal(weight, torch.ones(3, 3))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model = network()
    settings = config(optimizer="muon", lr=0.02, weight_decay=0.1, momentum=0.9, beta1=0.8)
    muon, adamw = build_optimizers(settings, model.parameters())
    assert type(muon).__name__ == "Muon"
    assert isinstance(adamw, torch.optim.AdamW)
    groups = [[id(p) for group in o.param_groups for p in group["params"]] for o in (muon, adamw)]
    assert groups[0] == [id(p) for p in model.parameters() if p.ndim == 2]
    assert sorted(groups[0] + groups[1]) == sorted(id(p) for p in model.parameters())
    assert adamw.param_groups[0]["betas"] == (0.8, 0.999)


def test_without_matrices_or_without_others_one_optimiser_is_left() -> None:
    settings = config(optimizer="muon")
    vectors = build_optimizers(settings, [nn.Parameter(torch.zeros(3))])
    assert [type(o).__name__ for o in vectors] == ["AdamW"]


def muon_in_float64(gradients: list[torch.Tensor], values: dict[str, Any]) -> torch.Tensor:
    """How far Muon moves a matrix of zeros (rows, columns), without decay (Jordan 2024, Liu 2025)."""
    moved = velocity = torch.zeros_like(gradients[0], dtype=torch.float64)
    for gradient in gradients:
        velocity = torch.lerp(gradient.double(), velocity, values["momentum"])
        step = torch.lerp(gradient.double(), velocity, values["momentum"])
        step = step if values["nesterov"] else velocity
        x = step.T if step.shape[0] > step.shape[1] else step
        x = x / x.norm()
        for _ in range(values["ns_steps"]):
            square = x @ x.T
            x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
        size = 0.2 * max(step.shape) ** 0.5
        moved = moved - values["lr"] * size * (x.T if step.shape[0] > step.shape[1] else x)
    return moved


@pytest.mark.parametrize(("nesterov", "ns_steps"), [(True, 5), (False, 5), (True, 3)])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (10, 128)])
def test_muon_is_torchs(shape: tuple[int, int], nesterov: bool, ns_steps: int) -> None:
    """Up to rounding, which is that of bfloat16 in both."""
    torch.manual_seed(0)
    mine, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    values = {"lr": 0.1, "momentum": 0.7, "nesterov": nesterov, "ns_steps": ns_steps}
    decay = {"weight_decay": 0.0}
    (ours,) = build_optimizers(config(optimizer="muon", **values, **decay), [mine])
    torchs = torch.optim.Muon([theirs], **values, **decay, adjust_lr_fn="match_rms_adamw")
    gradients = [torch.randn(shape) for _ in range(6)]
    for gradient in gradients:
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step(), torchs.step()
    assert_as_accurate(mine, theirs, muon_in_float64(gradients, values))
    memories = ours.state[mine]["momentum_buffer"], torchs.state[theirs]["momentum_buffer"]
    torch.testing.assert_close(*memories, rtol=0, atol=0)


def test_two_threads_move_muons_matrices_to_the_same_bits() -> None:
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((6, 4), (10, 128), (3, 3))]
    gradients = [torch.randn_like(start) for start in starts]
    moved = []
    for pair in (None, Pair(), Pair(parallel=False)):
        weights = [nn.Parameter(start.clone()) for start in starts]
        (muon,) = build_optimizers(config(optimizer="muon", weight_decay=0.1), weights, pair)
        for _ in range(2):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            muon.step()
        moved.append(torch.cat([weight.detach().flatten() for weight in weights]))
    assert torch.equal(moved[0], moved[1])
    assert torch.equal(moved[0], moved[2])


@pytest.mark.parametrize(
    "shape", [(8, 3, 5), (32, 1, 3, 3), (6, 4, 3, 3), (4, 2, 3, 2, 3), (200, 20, 3, 3)]
)
def test_muon_moves_filters_as_rows_of_a_matrix(shape: tuple[int, ...]) -> None:
    """As torch's Muon moves the matrix; and each member of an ensemble on its own."""
    torch.manual_seed(0)
    given = {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.0}
    gradients = torch.randn(2, *shape)
    single, stack = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(2, *shape))
    matrices = [nn.Parameter(torch.zeros(shape).flatten(1)) for _ in gradients]
    if len(shape) == 4:
        single.data = single.data.contiguous(memory_format=torch.channels_last)
    single.grad, stack.grad = gradients[0].clone(), gradients.clone()
    for matrix, gradient in zip(matrices, gradients, strict=True):
        matrix.grad = gradient.flatten(1)
    settings = config(optimizer="muon", muon_filters=True, **given)
    build_optimizers(settings, [single])[0].step()
    build_optimizers(settings.model_copy(update={"ensemble": 2}), [stack])[0].step()
    torch.optim.Muon(matrices, **given, adjust_lr_fn="match_rms_adamw").step()
    values = {**given, "nesterov": True, "ns_steps": 5}
    exact = [muon_in_float64([gradient.flatten(1)], values) for gradient in gradients]
    assert_as_accurate(single.flatten(1), matrices[0], exact[0])
    for member, matrix, far in zip(stack, matrices, exact, strict=True):
        assert_as_accurate(member.flatten(1), matrix, far)


def test_muon_decays_weights_as_torchs_does() -> None:
    """By a share of the weight, which a gradient of zero leaves alone."""
    mine, theirs = (nn.Parameter(torch.full((6, 4), 3.0)) for _ in range(2))
    mine.grad, theirs.grad = torch.zeros(6, 4), torch.zeros(6, 4)
    values = {"lr": 0.1, "weight_decay": 0.2}
    build_optimizers(config(optimizer="muon", **values), [mine])[0].step()
    torch.optim.Muon([theirs], **values, adjust_lr_fn="match_rms_adamw").step()
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(mine, torch.full((6, 4), 3 * (1 - 0.1 * 0.2)))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_muon_makes_each_matrix_of_a_stack_orthogonal_alone(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    gradients = torch.randn(3, *shape) * torch.tensor([1.0, 100.0, 0.01]).view(3, 1, 1)
    stack = nn.Parameter(torch.zeros(3, *shape))
    stack.grad = gradients.clone()
    (muon,) = build_optimizers(config(optimizer="muon", ensemble=3, lr=0.1), [stack])
    muon.step()
    values = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "ns_steps": 5}
    for k in range(3):
        alone = nn.Parameter(torch.zeros(shape))
        alone.grad = gradients[k].clone()
        build_optimizers(config(optimizer="muon", lr=0.1), [alone])[0].step()
        assert_as_accurate(stack[k], alone, muon_in_float64([gradients[k]], values))


@pytest.mark.parametrize(
    ("filters", "muons", "adamws"), [(False, [3], [2, 5]), (True, [3, 5], [2])]
)
def test_muon_of_an_ensemble_leaves_stacks_of_vectors_to_adamw(
    filters: bool, muons: list[int], adamws: list[int]
) -> None:
    stacks = [nn.Parameter(torch.zeros(2, *shape)) for shape in ((3,), (3, 4), (3, 1, 2, 2))]
    settings = config(optimizer="muon", ensemble=2, muon_filters=filters)
    muon, adamw = build_optimizers(settings, stacks)
    assert [p.ndim for p in muon.param_groups[0]["params"]] == muons
    assert [p.ndim for p in adamw.param_groups[0]["params"]] == adamws
    assert copy.deepcopy(muon).stacked
