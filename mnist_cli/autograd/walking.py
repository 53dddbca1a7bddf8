"""From a tensor to its backward graph as plain data, with the live nodes beside it.

Knows no gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node as LiveNode
from torch.autograd.graph import get_gradient_edge
from torch.nn.parameter import is_lazy

from mnist_cli.autograd import node as adapter
from mnist_cli.autograd.bits import shape_of
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.freeing import free_in_parts, no_collection
from mnist_cli.autograd.graph import Edge, GradGraph, Node, Parameter, Saved
from mnist_cli.autograd.module_calls import with_saved_bytes
from mnist_cli.autograd.module_state import Held, modules_of, same_buffers
from mnist_cli.autograd.order import LAST_SEQUENCE
from mnist_cli.autograd.saved import Kept, saved_by
from mnist_cli.autograd.torch_private import sequence_number
from mnist_cli.autograd.tracing import ModuleTrace
from mnist_cli.autograd.undisturbed import RandomState, Unnamed

Names = Mapping[str, Tensor] | nn.Module | None


@dataclass(frozen=True, eq=False)
class Walk:
    """A graph beside the live nodes that it was read from.

    Attributes:
        graph: the plain data; ``graph.nodes[i]`` describes ``nodes[i]``.
        nodes: the live nodes in the order of the walk.
        inputs: for each node, what gradients it expects.
        root_nr: which of the root node's results the root tensor is.
        leaves: every parameter known by name, whether the walk reached it or not.
        root: keeps the graph alive: a Function written in Python does not own its own.
        model: the model that named the leaves or was traced, if any; its buffers are never changed.
        random: the generators' states at the walk, with which a pass begins.
        buffers: what modules' buffers held at the walk, if an inspection has changed them back.
    """

    graph: GradGraph
    nodes: tuple[LiveNode, ...]
    inputs: tuple[tuple[adapter.Input, ...], ...]
    root_nr: int
    leaves: Mapping[str, Tensor]
    root: Tensor | LiveNode
    model: nn.Module | None
    random: RandomState
    buffers: Held = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Walk({self.graph!r})"

    @contextmanager
    def undisturbed(self, unnamed: Unnamed | None = None, *, moves: bool = False) -> Iterator[None]:
        """Put back what a backward pass changes besides the leaves' ``.grad``.

        Args:
            unnamed: what no node names; None searches.
            moves: the next block continues where this one ends; else each begins as the walk did.
        """
        unnamed = Unnamed.search(self.nodes) if unnamed is None else unnamed
        again = unnamed.recomputed.modules
        modules = dict.fromkeys([*modules_of(self.model), *again])
        buffers = same_buffers(modules, self.buffers, moves=moves and bool(again))
        with unnamed.same(), buffers, self.random.used(moves=moves):
            yield

    def check_current(self) -> None:
        """Check that the root tensor still has the graph that was walked.

        Raises:
            UsageError: it was changed in place since.
        """
        if isinstance(self.root, Tensor) and _start(self.root) != (self.nodes[0], self.root_nr):
            raise UsageError(
                "the tensor's graph has changed since it was walked: it was modified in place",
                "Walk from it again.",
            )


def walk(
    root: Tensor | LiveNode,
    names: Names = None,
    modules: ModuleTrace | None = None,
    *,
    saved: bool = True,
) -> Walk:
    """Visit every node below ``root`` once, breadth first.

    Args:
        root: a tensor with a ``grad_fn``, or a node. A tensor is safer: it keeps the graph.
        names: names of the leaves: a model, or tensors by name. Leaves without a name are
            called ``leaf@<node id>``. With a model here or in ``modules``, recording and
            replaying leave its buffers as they were.
        modules: what :func:`trace_modules` saw, to say which module made each node. With its
            activations, the graph has the forward pass too.
        saved: also read the values that each node saves.

    Returns:
        The plain graph and the live nodes. Ids follow the order of the walk, sequence numbers
        count from 0 at the graph's oldest node (None for AccumulateGrad), and no address
        enters: the same program gives the same graph.

    Raises:
        UsageError: the tensor has no graph, or the graph was freed and ``saved`` is True.
        TypeError: the root is no tensor or node, or ``names`` is no model or mapping of tensors.

    Only memory limits the walk. One node in 100 of a long path gets an entry in its ``metadata``,
    so that a graph of any length is freed without recursion (:mod:`mnist_cli.autograd.freeing`).
    """
    with no_collection():
        return _walk(root, names, modules, saved)


def _walk(root: Tensor | LiveNode, names: Names, modules: ModuleTrace | None, saved: bool) -> Walk:
    start, root_nr = _start(root)
    live, targets = _visit(start)
    free_in_parts(live, targets)
    known = leaves_of(names)
    leaf_names = _leaf_names(live, known)
    storages, read = _Storages(), adapter.InputReader()
    inputs = tuple(read.inputs(node) for node in live)
    hidden: dict[str, list[int]] = defaultdict(list)
    nodes = []
    for number, (node, sequence) in enumerate(zip(live, _sequences(live), strict=True)):
        name, leaf = adapter.name(node), leaf_names.get(number)
        kept = saved_by(node) if saved else Kept()
        for what in kept.unreadable:
            hidden[f"{name}, {what}"].append(number)
        # By place, in the order of the fields: names would take a third longer.
        module, tensors = _module(node, leaf, modules), storages.describe(kept.tensors)
        outputs = read.outputs(inputs[number])
        nodes.append(
            Node(
                number,
                name,
                module,
                leaf,
                sequence,
                outputs,
                targets[number],
                tensors,
                kept.attributes,
            )
        )
    calls = modules.calls if modules is not None else ()
    traced = modules.model if modules is not None else None
    if saved and modules is not None and calls:
        own = storages.of(traced)
        calls = with_saved_bytes(calls, _kept_by_calls(nodes, live, modules), own)
    unnamed = {n: adapter.variable(live[i]) for i, n in leaf_names.items() if n not in known}
    leaves = {**known, **{name: leaf for name, leaf in unnamed.items() if leaf is not None}}
    graph = GradGraph(
        nodes=tuple(nodes),
        parameters=_parameters(leaf_names, leaves),
        context={"torch": torch.__version__},
        unreadable=tuple(f"{what} ({_listed(ids)})" for what, ids in hidden.items()),
        modules=calls,
    )
    model = names if isinstance(names, nn.Module) else traced
    random = RandomState.now({expected.device for each in inputs for expected in each})
    return Walk(graph, tuple(live), inputs, root_nr, leaves, root, model, random)


def leaves_of(names: Names) -> dict[str, Tensor]:
    """The leaves, of any shape, by name; one with several names has the first.

    A lazy module's parameters are left out until its first forward pass.

    Raises:
        TypeError: neither a model nor tensors by name.
    """
    if names is None:
        return {}
    if isinstance(names, nn.Module):
        return {name: one for name, one in names.named_parameters() if not is_lazy(one)}
    if not isinstance(names, Mapping):
        raise TypeError(
            f"names must be a model or tensors by name in a dict, not a {type(names).__name__}"
        )
    leaves: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in names.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"{name!r} cannot name a tensor: use text that is not empty")
        if not isinstance(tensor, Tensor):
            raise TypeError(f"names[{name!r}] must be a tensor, not a {type(tensor).__name__}")
        if tensor.is_leaf and not is_lazy(tensor):
            leaves.setdefault(id(tensor), (name, tensor))
    return dict(leaves.values())


class _Joint(torch.autograd.Function):
    """One root for several tensors of any layout; it keeps none of them and has no backward."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        return torch.zeros(())

    jvp = forward  # a model may run in forward-mode differentiation


