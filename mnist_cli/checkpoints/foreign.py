"""Reads the weights of a network from an object that another program has saved.

:mod:`mnist_cli.checkpoints.candidates` finds the state_dicts in it, and
:mod:`mnist_cli.checkpoints.network_fits` selects those that fit a network. This module chooses one,
and describes in words what it chose, cast and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mnist_cli.checkpoints.candidates import (
    COUNTER,
    Candidate,
    NamedTensor,
    Tensors,
    TooMuch,
    find_tensors,
    holds_weights,
    spell,
)
from mnist_cli.checkpoints.contents import Contents
from mnist_cli.checkpoints.network_fits import Fit, cast_weights, find_fits, names_used, same_values
from mnist_cli.checkpoints.refusals import label, refusal
from mnist_cli.checkpoints.weight_check import Weights, check_weights, listed
from mnist_cli.config.choices import is_known_model, unknown_model, width_of
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError

_WRAPPERS = re.compile(
    r"(^|(?<=\.))(module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
)


@dataclass(frozen=True)
class ForeignWeights:
    """A known network's weights from another program's file, and how they were read, in words."""

    model: ModelName
    classes: int
    weights: Weights
    notes: tuple[str, ...]
    members: int = 1


def read_foreign(path: Path, contents: Contents, model: str | None) -> ForeignWeights:
    """The weights in ``contents`` that fit a known network, or the network ``model``.

    If ``model`` is None, names and shapes of the weights tell the network.

    Raises:
        CheckpointError: no weights fit, several fit equally well, or a value cannot be used.
        UsageError: the user's own network cannot be built.
    """
    if model is not None and not is_known_model(model):
        message, hint = unknown_model(model)
        raise CheckpointError(f"{path}: {message}", hint)
    tensors = _tensors(path, contents.document)
    stated = _stated_network(contents)
    fits = find_fits(tensors, model, stated)
    unwrapped = _unwrapped(tensors)
    if not fits and unwrapped:
        tensors, fits = unwrapped, find_fits(unwrapped, model, stated)
    if not fits:
        raise refusal(path, contents, tensors, model)
    if voters := _voters(contents, fits):
        return _ensemble(path, voters)
    fit, others = _choose(path, contents, fits)
    weights, cast = cast_weights(path, fit)
    check_weights(path, fit.model, fit.classes, weights)
    notes = [*_place_notes(fit, others, tensors), *cast]
    if contents.left_out:
        notes.append(f"not read: {listed(list(map(str, contents.left_out)))}")
    if tensors is unwrapped:
        notes.append("prefixes of wrappers, such as 'module.', were removed within the names")
    return ForeignWeights(ModelName(fit.model), fit.classes, weights, tuple(notes))


def _tensors(path: Path, contents: object) -> Tensors:
    try:
        tensors = find_tensors(contents)
    except TooMuch as error:
        raise CheckpointError(
            f"{path} holds more tensors than a checkpoint of one network",
            "Save the network's weights alone: torch.save(model.state_dict(), 'weights.pt').",
        ) from error
    return {full: one for full, one in tensors.items() if holds_weights(one.keys)}


def _unwrapped(tensors: Tensors) -> Tensors:
    """The tensors with the prefixes of wrappers removed everywhere; empty if there are none."""
    renamed = {
        _WRAPPERS.sub("", full): NamedTensor(one.keys, _WRAPPERS.sub("", one.name), one.tensor)
        for full, one in tensors.items()
    }
    same = len(renamed) != len(tensors) or renamed.keys() == tensors.keys()
    return {} if same else renamed


def _stated_network(contents: Contents) -> str | None:
    """The network that an exported file names; None for a user's own, whose file is never run."""
    name = contents.metadata.get("model", "")
    return name if width_of(name) is not None else None


