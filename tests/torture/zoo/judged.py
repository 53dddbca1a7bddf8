"""One graph: walked, recorded and replayed, and held against ``torch.autograd`` byte by byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.autograd import (
    ExpectedError,
    Walk,
    dead_units,
    diagnose,
    dumps,
    first_not_finite,
    judge,
    loads,
    record,
    replay,
    walk,
)
from mnist_cli.autograd.graph import Verdict

Names = nn.Module | Mapping[str, Tensor]


def outcome(root: Tensor, names: Names, modules: Any = None, *, by_backward: bool = False) -> str:
    """What becomes of a graph.

    Args:
        root: a real tensor of any shape; one with many entries starts from a fixed gradient.
        names: the model, or its leaves by name.
        modules: what ``trace_modules`` saw.
        by_backward: ask ``backward``, as a reentrant checkpoint allows nothing else.

    Returns:
        ``exact``; ``no gradient``; ``refused: …`` by torch itself; ``declined: …`` by the library,
        with a clear message; ``named: …`` for a replay that differs while the recording is right,
        and a note that names the node; or the fault in words.
    """
    leaves = dict(names.named_parameters() if isinstance(names, nn.Module) else names)
    if not root.requires_grad or not any(leaf.requires_grad for leaf in leaves.values()):
        return "no gradient"
    seed = None if root.numel() == 1 else _seed(root)
    before = torch.get_rng_state()
    try:
        truth = _truth(root, seed, names, leaves, by_backward)
    except Exception as error:  # torch's own, of any class
        return f"refused: {type(error).__name__}: {_first_line(error)}"
    finally:
        torch.set_rng_state(before)
    for number, leaf in enumerate(leaves.values()):
        if number % 2 and leaf.layout == torch.strided and type(leaf) in {Tensor, nn.Parameter}:
            leaf.grad = torch.full_like(leaf, 0.5)
    kept = _Everything(names, leaves)
    try:
        walked = walk(root, names, modules)
        answer = _inspected(walked, seed, leaves, truth)
    except ExpectedError as error:
        answer = f"declined: {error}"
    return kept.changed() or answer


def _seed(root: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.randn_like(root.detach())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _truth(
    root: Tensor, seed: Tensor | None, names: Names, leaves: dict[str, Tensor], by_backward: bool
) -> dict[str, Tensor | None]:
    """The gradients of the leaves that require one, from torch alone."""
    buffers = list(names.buffers()) if isinstance(names, nn.Module) else []
    values = [buffer.detach().clone() for buffer in buffers]
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if by_backward:
            torch.autograd.backward(root, seed, retain_graph=True)
            grads = [leaf.grad for leaf in wanted.values()]
            for leaf in wanted.values():
                leaf.grad = None
        else:
            every = list(wanted.values())
            grads = torch.autograd.grad(root, every, seed, retain_graph=True, allow_unused=True)
    for buffer, value in zip(buffers, values, strict=True):
        buffer.data.copy_(value)
    return dict(zip(wanted, grads, strict=True))


def _inspected(
    walked: Walk, seed: Tensor | None, leaves: dict[str, Tensor], truth: dict[str, Tensor | None]
) -> str:
    recorded = record(walked, seed, keep=True)
    verdict = judge(replay(walked, seed), recorded)
    text = dumps(recorded.graph)
    if dumps(loads(text)) != text:
        return "another graph after its dump"
    diagnose(recorded.graph)
    first_not_finite(walked)
    dead_units(recorded)
    names = {id(leaf): name for name, leaf in walked.leaves.items()}
    for name, grad in truth.items():
        ours = recorded.gradients.get(names.get(id(leaves[name]), ""))
        if not same_bytes(ours, grad):
            return f"another gradient than torch's for {name}"
    return _verdict(verdict)


def _verdict(verdict: Verdict) -> str:
    if verdict.exact and all(one.equal for one in verdict.nodes):
        return "exact"
    return f"named: {verdict.notes[0]}" if verdict.notes else "not exact"


class _Everything:
    """The state that an inspection must leave as it is."""

    def __init__(self, names: Names, leaves: Mapping[str, Tensor]) -> None:
        self.names, self.leaves = names, leaves
        self.before = self._now()

    def _now(self) -> dict[str, Tensor | None]:
        buffers = dict(self.names.named_buffers()) if isinstance(self.names, nn.Module) else {}
        now: dict[str, Tensor | None] = {"the random state": torch.get_rng_state()}
        for name, tensor in (*self.leaves.items(), *buffers.items()):
            if not tensor.is_meta and not nn.parameter.is_lazy(tensor):
                now[f"the values of {name}"] = tensor.detach().clone()
            now[f"the .grad of {name}"] = None if tensor.grad is None else tensor.grad.clone()
        return now

    def changed(self) -> str:
        now = self._now()
        wrong = [name for name, old in self.before.items() if not same_bytes(now[name], old)]
        return f"changed {wrong[0]}" if wrong else ""


def same_bytes(ours: Tensor | None, theirs: Tensor | None) -> bool:
    """Whether two tensors agree in shape, dtype and every byte; read by numpy alone."""
    if ours is None or theirs is None:
        return ours is theirs
    if ours.dtype != theirs.dtype or ours.is_nested != theirs.is_nested:
        return False
    mine, other = list(_parts(ours.detach())), list(_parts(theirs.detach()))
    return len(mine) == len(other) and all(map(_same_part, mine, other))


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a nested, a wrapping or a sparse one is made of."""
    if tensor.is_nested:
        yield from tensor.unbind()
    elif hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _parts(getattr(tensor, name))
    elif hasattr(tensor, "_masked_data"):
        yield from (tensor._masked_data, tensor._masked_mask)
    else:
        yield tensor.to_dense().as_subclass(Tensor)


def _same_part(mine: Tensor, other: Tensor) -> bool:
    if mine.shape != other.shape or mine.is_meta or other.is_meta:
        return mine.shape == other.shape and mine.is_meta == other.is_meta
    return _raw(mine) == _raw(other)


def _raw(tensor: Tensor) -> bytes:
    # A tensor of zeros that torch has not written has no memory.
    written = torch.zeros_like(tensor) if tensor._is_zerotensor() else tensor
    plain = written.resolve_conj().resolve_neg()
    real = (torch.view_as_real(plain) if plain.is_complex() else plain).reshape(-1)
    return real.view(_INTEGERS[real.element_size()]).numpy(force=True).tobytes()


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
