"""What a checkpoint says of the run that it came from, for the commands that use it again.

Its images as that run cut them, its normalisation and its precision; another program's weights,
or images of another data set, have no such run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_cli.config import names as places
from mnist_cli.config.choices import is_known_model, unknown_model
from mnist_cli.errors import CheckpointError, NonFiniteError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.data.load import LoadedData
    from mnist_cli.data.split import Normalisation, Split, TrainVal


def open_checkpoint(target: Path | None, runs: Path, model: str | None) -> Checkpoint:
    """Read the checkpoint that was named, or the newest run's; say how its source has changed.

    Args:
        target: a checkpoint or a run; None is the newest run.
        runs: where runs lie.
        model: the network as the user named it, if so; a file of the user's own is executed.

    Raises:
        CheckpointError: there is none, it is damaged, or of another network.
        UsageError: the network's name means nothing, or the user's own is not available.
    """
    from mnist_cli.checkpoints import checkpoint as checkpoints
    from mnist_cli.report.console import warn
    from mnist_cli.runs.directory import find_checkpoint

    _check_model(model)
    path = find_checkpoint(target, runs)
    found = checkpoints.read(path, model)
    if found.changes:
        warn(f"{path} was trained by other code, which its weights still fit: " + told(found))
    return found


def _check_model(model: str | None) -> None:
    if model is None or is_known_model(model):
        return
    message, hint = unknown_model(model)
    if model.isdecimal():
        hint = (
            f"--model is for a network's name. The run {model} is named by itself, as in "
            f"`mnist eval {model}`; for mnist predict with --checkpoint {model}."
        )
    raise UsageError(f"--model: {message}", hint)


def told(checkpoint: Checkpoint) -> str:
    """How the source of the user's own network has changed, in one sentence."""
    return "; ".join(checkpoint.changes)


def title_name(path: Path) -> str:
    """What the titles of pictures call a checkpoint: its run's name, or the file's."""
    from mnist_cli.runs.directory import RunDirectory

    parent = path.resolve().parent
    return parent.name if RunDirectory(parent).metrics.is_file() else path.name


SPLITS = ("test", "val", "train")


def check_split(name: str) -> None:
    """Refuse a split that there is not, before any data are read.

    Raises:
        UsageError: the name is none of :data:`SPLITS`.
    """
    if name not in SPLITS:
        raise UsageError(f"--split {name}: choose one of {', '.join(SPLITS)}")


def choose_split(name: str, checkpoint: Checkpoint | None, data: LoadedData) -> Split:
    """The images asked for; ``val`` and ``train`` as the checkpoint's run cut them.

    Without such a run on these data, ``train`` is the whole training set.

    Raises:
        UsageError: ``val``, where nothing was cut off to validate on.
    """
    if name == "test":
        return data.test
    config = checkpoint.config if checkpoint and trained_on(checkpoint, data) else None
    if config is None and name == "train":
        return data.train
    if config is None:
        raise _no_validation("no run says which images were cut off to validate on")
    parts = cut(config, data)
    if name == "train":
        return parts.train
    if parts.val is None:
        raise _no_validation("the run was trained without a validation set (val_size = 0)")
    return parts.val


def _no_validation(reason: str) -> UsageError:
    return UsageError(f"--split val: {reason}", "Use --split test or --split train.")


def cut(config: TrainConfig, data: LoadedData) -> TrainVal:
    """What a run of this configuration trained on, and what it validated on."""
    from mnist_cli.data.split import cut_validation

    return cut_validation(
        data.train, val_size=config.val_size, train_size=config.train_size, seed=config.seed
    )


def trained_on(checkpoint: Checkpoint, data: LoadedData) -> bool:
    """Whether the run that wrote the checkpoint trained on this data set.

    Of the user's own the images tell, wherever they lie now.
    """
    if checkpoint.data is None:
        return False
    if data.spec.own:
        return checkpoint.data.fingerprint == data.fingerprint
    return checkpoint.data.name == data.spec.name


