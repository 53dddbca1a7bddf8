"""Tries a network of the user's own: one step on noise and an evaluation, before any image.

A temporary network takes a training step and is evaluated, in the order of a run. A second
network, with other initial weights, then gets its state_dict. If their scores still differ, the cause
lies outside the state_dict, and no checkpoint would hold it.
"""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli.errors import Caution, OwnCodeError, UsageError
from mnist_cli.networks.global_state import seeded
from mnist_cli.networks.repeatable import DIFFERS, close, takes_same_step
from mnist_cli.networks.score_form import DEPENDENT, WARNING, are_dependent, are_probabilities
from mnist_cli.networks.unregistered import differing, listed, outside, overwrite

FEW = 3
"""Number of images per batch: in training mode, batch norms need more than one."""

STEP = 1e-3
"""Distance by which the trial's training step moves each weight."""

REGISTER = (
    "Hold layers in nn.ModuleList or nn.ModuleDict, and learned tensors in nn.Parameter; "
    "pass other tensors to register_buffer, with persistent=True."
)


@dataclass(frozen=True)
class Subject:
    """A class of the user's own to try.

    Attributes:
        label: its name, for messages.
        build: builds a network; True builds it as another process would, from the file run again.
        shared: the values that a network shares with others, by name: the file's globals.
        running: runs the user's code; its errors name the failed action.
    """

    label: str
    build: Callable[[bool], nn.Module]
    shared: Callable[[nn.Module], Mapping[str, object]]
    running: Callable[[str], contextlib.AbstractContextManager[None]]

    def caution(self, message: str) -> None:
        """Warn about the network."""
        warnings.warn(f"{self.label} {message}", Caution, stacklevel=2)

    def outside(self, network: nn.Module) -> dict[str, Any]:
        """Values that the network can reach but its state_dict does not hold, by path."""
        with self.running("cannot give its state_dict"):
            return outside(network, {"self": network, **self.shared(network)})


class NotFiniteError(UsageError):
    """The scores are not finite: such a network can be inspected, but not trained.

    ``width`` is the number of its outputs.
    """

    width = 0


@dataclass(frozen=True)
class Trial:
    """The number of outputs, an error if scores are not finite, a warning if resumed runs differ."""

    width: int
    not_finite: NotFiniteError | None = None
    differs: str = ""


def try_out(subject: Subject) -> Trial:
    """Train a temporary network on noise, evaluate it, and load its weights into another.

    Scores that are not finite end the trial.

    Raises:
        UsageError: the network fails, or its weights cannot be trained, saved and restored.
    """
    try:
        return _try_out(subject)
    except NotFiniteError as error:
        return Trial(error.width, error)


def _try_out(subject: Subject) -> Trial:
    with seeded(0):
        network = subject.build(False)
        built = torch.get_rng_state()
        _require_plain_weights(subject, network)
        before, loose = _registered(network), _loose(subject, network)
        trained = train(subject, network, FEW)
        _require_parameters(subject, loose)
        _require_same_entries(subject, before, _registered(network))
        scores = _evaluate(subject, network, FEW)
        if are_probabilities(scores) or are_probabilities(trained):
            subject.caution(WARNING)
        _evaluate(subject, network, 1)
    with seeded(1):
        other = subject.build(True)
        if torch.equal(torch.get_rng_state(), built):
            subject.caution(
                "seeds torch's generator when it is built: its initial weights do not depend on the "
                "run's seed, and all members of an ensemble start with the same weights"
            )
        differs = _require_same_scores(subject, network, other, scores)
        return Trial(trained.shape[1], differs=differs)


def train(subject: Subject, network: nn.Module, count: int) -> Tensor:
    """Take a step on a batch of noise; return its scores (count, outputs).

    Raises:
        UsageError: the network fails.
    """
    scores = _scores(subject, network, count, training=True)
    if not scores.requires_grad:
        raise UsageError(
            f"{subject.label}: no gradient flows from its scores to any weight",
            "It needs parameters, and scores that depend on them without detach() or no_grad().",
        )
    labels = torch.arange(count) % scores.shape[1]
    with subject.running("fails in the backward pass"), torch.enable_grad():
        F.cross_entropy(scores.float(), labels, reduction="sum").backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(STEP * parameter.grad.to_dense().sgn())
    return scores