def joint(tensors: Iterable[Tensor]) -> Tensor:
    """A scalar that depends on all tensors, of any shape, to walk from."""
    root: Tensor = _Joint.apply(*tensors)
    return root


def _start(root: object) -> tuple[LiveNode, int]:
    if isinstance(root, LiveNode):
        return root, 0
    if not isinstance(root, Tensor):
        raise TypeError(f"the root must be a tensor or a node, not a {type(root).__name__}")
    if not root.requires_grad:
        raise UsageError(
            "the tensor has no backward graph: none of its inputs requires a gradient",
            "Set requires_grad on an input or a parameter, and avoid no_grad(), inference_mode(), detach(), .item() and argmax.",
        )
    edge = get_gradient_edge(root)
    return edge.node, edge.output_nr


def _visit(start: LiveNode) -> tuple[list[LiveNode], list[tuple[Edge | None, ...]]]:
    """All nodes in order, and where each one's results go by id."""
    live = [start]
    # Python objects of nodes live as long as somebody holds them: `live` does.
    ids = {id(start): 0}
    targets: list[tuple[Edge | None, ...]] = []
    for node in live:
        out: list[Edge | None] = []
        for target, input_nr in node.next_functions:
            if target is None:
                out.append(None)
                continue
            number = ids.setdefault(id(target), len(live))
            if number == len(live):
                live.append(target)
            out.append(Edge(number, input_nr))
        targets.append(tuple(out))
    return live, targets


