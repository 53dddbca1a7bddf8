"""The memory that a graph keeps for backward, and what of it backward can no longer use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from mnist_cli.autograd.diagnosing import Diagnosis, of_node, place_of
from mnist_cli.autograd.graph import Node, Saved, Shape, check_kind
from mnist_cli.autograd.order import backward_order, operations
from mnist_cli.autograd.saved import saved_by, unusable
from mnist_cli.autograd.walking import Walk


@dataclass(frozen=True)
class SavedMemory:
    """One block of memory that a graph keeps for backward.

    Attributes:
        bytes: size of the whole block (torch's storage).
        shape: shape of the first tensor that was saved in it; others may be views of it.
        dtype: dtype of that tensor, as ``"float32"``.
        nodes: ids of the nodes that saved a tensor in it, in forward order.
        module: module of the first of these nodes; empty outside of all modules.
        slot: name under which that node saved it.
        owner: name of the parameter or buffer that the block belongs to. None for activations,
            inputs and other tensors that live as long as the graph.
    """

    bytes: int
    shape: Shape
    dtype: str
    nodes: tuple[int, ...]
    module: str
    slot: str
    owner: str | None = None


def saved_memory(walked: Walk) -> tuple[SavedMemory, ...]:
    """List every block of memory that the graph keeps for backward, the largest first.

    Each block counts once, however many nodes saved it. What a saved-tensor hook packs, such as
    a checkpoint's, is not counted.

    Args:
        walked: a walk with ``saved=True``, the default.

    Raises:
        UsageError: the graph was freed.
    """
    check_kind(walked, Walk, "walk(loss) makes one")
    owners = dict(_owners(walked))
    blocks: dict[int, list[tuple[Node, Saved]]] = {}
    names: dict[int, str | None] = {}
    for node in operations(walked.graph):
        tensors = saved_by(walked.nodes[node.id]).tensors
        for saved, (_, tensor) in zip(node.saved, tensors, strict=False):
            blocks.setdefault(saved.storage, []).append((node, saved))
            names.setdefault(saved.storage, owners.get(_address(tensor)))
    rows = [_row(users, names[number]) for number, users in blocks.items()]
    return tuple(sorted(rows, key=lambda row: -row.bytes))


def _row(users: list[tuple[Node, Saved]], owner: str | None) -> SavedMemory:
    node, first = users[0]
    return SavedMemory(
        bytes=max(saved.bytes for _, saved in users),
        shape=first.shape,
        dtype=first.dtype,
        nodes=tuple(dict.fromkeys(node.id for node, _ in users)),
        module=node.module,
        slot=first.slot,
        owner=owner,
    )


def _owners(walked: Walk) -> Iterator[tuple[object, str]]:
    """Addresses of parameters and buffers, the parameters last: their names win."""
    buffers = walked.model.named_buffers() if walked.model is not None else ()
    for name, tensor in (*buffers, *walked.leaves.items()):
        yield _address(tensor), name


def _address(tensor: Tensor) -> object:
    """What equals for tensors that share their memory."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a storage
        address = 0
    return (tensor.device, address) if address else id(tensor)


def unusable_tensors(walked: Walk) -> tuple[Diagnosis, ...]:
    """List the saved tensors that backward can no longer use, in the order of the backward pass.

    These are the causes of torch's errors "modified by an inplace operation" and "Trying to
    backward through the graph a second time". The kinds are ``overwritten`` and ``freed``. What a
    saved-tensor hook packed is not tried: unpacking could run a segment again.

    Args:
        walked: any walk; of a graph that was freed, one with ``saved=False``.
    """
    check_kind(walked, Walk, "walk(loss) makes one")
    found: dict[tuple[int, str], list[str]] = {}
    for node in backward_order(walked.graph):
        for slot, kind in unusable(walked.nodes[node.id]):
            found.setdefault((node.id, kind), []).append(slot)
    return tuple(
        of_node(
            kind, walked.graph.nodes[number], _sentence(walked.graph.nodes[number], slots, kind)
        )
        for (number, kind), slots in found.items()
    )


def _sentence(node: Node, slots: list[str], kind: str) -> str:
    saved = f"what {place_of(node)}, saved as {' and '.join(slots)}"
    if kind == "freed":
        return f"An earlier backward pass freed {saved}."
    return f"An in-place operation overwrote {saved}."
