"""What a watch keeps: a recorded pass, and a pass that is not finite, in sentences.

Knows findings, not where they come from. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mnist_cli.autograd.diagnosing import Diagnosis, ParameterRow
from mnist_cli.autograd.graph import GradGraph, Node

NO_PASS = (
    "no training pass of {} was seen: while it was watched, no call in training mode returned a "
    "tensor with a gradient, alone or in a list, tuple, mapping or dataclass"
)
LISTED = 3
"""Maximum number of parameters that a sentence names."""


class GradientWarning(UserWarning):
    """What :func:`watch` reports of a training run."""


class Scaler(Protocol):
    """The part of ``torch.amp.GradScaler`` that a watch needs."""

    def get_scale(self) -> float:
        """The factor by which the loss is multiplied."""


@dataclass(frozen=True)
class Record:
    """One backward pass.

    Attributes:
        step: the number of the forward pass, from 0.
        graph: the pass with the gradients that the engine computed.
        parameters: a row for each parameter that requires a gradient.
        findings: what is wrong with them.
    """

    step: int
    graph: GradGraph = field(repr=False)
    parameters: tuple[ParameterRow, ...] = field(repr=False)
    findings: tuple[Diagnosis, ...]


@dataclass(frozen=True)
class Evidence:
    """What is known of a pass that is not finite.

    Attributes:
        graph: of the pass; None if it was neither run again nor recorded.
        findings: the NaN and infinities, the cause first; may be empty.
        note: a sentence on why nothing was found, or where else the cause is; may be empty.
    """

    graph: GradGraph | None = None
    findings: tuple[Diagnosis, ...] = ()
    note: str = ""

    @property
    def node(self) -> Node | None:
        """The node of the first finding."""
        number = self.findings[0].node if self.findings else None
        return None if self.graph is None or number is None else self.graph.nodes[number]


@dataclass(frozen=True)
class Problem:
    """A training pass that is not finite.

    Attributes:
        step: the number of the forward pass, from 0.
        message: what is known, in sentences.
        node: the node's name, as ``SqrtBackward0``; empty if it is not known.
        module: path of the module that made the node; empty if it is not known.
        parameters: names of the parameters whose ``.grad`` is not finite.
        findings: the first NaN or infinity of the backward and of the forward pass.
        graph: the pass with its gradients, where it could be run again or was recorded.
    """

    step: int
    message: str
    node: str
    module: str
    parameters: tuple[str, ...]
    findings: tuple[Diagnosis, ...]
    graph: GradGraph | None = field(repr=False)


def problem_of(step: int, parameters: tuple[str, ...], evidence: Evidence) -> Problem:
    """What is known of a pass as a problem.

    Args:
        step: the number of the pass, from 0.
        parameters: names of the parameters whose gradient is not finite; none if the model's
            output is already not finite.
        evidence: what running the pass again showed.
    """
    node = evidence.node
    said = [one.message for one in evidence.findings[:1]]
    sentences = [f"step {step}: {which(parameters)} not finite.", *said, evidence.note]
    return Problem(
        step=step,
        message=" ".join(filter(None, sentences)),
        node=node.name if node else "",
        module=node.module if node else "",
        parameters=parameters,
        findings=evidence.findings,
        graph=evidence.graph,
    )


def which(parameters: Sequence[str]) -> str:
    """The subject of a sentence: the gradients of some parameters, or the output."""
    if not parameters:
        return "the output of the model is"
    shown = ", ".join(parameters[:LISTED])
    if len(parameters) == 1:
        return f"the gradient of {shown} is"
    more = f" and {len(parameters) - LISTED} more" if len(parameters) > LISTED else ""
    return f"the gradients of {shown}{more} are"


def not_finite_only(findings: Sequence[Diagnosis]) -> tuple[Diagnosis, ...]:
    """The findings of NaN and infinity."""
    return tuple(one for one in findings if one.kind == "not-finite")
