"""Finds named tensors that are the weights of a network, and casts them to the network's types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mnist_cli.checkpoints.candidates import COUNTER, Candidate, Keys, Tensors, find_candidates
from mnist_cli.checkpoints.weight_check import Weights, dtype_name, named_tensors
from mnist_cli.errors import CheckpointError
from mnist_cli.networks import registry as models

_CAST = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Fit:
    """A candidate with the names and shapes of a network's weights."""

    model: str
    classes: int
    candidate: Candidate
    weights: Weights


def find_fits(tensors: Tensors, model: str | None, stated: str | None) -> list[Fit]:
    """The weights that fit a network, the most conventional places first.

    Without ``model``, any registered network may fit; the one ``stated`` in the file comes first.
    """
    by_names: dict[tuple[str, ...], list[str]] = {}
    for name in [model] if model else [*filter(None, [stated]), *models.RECOGNISED]:
        by_names.setdefault(weight_names(name), []).append(name)
    fits = [
        fit
        for names, alike in by_names.items()
        for candidate in find_candidates(names, tensors)
        if (fit := fit_of(candidate, alike)) is not None
    ]
    if model is None:  # else the user vouches for a part of a larger network
        used = names_used(fits)
        fits = [fit for fit in fits if used[fit.candidate.keys].issuperset(fit.candidate.beside)]
    return sorted(fits, key=lambda fit: fit.candidate.rank)


def names_used(fits: Iterable[Fit]) -> Mapping[Keys, set[str]]:
    """The names of the tensors in these fits, by the keys of their mapping."""
    used: dict[Keys, set[str]] = {}
    for candidate in (fit.candidate for fit in fits):
        names = used.setdefault(candidate.keys, set())
        names.update(f"{candidate.prefix}{name}" for name in candidate.weights)
    return used


@cache
def weight_names(model: str) -> tuple[str, ...]:
    """The names of a network's weights, which do not depend on the number of classes."""
    classes = models.count_classes(model, {}) or 1
    return tuple(models.expected_weights(model, classes))


def fit_of(candidate: Candidate, networks: Sequence[str]) -> Fit | None:
    """The fit to the first matching network of these, which share the names of their weights."""
    weights = _completed(networks[0], candidate.weights)
    recognised = models.recognise(weights, networks)
    return Fit(*recognised, candidate, weights) if recognised else None


def _completed(model: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights with batch norm's counters as scalars; torch before 0.4.1 did not save them."""
    counter = torch.zeros((), dtype=torch.int64)
    return {
        name: one.reshape(()) if name.endswith(COUNTER) and one.numel() == 1 else one
        for name in weight_names(model)
        for one in [weights.get(name, counter)]
    }


def same_values(one: Weights, other: Weights) -> bool:
    """Whether all tensors are equal in names, types and values."""
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype
        and tensor.shape == other[name].shape
        and torch.equal(tensor, other[name])
        for name, tensor in one.items()
    )


def cast_weights(path: Path, fit: Fit) -> tuple[Weights, list[str]]:
    """The weights in the network's types, and notes about casts.

    Raises:
        CheckpointError: a tensor is not plain, or a value does not fit the network's type.
    """
    try:
        named_tensors(fit.weights)
    except TypeError as error:
        raise CheckpointError(f"{path}: {error}", "Save plain tensors: t.to_dense().") from error
    expected = models.expected_weights(fit.model, fit.classes)
    weights = {
        name: as_expected(path, name, one, expected[name]) for name, one in fit.weights.items()
    }
    changed = Counter(
        (dtype_name(one), dtype_name(weights[name]))
        for name, one in fit.weights.items()
        if one.dtype != weights[name].dtype and not name.endswith(COUNTER)
    )
    return weights, [_cast_note(*pair, count) for pair, count in changed.items()]


def _cast_note(before: str, after: str, count: int) -> str:
    tensors = "1 tensor was" if count == 1 else f"{count} tensors were"
    return f"{tensors} cast from {before} to {after}"


def as_expected(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Cast a tensor of any shape to the expected type, unless the cast may change its meaning.

    Raises:
        CheckpointError: the type cannot hold one of its values.
    """
    before, after = tensor.dtype, expected.dtype
    if before == after:
        return tensor
    if name.endswith(COUNTER) and not before.is_complex:
        return tensor.to(after)
    if before not in _CAST or after not in _CAST:
        return tensor
    cast = tensor.to(after)
    if not bool((cast.isfinite() == tensor.isfinite()).all()):
        raise CheckpointError(
            f"{path}: weight '{name}' is {dtype_name(tensor)} and holds values that "
            f"{dtype_name(expected)} cannot hold",
            "Use an earlier checkpoint: such values usually mean that training has diverged.",
        )
    return cast