def trained_on_own_data(checkpoint: Checkpoint) -> bool:
    """Whether it learnt images of the user's own, of which nobody knows that they are digits."""
    return checkpoint.data is not None and places.is_own_data(checkpoint.data.name)


LIGHT, DARK = "light", "dark"


def own_ground(checkpoint: Checkpoint) -> str | None:
    """Whether images of the user's own, if it was trained on such, are mostly light or dark.

    So is the paper of a drawing for it, which is taken whole as those images were.
    """
    if checkpoint.data is None or not trained_on_own_data(checkpoint):
        return None
    return LIGHT if checkpoint.data.mean > 0.5 else DARK


def check_classes(checkpoint: Checkpoint, data: LoadedData) -> None:
    """Refuse images that the network cannot tell apart.

    Raises:
        CheckpointError: the network has more classes than the data set, or fewer.
    """
    if checkpoint.classes != len(data.spec.classes):
        raise CheckpointError(
            f"{checkpoint.path} tells {checkpoint.classes} classes apart, "
            f"{data.spec.title} has {len(data.spec.classes)}",
            "Name the data set it was trained on (--dataset).",
        )


def elsewhere(checkpoint: Checkpoint, data: LoadedData) -> str:
    """What to say where a checkpoint is tried on another data set than its own; else empty."""
    if checkpoint.data is None or trained_on(checkpoint, data):
        return ""
    then = checkpoint.data.name
    if then == data.spec.name:
        return (
            f"the images in {then} are not those that {checkpoint.path} was trained on: some of "
            "its training images may be among the test images now"
        )
    told = f"{checkpoint.path} was trained on {then}, not on {data.spec.name}"
    if places.is_own_data(then) and data.spec.own:
        told += ": if they are the same images moved and changed, some of its training images may "
        told += "be among the test images now"
    return told


def normalisation(checkpoint: Checkpoint | None, data: LoadedData) -> Normalisation:
    """The one that the network was trained with; for another program's, the data set's."""
    from mnist_cli.data.split import Normalisation

    if checkpoint is None or checkpoint.data is None:
        return data.normalisation
    return Normalisation(checkpoint.data.mean, checkpoint.data.std)


def own_normalisation(checkpoint: Checkpoint) -> Normalisation:
    """The one that the network was trained with; MNIST's for another program's."""
    from mnist_cli import catalogue
    from mnist_cli.data.split import Normalisation

    source = checkpoint.data or catalogue.get("mnist")
    return Normalisation(source.mean, source.std)


def class_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of the classes; their numbers for another program's."""
    if checkpoint.data is not None:
        return checkpoint.data.classes
    return tuple(map(str, range(checkpoint.classes)))


def require_finite(log_probabilities: Tensor, checkpoint: Checkpoint) -> None:
    """Refuse to call the class that stands first among NaN an answer.

    Raises:
        NonFiniteError: some answers (N, classes), or of members (M, N, classes), are not finite.
    """
    finite = log_probabilities.isfinite().all(dim=-1)
    finite = finite.all(dim=0) if finite.ndim == 2 else finite
    wrong = int((~finite).sum())
    if wrong:
        raise NonFiniteError(
            f"{checkpoint.path}: the network's answers to {wrong:,} of {len(finite):,} "
            "images are not finite",
            "Try --precision fp32; `mnist inspect-grad` shows where it begins.",
        )


def precision_name(wanted: str | None, checkpoint: Checkpoint | None, device: torch.device) -> str:
    """The precision that was asked for, or else the run's: the same figures to the bit.

    fp16 is for GPUs: on a CPU a run in it is tried in what that CPU does best.
    """
    if wanted is not None:
        return wanted
    environment = checkpoint.document.get("environment", {}) if checkpoint is not None else {}
    name = str(environment.get("precision", "auto"))
    return "auto" if name == "fp16" and device.type == "cpu" else name
