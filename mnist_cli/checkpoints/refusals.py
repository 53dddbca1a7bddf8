"""Explains why no weights in another program's file fit a network: what the file holds instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from mnist_cli.checkpoints.archive import whole_object
from mnist_cli.checkpoints.candidates import Candidate, Tensors, find_candidates
from mnist_cli.checkpoints.contents import NO_MEMORY, Contents, safe_text
from mnist_cli.checkpoints.network_fits import as_expected, fit_of, weight_names
from mnist_cli.checkpoints.weight_check import Weights, check_weights, listed
from mnist_cli.config.names import EXAMPLE
from mnist_cli.errors import CheckpointError
from mnist_cli.networks import registry as models

_PARTS = {
    "weight_mask": "torch.nn.utils.prune.remove(layer, 'weight')",
    "weight_g": "torch.nn.utils.remove_weight_norm(layer)",
    "weight_u": "torch.nn.utils.remove_spectral_norm(layer)",
    "parametrizations": "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
}
"""By a part of a tensor's name: the call that gives a layer an ordinary weight again."""


def refusal(path: Path, contents: Contents, tensors: Tensors, model: str | None) -> CheckpointError:
    """Why no weights fit, and which objects were not read."""
    for one in contents.left_out:
        if one.module:
            return whole_object(path, one, contents.container)
    error = _no_tensors(path, contents.document)
    if tensors and not _is_optimiser(contents.document):
        error = _no_fit(path, tensors, model, contents.metadata.get("model", ""))
        error.hint = f"{_in_parts(tensors)}{error.hint}"
    if contents.left_out:
        error.message += f"; not read: {listed(list(map(str, contents.left_out)))}"
    if any(one.name == NO_MEMORY for one in contents.left_out):
        error.hint = "Save dense weights in floating point: w.to_dense(), or w.dequantize()."
    return error


def _is_optimiser(document: object) -> bool:
    """Whether it is the state_dict of an optimiser, which programs save beside the network's."""
    return isinstance(document, Mapping) and document.keys() == {"state", "param_groups"}


def _no_tensors(path: Path, document: object) -> CheckpointError:
    what = f"it is {'a' if document else 'an empty'} {type(document).__name__}"
    if _is_optimiser(document):
        what = "it is the state of an optimiser"
    elif isinstance(document, Mapping) and document:
        what = f"no named tensors are under its keys {listed([label(key) for key in document])}"
    elif isinstance(document, list | tuple) and {type(one) for one in document} == {Tensor}:
        what = f"its {len(document)} tensors have no names"
    return CheckpointError(
        f"{path} is neither a checkpoint of mnist_cli nor a state_dict: {what}",
        "A state_dict may lie under any key, such as 'model_state_dict'.",
    )


def _no_fit(path: Path, tensors: Tensors, model: str | None, stated: str) -> CheckpointError:
    """The error if no tensors fit ``model``, or any network if that is None.

    ``stated`` is the network that the file's metadata name; empty if they name none.
    """
    if model is not None:
        nearest = _nearest(tensors, weight_names(model))
        classes = models.count_classes(model, nearest) or 10
        expected = models.expected_weights(model, classes)
        known = {name: one for name, one in nearest.items() if name in expected}
        cast = {name: as_expected(path, name, one, expected[name]) for name, one in known.items()}
        try:
            check_weights(path, model, classes, {**nearest, **cast})
        except CheckpointError as error:
            return error
    weights = _nearest(tensors, ())
    shapes = listed([f"{safe_text(name)} {tuple(one.shape)}" for name, one in weights.items()])
    return CheckpointError(
        f"{path}: no known network has weights with these names and shapes: {shapes}",
        f"{_partly(tensors)}{_by_metadata(stated)}Known networks: {', '.join(models.REGISTRY)}. "
        f"Name one to see the differences, or name your own, as in {EXAMPLE}.",
    )


def _nearest(tensors: Tensors, names: Sequence[str]) -> Weights:
    """The tensors most like a network's: those with the prefix that gives the most known names."""
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
    """A sentence about a known network that is a part of a larger one."""
    for name in models.RECOGNISED:
        for candidate in islice(find_candidates(weight_names(name), tensors), 3):
            if candidate.beside and fit_of(candidate, [name]):
                return (
                    f"The weights {candidate.place} fit '{name}', but "
                    f"{listed([label(one) for one in candidate.beside])} are beside them; name "
                    f"'{name}' to use them alone. "
                )
    return ""


def _in_parts(tensors: Tensors) -> str:
    """A sentence about weights that layers compute from other tensors, as after pruning."""
    found = {part for name in tensors for part in name.split(".")}
    calls = [call for part, call in _PARTS.items() if part in found]
    if not calls:
        return ""
    return (
        "Some layers compute their weight from several tensors. Before you save them, call "
        f"{calls[0]} for each. "
    )


def _by_metadata(stated: str) -> str:
    return f"Its metadata name the network {label(stated)}. " if stated else ""


def label(name: object) -> str:
    """A name for a message: quoted, cut, without control characters for terminals."""
    return safe_text(repr(name))
