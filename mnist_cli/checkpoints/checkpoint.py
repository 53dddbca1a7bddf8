"""Checkpoints: writing them, and reading them safely.

A checkpoint is one file that ``torch.load(path, weights_only=True)`` reads: plain types and
tensors. :func:`read` verifies the archive before it unpickles anything, and accepts the state_dicts
of other programs too; it returns a :class:`Checkpoint`.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnist_cli.base.files import atomic_write
from mnist_cli.checkpoints.archive import load_archive
from mnist_cli.checkpoints.foreign import read_foreign
from mnist_cli.checkpoints.weight_check import (
    Weights,
    averaged_weights,
    check_weights,
    named_tensors,
)
from mnist_cli.config.choices import PRECISIONS
from mnist_cli.config.names import EXAMPLE, ModelName
from mnist_cli.config.normalisations import MeanStd, from_metadata
from mnist_cli.config.schema import Layer, TrainConfig, compose
from mnist_cli.config.sources import as_computed
from mnist_cli.errors import CheckpointError, UsageError, first_line
from mnist_cli.networks import ensemble
from mnist_cli.networks import registry as models
from mnist_cli.runs.results import EpochResult

PRODUCER = "mnist-cli/"
FORMAT = f"{PRODUCER}checkpoint"
VERSION = 1
GARBLED = (
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    UsageError,
)
"""Errors that Python and torch raise for a value of the wrong kind."""


class OwnNetworkError(CheckpointError):
    """The checkpoint holds a network of the user's own, but the user has not named its file."""


class OtherNetworkError(CheckpointError):
    """The checkpoint holds another network than the user named."""


@dataclass(frozen=True)
class DataInfo:
    """The facts about the data set of the training that a use of the network needs.

    Attributes:
        mean: with ``std``, the normalisation of the training, as fractions of 255.
        brightness: mean of the training images' pixels, if it differs from ``mean``: the class of
            a user's own network may state another normalisation.
        mnist_form: whether the user's own images had MNIST's form.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    mean: float
    std: float
    brightness: float | None = None
    mnist_form: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for the file."""
        plain = {**vars(self), "classes": list(self.classes)}
        if self.brightness is None:
            del plain["brightness"]
        if not self.mnist_form:
            del plain["mnist_form"]
        return plain


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and checked.

    Attributes:
        path: its file.
        model: the network's name; for a user's own network, as typed by the user.
        classes: number of classes.
        weights: the weights to evaluate: the averaged ones if the run averaged weights.
        config: the run's configuration; None for another program's state_dict.
        data: the run's data set; None for another program's state_dict.
        stated: mean and standard deviation of the pixels, from the metadata of another file.
        history: the results of the epochs so far.
        document: the whole contents of the file; empty for another program's state_dict.
        changes: in words, how the source of a user's own network has changed since training.
        notes: sentences on how another program's file was read: the place of its weights, the
            removed prefix, casts, and ignored tensors.
        voters: number of networks in another program's file that vote.
    """

    path: Path
    model: ModelName
    classes: int
    weights: Weights
    config: TrainConfig | None = None
    data: DataInfo | None = None
    history: tuple[EpochResult, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stated: MeanStd | None = None
    voters: int = 1

    @property
    def foreign(self) -> bool:
        """Whether it is another program's state_dict."""
        return self.config is None

    @property
    def members(self) -> int:
        """Number of networks that vote; 1 unless it is an ensemble."""
        return self.config.ensemble if self.config is not None else self.voters

    @property
    def environment(self) -> Mapping[str, Any]:
        """Device, precision and versions of the training; empty if foreign."""
        environment: Mapping[str, Any] = self.document.get("environment", {})
        return environment

    @property
    def precision(self) -> str | None:
        """The precision of the training: fp32, bf16 or fp16; None if foreign."""
        return self.environment.get("precision")

    @property
    def position(self) -> Mapping[str, Any] | None:
        """The position of the training: epoch, batch and step; None if foreign."""
        return self.document.get("position")

    def build_model(self) -> nn.Module:
        """The network with these weights, or the ensemble, on the CPU, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            networks = [models.build(self.model, self.classes) for _ in range(self.members)]
        if self.config is not None and self.config.channels_last:
            networks = [network.to(memory_format=torch.channels_last) for network in networks]
        model = ensemble.join(networks, batched=False if self.model.is_own else None)
        model.load_state_dict(dict(self.weights))
        return model.eval()


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint's file, with checksums even if the caller has turned them off."""
    buffer, setting = io.BytesIO(), torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        torch.save(dict(document), buffer)
    finally:
        torch.serialization.set_crc32_options(setting)
    return buffer.getvalue()


def write(document: Mapping[str, Any], *paths: Path) -> None:
    """Encode the document once, and write it atomically to each path.

    Raises:
        OutputError: the disk is full or read-only; existing files are unchanged.
    """
    data = encode(document)
    for path in paths:
        atomic_write(path, data)