def _voters(contents: Contents, fits: Sequence[Fit]) -> list[Fit]:
    """The members of an exported ensemble: its names begin with their numbers; else empty."""
    by_prefix = {(fit.candidate.parts, fit.model): fit for fit in fits}
    members = contents.metadata.get("members", "")
    numbers = range(int(members)) if members.isdecimal() and len(members) < 4 else range(0)
    voters = [by_prefix.get(((str(number),), fits[0].model)) for number in numbers]
    whole = [fit for fit in voters if fit is not None and fit.classes == fits[0].classes]
    return whole if len(whole) == len(voters) > 1 else []


def _ensemble(path: Path, voters: Sequence[Fit]) -> ForeignWeights:
    """The members' weights along the first dimension, as in a checkpoint of an ensemble."""
    first, members = voters[0], len(voters)
    parts = [cast_weights(path, fit)[0] for fit in voters]
    weights = {f"members.{name}": torch.stack([one[name] for one in parts]) for name in parts[0]}
    check_weights(path, first.model, first.classes, weights, members)
    return ForeignWeights(ModelName(first.model), first.classes, weights, (), members)


def _choose(path: Path, contents: Contents, fits: Sequence[Fit]) -> tuple[Fit, list[Fit]]:
    """The fit in the most conventional place, and the fits with other values.

    Raises:
        CheckpointError: several fits are in equally conventional places.
    """
    best = fits[0]
    others = [fit for fit in fits[1:] if not same_values(fit.weights, best.weights)]
    if others and others[0].candidate.rank == best.candidate.rank:
        equal = [fit for fit in others if fit.candidate.rank == best.candidate.rank]
        places = [f"{fit.candidate.place} ({ModelName(fit.model).label})" for fit in (best, *equal)]
        raise CheckpointError(
            f"{path} holds several state_dicts that fit: {listed(places)}",
            "Save the one that you mean in its own file: " + _extraction(path, contents, best),
        )
    return best, others


def _extraction(path: Path, contents: Contents, fit: Fit) -> str:
    """Python code that writes only the weights of a fit."""
    candidate = fit.candidate
    index = "".join(f"[{key!r}]" for key in candidate.keys)
    loaded = f"torch.load({str(path)!r}, weights_only=True){index}"
    if contents.container == "safetensors":
        loaded = f"safetensors.torch.load_file({str(path)!r})"
    if candidate.prefix:
        start = repr(candidate.prefix)
        loaded = (
            f"{{k.removeprefix({start}): v for k, v in {loaded}.items() if k.startswith({start})}}"
        )
    return f"torch.save({loaded}, 'one.pt')"


def _place_notes(fit: Fit, others: Sequence[Fit], tensors: Tensors) -> Iterator[str]:
    candidate = fit.candidate
    if candidate.keys:
        yield f"the weights are those under {spell(candidate.keys)}"
    if candidate.prefix:
        yield f"the prefix {label(candidate.prefix)} was removed from the names"
    if others:
        places = [one.candidate.place or "without a key" for one in others]
        yield f"other weights that fit are not used: {listed(places)}"
    mentioned = names_used(others).get(candidate.keys, set())
    unused = [one for one in candidate.beside if one not in mentioned]
    if unused := [*unused, *_elsewhere(candidate, others, tensors)]:
        yield f"other tensors are not used: {listed([label(one) for one in unused])}"
    if ignored := [one for one in candidate.ignored if one not in mentioned]:
        yield f"ignored: {listed([label(one) for one in ignored])}"
    missing = sum(name not in candidate.weights for name in fit.weights)
    if missing:
        yield f"{missing} missing counters {COUNTER!r} of batch norm were set to 0"


def _elsewhere(chosen: Candidate, others: Iterable[Fit], tensors: Tensors) -> Iterator[str]:
    """The outermost keys of tensors that belong to no fit."""
    known = [chosen.keys, *(one.candidate.keys for one in others)]
    keys = dict.fromkeys(
        str((one.keys or (one.name,))[0])
        for one in tensors.values()
        if one.tensor.ndim and not any(one.keys[: len(path)] == path for path in known)
    )
    yield from keys
