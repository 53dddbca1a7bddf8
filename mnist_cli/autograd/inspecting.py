"""One call that walks, records and diagnoses a loss, and the report that it returns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd import comparing, query, replaying, writing
from mnist_cli.autograd.attributing import attributed
from mnist_cli.autograd.bits import tensors_in
from mnist_cli.autograd.diagnosing import Diagnosis, diagnose, of_node, parameter_table
from mnist_cli.autograd.document import load
from mnist_cli.autograd.graph import GradGraph, Node, Verdict
from mnist_cli.autograd.module_state import Held, modules_of, same_attributes, same_buffers
from mnist_cli.autograd.recording import Recording, kept_bytes, record, record_last
from mnist_cli.autograd.render import inline
from mnist_cli.autograd.render.inline import Findings, ParameterTable
from mnist_cli.autograd.render.picture import Direction
from mnist_cli.autograd.replayed import ReplayStep
from mnist_cli.autograd.tracing import ModuleTrace, trace_modules
from mnist_cli.autograd.undisturbed import RandomState, set_aside
from mnist_cli.autograd.units import dead_units, first_not_finite
from mnist_cli.autograd.unwrapping import nameless, together
from mnist_cli.autograd.verdict import judge
from mnist_cli.autograd.walking import Names, Walk, leaves_of, walk

UNITS_BYTES = 2**29
"""Maximum number of bytes of gradients that are held for a moment to count dead units."""


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What :func:`inspect` found. A notebook shows it as a picture, a terminal as a tree.

    Attributes:
        graph: the recorded graph as plain data, with the verdict if there is one.
        walk: the graph beside its live nodes, which it keeps in memory.
        recording: the engine's gradients of every parameter; of every node with ``keep``.
        findings: the gravest first, each with its module and advice.
        parameters: a row for each parameter that requires a gradient.
        verdict: whether the replay is bit-equal; None without a replay.
        notes: sentences about how the report was made.
        grad: the gradient of the loss with which the pass began; None is ones.
        order: ids of the nodes in the order of the replay; None without one.
    """

    graph: GradGraph
    walk: Walk
    recording: Recording
    findings: Findings
    parameters: ParameterTable
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    grad: Tensor | None = None
    order: tuple[int, ...] | None = None

    def node(self, wanted: str | int) -> Node:
        """One node, by its id, parameter, name or module; of a module, its last operation.

        A number is an id, and so is "#3". Text such as "0" is a module of that name if the model
        has one.

        Raises:
            UsageError: nothing has that name, or several nodes; the ids are listed.
            TypeError: ``wanted`` is neither text nor a number.
        """
        if isinstance(wanted, int):
            return query.find_node(self.graph, str(wanted))
        _check_text("node", wanted)
        word = wanted.strip()
        return next(iter(self._numbered(word)), None) or query.find_node(self.graph, word)

    def _numbered(self, word: str) -> list[Node]:
        """The nodes of a module that has a number for a name, as in ``nn.Sequential``."""
        nodes = self.graph.nodes if word.isdecimal() else ()
        return [node for node in nodes if query.inside(node.module, word)]

    def path(self, parameter: str) -> query.Path:
        """The shortest path of the gradient from the loss to a parameter.

        Raises:
            UsageError: no such parameter, or the loss does not reach it.
            TypeError: ``parameter`` is not text.
        """
        _check_text("path", parameter)
        return query.path_to(self.graph, parameter)

    def compare(
        self, other: Report | GradGraph | str | os.PathLike[str], tolerance: float = 1e-9
    ) -> comparing.GraphComparison:
        """This graph beside another, node by node; see :func:`mnist_cli.autograd.compare`.

        Args:
            other: a report, a graph, or the path of a ``graph.json``.
            tolerance: relative difference up to which statistics count as equal.

        Raises:
            DataError: the file is not a graph.
            TypeError: ``other`` is something else.
        """
        if isinstance(other, (str, os.PathLike)):
            other = load(other)
        if isinstance(other, Report):
            other = other.graph
        if isinstance(other, GradGraph):
            return comparing.compare(self.graph, other, tolerance)
        raise TypeError(f"compare takes a report, a graph or a path, not a {type(other).__name__}")

    def step(self) -> Iterator[ReplayStep]:
        """The backward pass by hand, a node at a time; see :func:`replay_steps`.

        Raises:
            UsageError: the graph was freed, or the loss was changed in place.
        """
        return replaying.replay_steps(self.walk, self.grad)

    def save(
        self, path: str | os.PathLike[str], *, direction: Direction = "down"
    ) -> writing.SavedFile:
        """Write a file: .html, .svg, .json, .dot, .mmd or .txt, by the ending.

        Args:
            path: an existing file is replaced, in one step.
            direction: of the forward pass in pictures, "down" or "right".

        Returns:
            The file, usable as a path. Its ``note`` says if a large graph was folded.

        Raises:
            UsageError: no format has this suffix.
            OutputError: the file cannot be written.
        """
        return writing.save(
            self.graph, path, direction=direction, order=self.order, findings=self.findings
        )

    def __repr__(self) -> str:
        return inline.text(self.graph, self.findings, self.notes)

    @cached_property
    def _picture(self) -> str:
        """Drawn once: a notebook asks for the picture alone and for the page that holds it."""
        return inline.picture(self.graph)

    def _repr_html_(self) -> str:
        return inline.html(self._picture, self.findings, self.parameters, self.notes)

    def _repr_svg_(self) -> str:
        return self._picture

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def _check_text(function: str, name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{function} takes a name, not a {type(name).__name__}")


@torch.inference_mode(False)  # grad mode is on, even if the caller's is off
def inspect(
    loss: Tensor | Callable[[], Tensor],
    model: Names | Mapping[str, nn.Module] = None,
    *,
    modules: ModuleTrace | None = None,
    grad: Tensor | None = None,
    replay: bool = False,
    keep: bool = False,
) -> Report:
    """Walk a loss's backward graph, record its gradients, and say what is wrong with them.

    ::

        report = inspect(lambda: criterion(model(x), y), model)
        report.save("graph.html")

    Args:
        loss: a tensor with a graph, or a function without arguments that computes one. The
            function runs once, with the modules traced: each node then has its module.
        model: names the leaves: a model, several models by name, or tensors by name.
        modules: what :func:`trace_modules` saw, for a tensor. Without it the modules are inferred
            from the parameters, and ``notes`` says so.
        grad: gradient of the loss, of its shape; default: ones, for a loss with one entry.
        replay: also call every node by hand, and compare with the engine bit for bit.
        keep: hold the gradients of all nodes in ``recording``.

    Returns:
        The report. The model is as before, ``.grad``, buffers, modes and random state included,
        also if ``loss`` is a function that ran it. Only what that function writes into parameters stays.
        ``loss.backward()`` still works.

    Raises:
        TypeError: ``loss`` is neither a tensor nor a function that returns one.
        UsageError: the tensor has no graph, the graph was freed, or ``grad`` does not fit.
    """
    names = together(model)
    with _unchanged(loss, names) as buffers:
        root, traced = _computed(loss, names, modules)
        run = record if root is loss else record_last
        return _report(root, traced, names, buffers, grad, run, replay=replay, keep=keep)


@contextmanager
def _unchanged(loss: object, model: Names) -> Iterator[Held]:
    """Undo what a function changes: batch norm's counts, random states, ``.grad``.

    Yields:
        The buffers that it changed, filled in at the end: the graph may hold their values.
    """
    changed: Held = []
    if isinstance(loss, Tensor) or not callable(loss):
        yield changed
        return
    leaves, modules = leaves_of(model).values(), modules_of(model)
    random = RandomState.now({leaf.device for leaf in leaves})
    buffers = same_buffers(modules, changed, moves=True)
    with set_aside(leaves), random.used(), same_attributes(modules), buffers:
        yield changed


def _report(
    root: Tensor,
    traced: ModuleTrace | None,
    model: Names,
    buffers: Held,
    grad: Tensor | None,
    run: Callable[..., Recording],
    *,
    replay: bool,
    keep: bool,
) -> Report:
    named = model if model is not None or traced is None else traced.model
    walked = replace(walk(root, named, traced), buffers=buffers)
    notes = []
    if traced is None and (graph := attributed(walked.graph)) is not walked.graph:
        walked = replace(walked, graph=graph)
        notes.append(
            "Modules are inferred from the parameters: to have them exactly, give a function, "
            "as in inspect(lambda: criterion(model(x), y), model)."
        )
    counting = keep or replay or kept_bytes(walked) <= UNITS_BYTES
    recording = run(walked, grad, keep=counting)
    if not counting:
        notes.append("Dead units are not counted, to save memory: keep=True counts them.")
    replayed = replaying.replay(walked, grad) if replay else None
    verdict = judge(replayed, recording) if replayed is not None else None
    context = _context(root, walked.model)
    graph = replace(recording.graph.with_context(**context), replay=verdict)
    return Report(
        graph=graph,
        walk=walked,
        recording=recording if keep else replace(recording, grad_in=(), grad_out=()),
        findings=Findings(findings(walked, recording)),
        parameters=ParameterTable(parameter_table(graph)),
        verdict=verdict,
        notes=(*notes, *nameless(model, {one.parameter for one in graph.nodes}), *_hints(graph)),
        grad=grad,
        order=replayed.order if replayed is not None else None,
    )


def _computed(
    loss: object, model: Names, modules: ModuleTrace | None
) -> tuple[Tensor, ModuleTrace | None]:
    """The loss, and the trace of the modules that computed it."""
    if isinstance(loss, nn.Module):
        kind = type(loss).__name__
        raise TypeError(
            f"loss must be a tensor, or a function that returns one, not a model ({kind}): "
            "inspect(lambda: criterion(model(x), y), model)"
        )
    if isinstance(loss, Tensor) or not callable(loss):
        return _tensor(loss, "loss must be a tensor, or a function that returns one"), modules
    returned = "the function must return one tensor, the loss"
    if not isinstance(model, nn.Module):
        return _tensor(loss(), returned), modules
    with trace_modules(model, activations=True) as trace:
        result = loss()
    return _tensor(result, returned), trace


def _tensor(found: object, rule: str) -> Tensor:
    if isinstance(found, Tensor):
        return found
    kind = type(found).__name__
    held = ""
    if isinstance(getattr(found, "loss", None), Tensor):
        held = " Inspect its attribute .loss."
    elif any(True for _ in tensors_in(found)):
        held = " Inspect one of its tensors, or their sum."
    raise TypeError(f"{rule}, not a {kind}.{held}")


def _context(root: Tensor, model: nn.Module | None) -> dict[str, Any]:
    """The origin of the graph: the model's class, the device and the loss."""
    context: dict[str, Any] = {"device": root.device.type}
    if model is not None:
        context["model"] = type(model).__name__
    readable = not (root.is_meta or root.is_complex() or root.is_nested or root.is_sparse)
    if readable and root.numel() == 1:
        context["loss"] = float(root.detach())
    return context


def findings(walked: Walk, recording: Recording) -> tuple[Diagnosis, ...]:
    """Every finding, with dead units counted if the recording kept the gradients.

    If a value is not finite, the saved tensors are searched for the first such value. The loss may be
    the only one: a logarithm keeps its argument, and the gradient of a sum is 1.

    Raises:
        UsageError: the graph was freed.
    """
    units = dead_units(recording) if recording.grad_in else None
    found = diagnose(recording.graph, units)
    root = walked.root
    loss = _context(root, None).get("loss", 0.0) if isinstance(root, Tensor) else 0.0
    if math.isfinite(loss) and all(one.kind != "not-finite" for one in found):
        return found
    found = diagnose(recording.graph, units, first_not_finite(walked))
    if any(one.kind == "not-finite" for one in found):
        return found
    message = f"The loss is {loss}; the gradients, and the values that the graph keeps, are finite."
    return (of_node("not-finite", recording.graph.nodes[0], message), *found)


def _hints(graph: GradGraph) -> Iterator[str]:
    if any(node.name.startswith("CompiledFunction") for node in graph.nodes):
        yield "A compiled function is one node: inspect the model before torch.compile."