def read(path: Path, model: str | None = None) -> Checkpoint:
    """Read a checkpoint of this program, or a state_dict as other programs save it.

    Args:
        path: the file.
        model: the network's name; None recognises it by its weights. A network in the user's own
            file must be named, by its absolute path. Only that file is executed, never a file
            named by a checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, of another version, or does not fit.
        UsageError: the user's own network cannot be built.
    """
    contents = load_archive(path)
    if _says_a_format(contents.document):
        return _read_own(path, contents.document, model)
    foreign = read_foreign(path, contents, model)
    stated = from_metadata(contents.metadata)
    return Checkpoint(
        *(path, foreign.model, foreign.classes, foreign.weights),
        notes=foreign.notes,
        stated=stated,
        voters=foreign.members,
    )


@dataclass(frozen=True)
class Course:
    """A run's configuration and its results so far, without its network."""

    config: TrainConfig
    history: tuple[EpochResult, ...]


def read_course(path: Path) -> Course | None:
    """The course of a checkpoint's training; None for another program's weights.

    The network is not built, so the user need not name an own network.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or of another version.
    """
    document = load_archive(path).document
    if not _says_a_format(document):
        return None
    _check_format(path, document)
    with _garbled(path):
        return Course(_config_of(document), _history_of(document["metrics"]))


def _says_a_format(document: object) -> bool:
    """Whether this program wrote the document; other documents may also have a key ``format``."""
    if not isinstance(document, Mapping):
        return False
    name = document.get("format")
    ours = isinstance(name, str) and name.startswith(PRODUCER)
    return ours or document.keys() >= {"format", "version", "environment", "generators"}


def _check_format(path: Path, document: Mapping[str, Any]) -> None:
    if document["format"] != FORMAT:
        raise CheckpointError(
            f"{path} is a {document['format']!r:.60}, not a {FORMAT}",
            "Name a run's last.pt or best.pt.",
        )
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise CheckpointError(
            f"{path} has format version {version!r:.20}; this program reads version {VERSION}",
            "Use the version of mnist_cli that wrote it, or a newer one.",
        )


@contextlib.contextmanager
def _garbled(path: Path) -> Iterator[None]:
    """Turn an error that a document's values raise in the block into a CheckpointError."""
    try:
        yield
    except GARBLED as error:
        raise CheckpointError(
            f"{path}: a part of the checkpoint is missing or damaged: {first_line(error):.200}",
            "Copy it again, or use another checkpoint of the run.",
        ) from error


def _read_own(path: Path, document: Mapping[str, Any], model: str | None) -> Checkpoint:
    _check_format(path, document)
    with _garbled(path):
        config = _config_of(document)
        recorded = name = ModelName(document["model"]["name"])
        if own := config.model.is_own or name.is_own:
            name = _named_anew(path, name, document["model"], model)
            config = config.model_copy(update={"model": name})
        data = _data_of(document["data"])
        history = _history_of(document["metrics"])
        weights = named_tensors(document["model"]["weights"])
        if document["ema"] is not None:
            weights = averaged_weights(document["ema"])
        if document["environment"]["precision"] not in PRECISIONS[1:]:
            raise ValueError("the environment has no known precision")
    if model is not None and model != name:
        raise OtherNetworkError(
            f"{path} holds the network '{name}', not '{ModelName(model).label}'",
            "Omit the network, or choose another checkpoint.",
        )
    changes = _changes(document["model"].get("source"), name) if own else ()
    classes = len(data.classes)
    try:
        check_weights(path, name, classes, weights, config.ensemble, changes)
    except CheckpointError as error:
        if own and recorded.label != name.label:
            raise OtherNetworkError(error.message, error.hint) from error
        raise
    return Checkpoint(path, name, classes, weights, config, data, history, document, changes)


def _named_anew(
    path: Path, name: ModelName, recorded: Mapping[str, Any], model: str | None
) -> ModelName:
    """The network's file as named by the user; a file named by a checkpoint is never run."""
    if model is not None and ModelName(model).is_own:
        return ModelName(model)
    source = recorded.get("source")
    place = str(source.get("path", "")) if isinstance(source, Mapping) else ""
    where = f", in {place!r:.200} when it was trained" if place else ""
    raise OwnNetworkError(
        f"{path} holds a network from a user's Python file: {name.label!r:.80}{where}",
        f"The program runs no file named by a checkpoint. Name it yourself, as in {EXAMPLE}.",
    )


def _changes(source: object, model: str) -> tuple[str, ...]:
    from mnist_cli.networks import own_network

    return own_network.changes(model, source if isinstance(source, Mapping) else {})


def _config_of(document: Mapping[str, Any]) -> TrainConfig:
    plain = document["config"]
    if not isinstance(plain, dict):
        raise TypeError("the configuration is not a table")
    return compose([Layer(as_computed(plain, document.get("environment")), {})])


def _history_of(lines: Any) -> tuple[EpochResult, ...]:
    return tuple(EpochResult.from_plain(dict(line)) for line in lines)


def _data_of(plain: Mapping[str, Any]) -> DataInfo:
    data = DataInfo(
        name=str(plain["name"]),
        fingerprint=str(plain["fingerprint"]),
        classes=tuple(str(name) for name in plain["classes"]),
        mean=float(plain["mean"]),
        std=float(plain["std"]),
        brightness=float(plain["brightness"]) if "brightness" in plain else None,
        mnist_form=bool(plain.get("mnist_form", False)),
    )
    if not data.classes or not math.isfinite(data.mean) or not 0 < data.std < math.inf:
        raise ValueError(f"no classes, or a mean of {data.mean} and a std of {data.std}")
    return data
