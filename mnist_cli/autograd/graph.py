"""A backward graph as plain data, and its JSON form.

Imports no torch: a graph can be read, drawn, queried and compared on a machine without it.
:func:`mnist_cli.autograd.walk` makes one from a tensor, the renderers draw one, and
:mod:`mnist_cli.autograd.document` reads and writes its JSON form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Annotated, Any

from mnist_cli.autograd.brief import shortened, sizes
from mnist_cli.autograd.error_tree import UsageError

FORMAT = "mnist-cli/grad-graph"
VERSION = 1


class _Count:
    """Makes pydantic refuse what 64 bits without a sign cannot hold when it reads a document."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "ge": 0, "le": 2**64 - 1}


class _Figure:
    """Makes pydantic accept the strings that stand for NaN and the infinities."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_figure, handler(source))


def _figure(value: object) -> object:
    return float(str(value)) if value in ("NaN", "Infinity", "-Infinity") else value


class _Norm:
    """Makes pydantic refuse a figure below 0; NaN stands."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_not_below_zero, handler(source))


def _not_below_zero(value: float) -> float:
    if value < 0:
        raise ValueError("a norm is not below 0")
    return value


Count = Annotated[int, _Count()]
Figure = Annotated[float, _Figure()]
Norm = Annotated[float, _Figure(), _Norm()]
Shape = tuple[Count, ...]


@dataclass(frozen=True)
class TensorMeta:
    """A tensor without its values: its shape, and its dtype as ``"float32"``."""

    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Stats:
    """Figures of one gradient or activation: ``norm`` is the 2-norm; ``std`` the population's.

    ``zeros`` is the fraction of exact zeros; ``nan`` and ``inf`` count entries.
    One NaN makes ``norm``, ``mean``, ``std``, ``min`` and ``max`` NaN.
    """

    shape: Shape
    norm: Norm
    mean: Figure
    std: Figure
    min: Figure
    max: Figure
    zeros: Figure
    nan: Count
    inf: Count

    @property
    def finite(self) -> bool:
        """Whether no entry is NaN or infinite."""
        return self.nan == 0 and self.inf == 0


def joint_norm(parts: Iterable[Stats | None]) -> float | None:
    """The 2-norm of several gradients taken as one vector; None if none was recorded."""
    norms = [stats.norm for stats in parts if stats is not None]
    if not norms:
        return None
    return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)


@dataclass(frozen=True)
class Edge:
    """Where a result goes: to input number ``input_nr`` of node ``node``."""

    node: int
    input_nr: int


@dataclass(frozen=True)
class Saved:
    """A saved tensor; tensors with equal ``storage`` numbers share their memory."""

    slot: str
    shape: Shape
    dtype: str
    bytes: Count
    storage: Count


