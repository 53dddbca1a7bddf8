"""Reads the weights of a network from an object that another program has saved.

:mod:`mnist_cli.checkpoints.candidates` finds the state_dicts in it; this module chooses the one
that fits a network, and says in words what was chosen, cast and ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mnist_cli.checkpoints.candidates import (
    COUNTER,
    Candidate,
    NamedTensor,
    Tensors,
    TooMuch,
    find_candidates,
    find_tensors,
    holds_weights,
    spell,
)
from mnist_cli.checkpoints.weight_check import (
    Weights,
    check_weights,
    dtype_name,
    listed,
    named_tensors,
)
from mnist_cli.config.choices import is_known_model, unknown_model
from mnist_cli.config.names import EXAMPLE, ModelName
from mnist_cli.errors import CheckpointError
from mnist_cli.networks import registry as models

_WRAPPERS = re.compile(
    r"(^|(?<=\.))(module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
)
_CAST = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LABELS = 60


@dataclass(frozen=True)
class ForeignWeights:
    """A known network's weights from another program's file, and how they were read, in words."""

    model: ModelName
    classes: int
    weights: Weights
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    """A candidate that has a network's names and shapes."""

    model: str
    classes: int
    candidate: Candidate
    weights: Weights


def read_foreign(path: Path, contents: object, model: str | None) -> ForeignWeights:
    """The weights in ``contents`` that fit a known network, or the network ``model``.

    Args:
        path: the file, for messages.
        contents: what it holds.
        model: the network's name; None recognises it by names and shapes.

    Raises:
        CheckpointError: no weights fit, several fit equally well, or a value cannot be used.
        UsageError: the user's own network cannot be built.
    """
    if model is not None and not is_known_model(model):
        message, hint = unknown_model(model)
        raise CheckpointError(f"{path}: {message}", hint)
    tensors = _tensors(path, contents)
    found = _fits(tensors, model)
    unwrapped = _unwrapped(tensors)
    if not found and unwrapped:
        tensors, found = unwrapped, _fits(unwrapped, model)
    if not found:
        raise _no_fit(path, tensors, model)
    fit, others = _choose(path, found)
    weights, cast = _cast(path, fit)
    check_weights(path, fit.model, fit.classes, weights)
    notes = [*_place_notes(fit, others, tensors), *cast]
    if tensors is unwrapped:
        notes.append("prefixes of wrappers, such as 'module.', were removed within the names")
    return ForeignWeights(ModelName(fit.model), fit.classes, weights, tuple(notes))


def _tensors(path: Path, contents: object) -> Tensors:
    try:
        tensors = find_tensors(contents)
    except TooMuch as error:
        raise CheckpointError(
            f"{path} holds more tensors than a checkpoint of one network"
        ) from error
    kept = {full: one for full, one in tensors.items() if holds_weights(one.keys)}
    if not kept:
        raise CheckpointError(
            f"{path} is neither a checkpoint of mnist_cli nor a state_dict: {_described(contents)}",
            "A state_dict may lie under any key, such as 'model_state_dict'.",
        )
    return kept


def _described(contents: object) -> str:
    """What an object without named tensors is."""
    if isinstance(contents, Mapping) and contents:
        return f"no named tensors are under its keys {listed([_label(key) for key in contents])}"
    empty = "an empty" if isinstance(contents, Mapping | list | tuple) and not contents else "a"
    return f"it is {empty} {type(contents).__name__}"


def _label(name: object) -> str:
    return f"{name!r:.{_LABELS}}"


def _unwrapped(tensors: Tensors) -> Tensors:
    """The tensors with the prefixes of wrappers removed everywhere; empty if none has one."""
    renamed = {
        _WRAPPERS.sub("", full): NamedTensor(one.keys, _WRAPPERS.sub("", one.name), one.tensor)
        for full, one in tensors.items()
    }
    same = len(renamed) != len(tensors) or renamed.keys() == tensors.keys()
    return {} if same else renamed


