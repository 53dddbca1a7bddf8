"""Relates a checkpoint's run to a data set: its splits, and warnings if they do not match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.names import is_own_data
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import Split
from mnist_cli.errors import CheckpointError, UsageError

SplitOfRun = Literal["test", "val", "train"]


def trained_on(checkpoint: Checkpoint, data: LoadedData) -> bool:
    """Whether the checkpoint's run trained on this data set.

    The user's own data are recognised by their images, even if they have been moved.
    """
    if checkpoint.data is None:
        return False
    if data.spec.own:
        return checkpoint.data.fingerprint == data.fingerprint
    return checkpoint.data.name == data.spec.name


def choose_split(name: SplitOfRun, data: LoadedData, config: TrainConfig | None) -> Split:
    """The images of ``test``, ``val`` or ``train``; the last two as a run divided them.

    ``config`` is None if no run trained on these data.

    Raises:
        UsageError: ``val``, but there is no validation set.
    """
    if name == "test":
        return data.test
    if config is None:
        if name == "train":
            return data.train
        if data.val is not None:
            return data.val
        raise _no_validation("no run records its validation images")
    parts = data.cut(config)
    if name == "train":
        return parts.train
    if parts.val is None:
        raise _no_validation("the run was trained without a validation set (val_size = 0)")
    return parts.val


def _no_validation(reason: str) -> UsageError:
    return UsageError(
        f"validation images are not available: {reason}", "Use the test or the train split."
    )


def check_classes(checkpoint: Checkpoint, data: LoadedData) -> None:
    """Refuse a data set with another number of classes than the network.

    Raises:
        CheckpointError: the numbers differ.
    """
    if checkpoint.classes != len(data.spec.classes):
        raise CheckpointError(
            f"{checkpoint.path} has {checkpoint.classes} classes, "
            f"but {data.spec.title} has {len(data.spec.classes)}",
            "Name the data set it was trained on.",
        )


def data_warnings(checkpoint: Checkpoint, data: LoadedData) -> list[str]:
    """Messages for the user about a checkpoint used with a data set."""
    messages = []
    if data.fallback:
        messages.append(
            f"MNIST is not available; using scikit-learn's bundled digits ({data.fallback})"
        )
    if checkpoint.data is not None and not trained_on(checkpoint, data):
        messages.append(_elsewhere(checkpoint.path, checkpoint.data.name, data))
        messages += other_classes(checkpoint.data.classes, data)
    return messages


def other_classes(known: Sequence[str], data: LoadedData) -> Iterator[str]:
    """A warning if the names of the classes differ, or their order."""
    for number, (one, other) in enumerate(zip(known, data.spec.classes, strict=True)):
        if one != other:
            yield (
                f"class {number} is {one!r} in the checkpoint, but {other!r} in {data.spec.title}: "
                "classes are compared by number, not by name"
            )
            return


def _elsewhere(path: Path, then: str, data: LoadedData) -> str:
    leak = "some of its training images may now be among the test images"
    if then == data.spec.name:
        return f"the images in {then} have changed since {path} was trained on them: {leak}"
    text = f"{path} was trained on {then}, not on {data.spec.name}"
    if is_own_data(then) and data.spec.own:
        text += f"; if they are the same images, moved and changed, {leak}"
    return text