def _evaluate(subject: Subject, network: nn.Module, count: int) -> Tensor:
    """Scores (count, classes) of a batch of noise, always the same, in evaluation mode."""
    with seeded(0), torch.no_grad():
        return _scores(subject, network, count, training=False)


@contextlib.contextmanager
def _naming_the_form() -> Iterator[None]:
    """Add a hint about the shape of images if the words of the error suggest a wrong one."""
    try:
        yield
    except OwnCodeError as error:
        if re.search(r"shape|\bsize|channels|dimension|\dD\b|\) missing", str(error.__cause__)):
            error.hint = (
                "forward gets one argument, images x (N, 1, 28, 28). x.flatten(1) is (N, 784), "
                "x.expand(-1, 3, -1, -1) (N, 3, 28, 28), F.pad(x, (2, 2, 2, 2)) (N, 1, 32, 32)."
            )
        raise


def _scores(subject: Subject, network: nn.Module, count: int, *, training: bool) -> Tensor:
    """The network's scores (count, classes) for images of noise; refuse anything else."""
    label, mode = subject.label, "training" if training else "evaluation"
    noise = torch.Generator().manual_seed(FEW)
    shape = (max(count, FEW), 1, 28, 28)  # one image is the first of several
    batch = torch.randn(shape, generator=noise, dtype=torch.float32, device="cpu")[:count]
    with (
        _naming_the_form(),
        subject.running(f"fails on {count} images in {mode} mode"),
        torch.set_grad_enabled(training),
    ):
        scores = network.train(training)(batch)
    wanted = f"not scores ({count}, classes)"
    if not isinstance(scores, Tensor):
        raise UsageError(
            f"{label} returns a {type(scores).__name__} in {mode} mode, {wanted}",
            "Let forward return one tensor.",
        )
    if scores.ndim != 2 or scores.shape[0] != count or not scores.shape[1]:
        raise UsageError(
            f"{label} returns {tuple(scores.shape)} for {count} images in {mode} mode, {wanted}",
            "Keep the batch as the first dimension: images come as (N, 1, 28, 28), and x.flatten(1) "
            "is (N, 784).",
        )
    if not scores.is_floating_point():
        raise UsageError(f"{label} returns {scores.dtype}, not floating-point scores")
    if not bool(scores.isfinite().all()):
        error = NotFiniteError(
            f"{label} returns NaN or infinity for noise, untrained, in {mode} mode",
            "Check its initial weights, and logarithms and divisions in forward; "
            "`mnist inspect-grad` shows where it begins.",
        )
        error.width = scores.shape[1]
        raise error
    return scores


def _require_plain_weights(subject: Subject, network: nn.Module) -> None:
    """Refuse values that checkpoints cannot hold, or that averages and ensembles cannot copy."""
    with subject.running("cannot be copied"):
        copy.deepcopy(network)
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{subject.label}: '{name}' of its state_dict is a {type(value).__name__}, "
                "not a tensor",
                "A checkpoint holds only tensors; do not use get_extra_state.",
            )


def _loose(subject: Subject, network: nn.Module) -> dict[str, Tensor]:
    """Tensors that could be trained but that no optimiser gets; their gradients are cleared."""
    trained = {id(parameter) for parameter in network.parameters()}
    loose = {
        name: one
        for name, one in subject.outside(network).items()
        if isinstance(one, Tensor) and one.is_leaf and one.requires_grad
        if id(one) not in trained
    }
    for one in loose.values():  # a global may have the gradient of another network
        one.grad = None
    return loose


def _require_parameters(subject: Subject, loose: Mapping[str, Tensor]) -> None:
    """Refuse tensors that got a gradient but that no optimiser gets."""
    forgotten = [name for name, one in loose.items() if one.grad is not None]
    if forgotten:
        raise UsageError(
            f"{subject.label}: training would never change {listed(forgotten)}, since "
            "network.parameters() does not return them, and no checkpoint would hold them",
            f"{REGISTER} Call requires_grad_(False) on what is not to be trained.",
        )


@dataclass(frozen=True)
class _Entry:
    """An entry of a state_dict: the id of its parameter, or 0; its shape and type."""

    parameter: int
    shape: torch.Size
    dtype: torch.dtype