# --- what fits


def _fits(tensors: Tensors, model: str | None) -> list[_Fit]:
    """What fits the network, or any that is registered; the most conventional places first."""
    by_names: dict[tuple[str, ...], list[str]] = {}
    for name in [model] if model else models.RECOGNISED:
        by_names.setdefault(_names(name), []).append(name)
    found = [
        fit
        for names, alike in by_names.items()
        for candidate in find_candidates(names, tensors)
        if model or not candidate.beside
        if (fit := _fit(candidate, alike)) is not None
    ]
    return sorted(found, key=lambda fit: fit.candidate.rank)


@cache
def _names(model: str) -> tuple[str, ...]:
    """The names of a network's weights, which do not depend on the number of classes."""
    classes = models.count_classes(model, {}) or 1
    return tuple(models.expected_weights(model, classes))


def _fit(candidate: Candidate, networks: Sequence[str]) -> _Fit | None:
    """The fit to the first of these networks, which have weights of the same names."""
    weights = _completed(networks[0], candidate.weights)
    recognised = models.recognise(weights, networks)
    return _Fit(*recognised, candidate, weights) if recognised else None


def _completed(model: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights with the counters of batch norm, which torch before 0.4.1 did not save."""
    return {name: weights.get(name, torch.zeros((), dtype=torch.int64)) for name in _names(model)}


def _choose(path: Path, found: Sequence[_Fit]) -> tuple[_Fit, list[_Fit]]:
    """The fit in the most conventional place, and the others that hold other values.

    Raises:
        CheckpointError: several fit in equally conventional places.
    """
    best = found[0]
    others = [fit for fit in found[1:] if not _same_values(fit.weights, best.weights)]
    if others and others[0].candidate.rank == best.candidate.rank:
        equal = [fit for fit in others if fit.candidate.rank == best.candidate.rank]
        places = [f"{fit.candidate.place} ({_model_label(fit)})" for fit in (best, *equal)]
        raise CheckpointError(
            f"{path} holds several state_dicts that fit: {listed(places)}",
            f"Save the one that you mean in a file of its own: {_extraction(path, best)}",
        )
    return best, others


def _extraction(path: Path, fit: _Fit) -> str:
    """Python that writes the weights of a fit alone."""
    candidate = fit.candidate
    index = "".join(f"[{key!r}]" for key in candidate.keys)
    loaded = f"torch.load({path.name!r}, weights_only=True){index}"
    if candidate.prefix:
        start = repr(candidate.prefix)
        loaded = (
            f"{{k.removeprefix({start}): v for k, v in {loaded}.items() if k.startswith({start})}}"
        )
    return f"torch.save({loaded}, 'one.pt')"


def _model_label(fit: _Fit) -> str:
    return ModelName(fit.model).label


def _same_values(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype
        and tensor.shape == other[name].shape
        and torch.equal(tensor, other[name])
        for name, tensor in one.items()
    )


# --- what does not


def _no_fit(path: Path, tensors: Tensors, model: str | None) -> CheckpointError:
    if model is not None:
        nearest = _nearest(tensors, _names(model))
        classes = models.count_classes(model, nearest) or 10
        expected = models.expected_weights(model, classes)
        known = {name: one for name, one in nearest.items() if name in expected}
        cast = {name: _as(path, name, one, expected[name]) for name, one in known.items()}
        try:
            check_weights(path, model, classes, {**nearest, **cast})
        except CheckpointError as error:
            return error
    weights = _nearest(tensors, ())
    shapes = listed([f"{name:.{_LABELS}} {tuple(one.shape)}" for name, one in weights.items()])
    return CheckpointError(
        f"{path}: no known network has weights with these names and shapes: {shapes}",
        f"{_partly(tensors)}Known networks: {', '.join(models.REGISTRY)}. Name one to see the "
        f"differences, or name your own, as in {EXAMPLE}.",
    )


def _nearest(tensors: Tensors, names: Sequence[str]) -> Weights:
    """The tensors that most resemble a network's: those whose names, after one prefix, are most."""
    prefixes = Counter(
        full.removesuffix(name)
        for full in tensors
        for name in names
        if full == name or full.endswith(f".{name}")
    )
    homes = Counter(one.keys for one in tensors.values())
    home = min(homes, key=lambda keys: (Candidate(keys, "", {}).rank[0], -homes[keys]))
    if not prefixes:
        return {one.name: one.tensor for one in tensors.values() if one.keys == home}
    prefix = prefixes.most_common(1)[0][0]
    homes = Counter(one.keys for full, one in tensors.items() if full.startswith(prefix))
    home = homes.most_common(1)[0][0]
    return {
        full.removeprefix(prefix): one.tensor
        for full, one in tensors.items()
        if full.startswith(prefix) and one.keys == home
    }


def _partly(tensors: Tensors) -> str:
    """A sentence about a part of a larger network that is a known one."""
    for name in models.RECOGNISED:
        for candidate in find_candidates(_names(name), tensors):
            if candidate.beside and _fit(candidate, [name]):
                return (
                    f"The weights {candidate.place} fit '{name}', but "
                    f"{listed([_label(one) for one in candidate.beside])} are beside them; name "
                    f"'{name}' to use them alone. "
                )
    return ""


# --- values


def _cast(path: Path, fit: _Fit) -> tuple[Weights, list[str]]:
    """The weights in the network's types, and what was cast, in words.

    Raises:
        CheckpointError: a tensor is not plain, or a value does not fit the network's type.
    """
    try:
        named_tensors(fit.weights)
    except TypeError as error:
        raise CheckpointError(f"{path}: {error}") from error
    expected = models.expected_weights(fit.model, fit.classes)
    weights = {name: _as(path, name, one, expected[name]) for name, one in fit.weights.items()}
    changed = Counter(
        (dtype_name(one), dtype_name(weights[name]))
        for name, one in fit.weights.items()
        if one.dtype != weights[name].dtype and not name.endswith(COUNTER)
    )
    return weights, [_cast_note(*pair, count) for pair, count in changed.items()]


def _cast_note(before: str, after: str, count: int) -> str:
    tensors = "1 tensor was" if count == 1 else f"{count} tensors were"
    return f"{tensors} cast from {before} to {after}"


def _as(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """The tensor in the expected type; itself if that may change its meaning."""
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
            f"{dtype_name(expected)} cannot hold"
        )
    return cast


# --- words


def _place_notes(fit: _Fit, others: Sequence[_Fit], tensors: Tensors) -> Iterator[str]:
    candidate = fit.candidate
    if candidate.keys:
        yield f"the weights are those under {spell(candidate.keys)}"
    if candidate.prefix:
        yield f"the prefix {_label(candidate.prefix)} was removed from the names"
    if others:
        places = [one.candidate.place or "without a key" for one in others]
        yield f"other weights that fit are not used: {listed(places)}"
    if beside := [*candidate.beside, *_elsewhere(candidate, others, tensors)]:
        yield f"other tensors are not used: {listed([_label(one) for one in beside])}"
    if candidate.ignored:
        yield f"ignored: {listed([_label(one) for one in candidate.ignored])}"
    missing = sum(name not in candidate.weights for name in fit.weights)
    if missing:
        yield f"{missing} missing counters {COUNTER!r} of batch norm were set to 0"


def _elsewhere(chosen: Candidate, others: Iterable[_Fit], tensors: Tensors) -> Iterator[str | int]:
    """The outermost keys of tensors that belong to no fit."""
    known = [chosen.keys, *(one.candidate.keys for one in others)]
    keys = dict.fromkeys(
        (one.keys or (one.name,))[0]
        for one in tensors.values()
        if one.tensor.ndim and not any(one.keys[: len(path)] == path for path in known)
    )
    yield from keys