def _leaf_names(live: list[LiveNode], known: Mapping[str, Tensor]) -> dict[int, str]:
    """Names of the leaves by node id; a leaf that nobody named gets one from its node."""
    by_identity = {id(tensor): name for name, tensor in known.items()}
    leaves = {number: adapter.variable(node) for number, node in enumerate(live)}
    return {
        number: by_identity.get(id(leaf)) or _unnamed(number, known)
        for number, leaf in leaves.items()
        if leaf is not None
    }


def _unnamed(number: int, known: Mapping[str, Tensor]) -> str:
    name = f"leaf@{number}"
    while name in known:
        name += "'"
    return name


def _module(node: LiveNode, leaf: str | None, modules: ModuleTrace | None) -> str:
    """The module that made a node, or that holds a leaf."""
    if leaf is not None:
        return leaf.rpartition(".")[0]
    return modules.module_at(sequence_number(node)) if modules else ""


def _sequences(live: list[LiveNode]) -> list[int | None]:
    """Sequence numbers, counted from the oldest node; None for AccumulateGrad."""
    numbers = [sequence_number(node) for node in live]
    oldest = min((n for n in numbers if n != LAST_SEQUENCE), default=0)
    return [None if n == LAST_SEQUENCE else n - oldest for n in numbers]


def _parameters(
    leaf_names: Mapping[int, str], leaves: Mapping[str, Tensor]
) -> tuple[Parameter, ...]:
    at = {name: number for number, name in leaf_names.items()}
    return tuple(
        Parameter(name, at.get(name), shape_of(leaf) or (), frozen=not leaf.requires_grad)
        for name, leaf in leaves.items()
    )


@dataclass
class _Storages:
    """Numbers memories in order of discovery; holds the tensors, so that none is reused."""

    numbers: dict[tuple[torch.device | None, int], int] = field(default_factory=dict)
    held: list[Tensor] = field(default_factory=list)

    def number(self, tensor: Tensor) -> tuple[int, int]:
        """The memory's number and its bytes."""
        self.held.append(tensor)
        address, size = _memory(tensor)
        key = (tensor.device, address) if address else (None, -len(self.held))
        return self.numbers.setdefault(key, len(self.numbers)), size

    def describe(self, tensors: Iterable[tuple[str, Tensor]]) -> tuple[Saved, ...]:
        """Saved tensors of any shape, by slot, as plain data."""
        found = []
        for slot, tensor in tensors:
            number, size = self.number(tensor)
            kind = adapter.dtype_name(tensor.dtype)
            found.append(Saved(slot, shape_of(tensor) or (), kind, size, number))
        return tuple(found)

    def of(self, model: nn.Module | None) -> set[int]:
        """The numbers of a model's parameters and buffers, of those that were found."""
        tensors = [] if model is None else [*model.parameters(), *model.buffers()]
        known = [one for one in tensors if not is_lazy(one)]
        keys = ((one.device, _memory(one)[0]) for one in known)
        return {self.numbers[key] for key in keys if key in self.numbers}


def _memory(tensor: Tensor) -> tuple[int, int]:
    """Address and bytes of the whole storage; 0 and the entries' bytes without a storage.

    On the meta device, the object of the storage stands for its address.
    """
    try:
        storage = tensor.untyped_storage()
        return id(storage) if tensor.is_meta else storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a storage
        return 0, tensor.numel() * tensor.element_size()


def _kept_by_calls(
    nodes: list[Node], live: list[LiveNode], modules: ModuleTrace
) -> Iterator[tuple[int | None, tuple[Saved, ...]]]:
    """The call that made each node and what the node saves, in the forward order."""
    numbers = sorted((sequence_number(one), place) for place, one in enumerate(live))
    for sequence, place in numbers:
        yield modules.call_at(sequence), nodes[place].saved


def _listed(ids: list[int]) -> str:
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"node{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:8]))}{more}"