def _registered(network: nn.Module) -> dict[str, _Entry]:
    return {
        name: _Entry(id(one) if isinstance(one, nn.Parameter) else 0, one.shape, one.dtype)
        for name, one in network.state_dict(keep_vars=True).items()
    }


def _require_same_entries(
    subject: Subject, before: Mapping[str, _Entry], after: Mapping[str, _Entry]
) -> None:
    """Refuse a forward that adds, removes, replaces or reshapes entries of the state_dict."""
    for name in [*after, *before]:
        if before.get(name) == after.get(name):
            continue
        old, new = before.get(name), after.get(name)
        happened = "adds" if old is None else "removes" if new is None else "replaces"
        if old and new and old.parameter == new.parameter:
            happened = "changes the shape or type of"
        raise UsageError(
            f"{subject.label}: its forward {happened} '{name}' of its state_dict, after the "
            "optimiser was created for the result of __init__",
            "Create every parameter and buffer in __init__, with its final shape and type; "
            "lazy modules, such as nn.LazyLinear, work.",
        )


def _require_same_scores(
    subject: Subject, network: nn.Module, other: nn.Module, scores: Tensor
) -> str:
    """Refuse a network if its state_dict does not determine its ``scores``; see :func:`_differs`."""
    with subject.running("cannot load its own state_dict"):
        other.load_state_dict(copy.deepcopy(network.state_dict()))
    theirs = _evaluate(subject, other, FEW)
    if not _is_steady(subject, other, theirs):
        return ""
    causes = [] if torch.equal(scores, theirs) else _causes(subject, network, other)
    if not causes and close(scores, theirs):
        return _differs(subject, network, other)
    what = listed(causes) or "a value that no attribute leads to"
    raise UsageError(
        f"{subject.label}: its scores depend on {what}, which its state_dict does not hold, so no "
        "checkpoint would, and another process would compute other scores",
        REGISTER,
    )


def _differs(subject: Subject, network: nn.Module, other: nn.Module) -> str:
    """A warning if a training step depends on more than the state_dict, which ``other`` has loaded."""
    # One has been called more often than the other, so a counter of calls differs too.
    suspects = differing(subject.outside(network), subject.outside(other))
    with contextlib.suppress(NotFiniteError):
        if not takes_same_step(network, other, lambda one: train(subject, one, FEW)):
            return DIFFERS.format(f" (perhaps {listed(suspects)})" if suspects else "")
    return ""


def _causes(subject: Subject, network: nn.Module, other: nn.Module) -> list[str]:
    """Paths of values outside the state_dict that differ and on which the scores depend.

    Gives ``other`` the values of ``network`` one by one, and checks whether its scores change.
    """
    right, wrong = subject.outside(network), subject.outside(other)
    causes, numbers = [], []
    scores = _evaluate(subject, other, FEW)
    for name in differing(right, wrong):
        if not overwrite(wrong[name], right[name]):
            numbers.append(name)
            continue
        now = _evaluate(subject, other, FEW)
        if not torch.equal(now, scores):
            causes.append(name)
        scores = now
    explained = torch.equal(scores, _evaluate(subject, network, FEW))
    return causes if explained else causes + numbers


def _is_steady(subject: Subject, network: nn.Module, first: Tensor) -> bool:
    """Whether the network's state determines its scores in evaluation mode; warns of randomness.

    ``first`` are its scores with the seed 0, for the images of :func:`_evaluate`.
    """
    tries, states = [], []
    for seed in (1, 0):
        with seeded(seed), torch.no_grad():
            tries.append(_scores(subject, network, FEW, training=False))
            states.append(torch.get_rng_state())
    if torch.equal(states[0], states[1]):
        subject.caution("seeds torch's generator in forward: its random numbers repeat")
    if close(first, tries[0]):
        if are_dependent(first, _evaluate(subject, network, 1)):
            subject.caution(DEPENDENT)
        return True
    if close(first, tries[1]):
        subject.caution(
            "draws random numbers in evaluation mode, so the same image gets different scores each "
            "time: F.dropout needs training=self.training, and noise needs `if self.training`"
        )
        return True
    subject.caution(
        "returns different scores for the same images each time in evaluation mode: forward changes "
        "what it depends on"
    )
    return False