@dataclass(frozen=True)
class Node:
    """One ``grad_fn``.

    ``outputs`` are the node's forward results: what it receives gradients for.
    ``next`` has one entry for each input of the forward operation, None if it needs no gradient.
    ``grad_in[i]`` is what arrived for ``outputs[i]``; ``grad_out[i]`` what left along ``next[i]``.
    ``attributes`` are the saved values that are not tensors: sizes, strides, flags.
    """

    id: int
    name: str
    module: str = ""
    parameter: str | None = None
    sequence: Count | None = None
    outputs: tuple[TensorMeta, ...] = ()
    next: tuple[Edge | None, ...] = ()
    saved: tuple[Saved, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    grad_in: tuple[Stats | None, ...] = ()
    grad_out: tuple[Stats | None, ...] = ()

    def __repr__(self) -> str:
        words = [f"#{self.id}", shortened(self.name)]
        words += [f"of {shortened(self.parameter)}"] if self.parameter is not None else []
        words += [f"in {shortened(self.module)}"] if self.module else []
        facts = [sizes(meta.shape) for meta in self.outputs[:1]]
        norm = joint_norm(self.grad_in)
        facts += [] if norm is None else [f"gradient norm {norm:.3g}"]
        return f"Node({' '.join(words)}{': ' if facts else ''}{', '.join(facts)})"


def with_grads(
    node: Node, grad_in: tuple[Stats | None, ...], grad_out: tuple[Stats | None, ...]
) -> Node:
    """The same node with statistics: ``replace`` without its checks, for 100,000 nodes."""
    made: Node = object.__new__(Node)
    vars(made).update(vars(node), grad_in=grad_in, grad_out=grad_out)
    return made


@dataclass(frozen=True)
class Parameter:
    """A leaf that gathers a gradient; ``node`` is its AccumulateGrad, None if not reached.

    A parameter inside a reentrant checkpoint has a ``grad`` but no ``node``: the segment's
    graph exists only while the engine runs. ``frozen`` ones ask for no gradient at all.
    """

    name: str
    node: int | None
    shape: Shape
    grad: Stats | None = None
    weight: Stats | None = None
    frozen: bool = False


@dataclass(frozen=True)
class Comparison:
    """A replayed gradient beside the engine's; ``equal`` means every bit is the same.

    ``max_abs_diff`` is infinite and ``max_ulp`` the largest 64-bit integer if only one is a
    number, if one is missing, or if their shapes differ.
    """

    name: str
    equal: bool
    max_abs_diff: Figure
    max_ulp: Count


@dataclass(frozen=True)
class Verdict:
    """What a replay found: ``exact`` if every gradient of every parameter is bit-equal.

    ``calls`` counts the nodes called by hand. ``nodes`` compares what arrived at each node;
    ``notes`` are sentences: where and why the two differ, and what could not be compared.
    """

    exact: bool
    calls: Count
    parameters: tuple[Comparison, ...]
    nodes: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = [
            f"{sum(one.equal for one in found)} of {len(found)} {what} bit-equal"
            for what, found in (("parameters", self.parameters), ("nodes", self.nodes))
            if found
        ]
        kind = "exact" if self.exact else "differs"
        return f"Verdict({kind}: {', '.join([*parts, f'{self.calls} calls', *self.notes[:2]])})"


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module in the forward pass.

    Calls are ordered by their beginning; ``depth`` is the number of calls around a call. Order
    and depth together define the tree of calls.

    Attributes:
        module: the path; empty for the model itself.
        kind: name of the module's class.
        call: number of earlier calls of the same module.
        inputs: every tensor in the arguments.
        outputs: every tensor in the result; empty if the module raised an error.
        parameters: entries of the module's own parameters, without its children's. A
            parameter counts at the first call that has it, so that the calls add up.
        activation: statistics of the first output at the end of the call, before later operations
            in place; None if no output has readable values.
        saved_bytes: memory that the nodes made by this call, outside of the calls in it, keep for
            backward. A storage counts once, at the call that keeps it first; parameters and
            buffers do not count. None where the graph was walked without saved tensors.
    """

    module: str
    kind: str
    call: Count
    depth: Count
    inputs: tuple[TensorMeta, ...] = ()
    outputs: tuple[TensorMeta, ...] = ()
    parameters: Count = 0
    activation: Stats | None = None
    saved_bytes: Count | None = None


@dataclass(frozen=True)
class Totals:
    """Counts over a whole graph; ``saved_bytes`` counts each storage once."""

    nodes: int
    edges: int
    saved_tensors: int
    saved_bytes: int


@dataclass(frozen=True)
class GradGraph:
    """A backward graph from ``root`` down to the leaves, in the order of the walk.

    ``nodes[i].id == i``. ``context`` is its origin (torch version, device, precision, model,
    dataset, batch, loss …), written at the top of the document. ``unreadable`` lists what this
    version of torch does not show. ``modules`` are the calls of the forward pass, if it was traced
    with its activations.
    """

    nodes: tuple[Node, ...]
    parameters: tuple[Parameter, ...] = ()
    root: int = 0
    context: Mapping[str, Any] = field(default_factory=dict)
    replay: Verdict | None = None
    unreadable: tuple[str, ...] = ()
    modules: tuple[ModuleCall, ...] = ()

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        recorded = any(node.grad_in for node in self.nodes)
        facts = [f"{len(self.nodes):,} nodes", f"{len(self.parameters):,} parameters"]
        facts += ["recorded"] if recorded else ["not recorded"]
        facts += ["replayed"] if self.replay is not None else []
        return f"GradGraph({', '.join(facts)})"

    def edges(self) -> Iterator[tuple[Node, int, Edge]]:
        """Every edge as (node, position in its ``next``, edge)."""
        for node in self.nodes:
            for position, edge in enumerate(node.next):
                if edge is not None:
                    yield node, position, edge

    def totals(self) -> Totals:
        """Count nodes, edges and saved tensors."""
        storages: dict[int, int] = {}
        for saved in (s for node in self.nodes for s in node.saved):
            storages[saved.storage] = max(storages.get(saved.storage, 0), saved.bytes)
        return Totals(
            nodes=len(self.nodes),
            edges=sum(1 for _ in self.edges()),
            saved_tensors=sum(len(node.saved) for node in self.nodes),
            saved_bytes=sum(storages.values()),
        )

    def with_context(self, **context: Any) -> GradGraph:
        """The same graph with more context."""
        return replace(self, context={**self.context, **context})


def check_kind(given: object, kind: type, source: str) -> None:
    """Check the type of an argument; ``source`` says where to get one of that type.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(given, kind):
        raise TypeError(
            f"the argument must be a {kind.__name__}, not a {type(given).__name__}: {source}"
        )


def check_graphs(*given: object) -> None:
    """Check that arguments are graphs.

    Raises:
        TypeError: one is not.
    """
    for one in given:
        check_kind(one, GradGraph, "inspect(loss, model).graph is one")


def check_counts(**counts: object) -> None:
    """Check that arguments are whole numbers above 0.

    Raises:
        UsageError: one is below 1.
        TypeError: one is not a whole number.
    """
    for name, value in counts.items():
        if not isinstance(value, Integral):  # NumPy's too
            raise TypeError(f"{name} must be a whole number, not a {type(value).__name__}")
        if value < 1:
            raise UsageError(f"{name} is {value}", "The minimum is 1.")
