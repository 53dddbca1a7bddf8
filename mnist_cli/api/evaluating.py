"""Evaluates a checkpoint, a run or a module: ``mnist.evaluate`` and ``mnist eval``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnist_cli.api.cautions import caution
from mnist_cli.api.checkpoint_given import check_given, normalisation_given, open_given, unfinished
from mnist_cli.api.evaluation_object import Evaluation
from mnist_cli.api.places import RUNS, data_folder
from mnist_cli.api.run_folder import RunFolder
from mnist_cli.api.surroundings import briefly, undisturbed
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.names import absolute_dataset
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from mnist_cli.data.split import Split
    from mnist_cli.inference.misfit import Misfit
    from mnist_cli.inference.opened import DataSource, OpenCheckpoint

SplitName = Literal["test", "val", "train"]
SPLITS = ("test", "val", "train")


@briefly
def evaluate(
    what: RunFolder | nn.Module | str | os.PathLike[str] | int | None = None,
    split: SplitName = "test",
    *,
    dataset: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    network: str | type[nn.Module] | None = None,
    normalise: str | tuple[float, float] | None = None,
    device: str | None = None,
    precision: str | None = None,
    batch_size: int | None = None,
    runs: str | os.PathLike[str] = RUNS,
) -> Evaluation:
    """Evaluate a trained network, as ``mnist eval`` does.

    A module is evaluated where it is. Afterwards, its mode, parameters and buffers are as before.
    It maps normalised images (N, 1, 28, 28) to logits or log-probabilities (N, classes).

    Args:
        what: a :class:`Run`, the path of a run or a checkpoint, a run's number or name, or any
            ``nn.Module``; None is the newest run.
        split: ``test``, or ``val`` or ``train`` as the run divided them. For a module, the training
            images are unknown: ``train`` is the whole training set.
        dataset: name of a data set, or a path to your own; None is the training's data set, or
            MNIST for a module not from :func:`mnist_cli.load`.
        data_dir: folder of the data sets; None is ``MNIST_DATA_DIR``, or ``data``.
        network: the network's name, if the file does not state it; see :func:`mnist_cli.load`.
        normalise: mean and standard deviation as fractions of 255, or ``mnist``, ``none`` or
            ``half``. None is the training's normalisation; else the one that the module's class
            states in ``normalisation``; else the data set's.
        device: where to compute; None is ``auto``, or where the module is.
        precision: ``fp32``, ``bf16`` or ``fp16``; None is the training's precision, or else fp32.
        batch_size: images per batch; None is the size of the run's evaluation.
        runs: folder of the run directories, for numbers and names.

    Raises:
        CheckpointError: no such checkpoint, or it is damaged, hostile or of another network.
        DataError: the data set is not available, or is damaged.
        UsageError: an argument is wrong, or the module cannot classify the images.
        NonFiniteError: the network's outputs are not finite.
        OutOfMemory: the device has too little memory.
    """
    name = _split_name(split)
    size = _batch_size(batch_size)
    check_given(what, runs)
    with undisturbed():
        from torch import nn

        from mnist_cli.inference.opened import DataSource

        source = DataSource(data_folder(data_dir), dataset_name(dataset))
        if isinstance(what, nn.Module):
            refuse_for_modules(device=device, network=network)
            return _of_module(
                what,
                name,
                source,
                normalise=normalise,
                precision=precision,
                batch_size=size,
            )
        opened = open_given(
            what,
            runs=runs,
            network=network,
            device=device,
            precision=precision,
            normalise=normalise,
            source=source,
        )
        found = evaluated(
            opened,
            name,
            opened.split(name),
            _as_argument,
            batch_size=size,
            option="batch_size",
        )
        if misfit := found.origin["misfit"]:
            caution(misfit["message"])
        return found


def _batch_size(given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise UsageError(f"batch_size: should be a whole number of at least 1, not {given!r:.60}")
    return int(given)


def _split_name(split: object) -> SplitName:
    for known in SPLITS:
        if isinstance(split, str) and split.lower() == known:
            return known  # type: ignore[return-value]
    guess = did_you_mean(split, SPLITS) if isinstance(split, str) else ""
    raise UsageError(f"there is no split {split!r:.60}", f"{guess} Use test, val or train.")


def refuse_for_modules(**given: object) -> None:
    """Refuse arguments that have no effect on a module; None is not given.

    Raises:
        UsageError: names the first of them.
    """
    for name, value in given.items():
        if value is not None:
            raise UsageError(
                f"{name} has no effect on a module, which is used as it is and where it is",
                "Omit it; model.to(device) moves a module.",
            )


def dataset_name(dataset: object) -> str | None:
    """A data set's name, or the absolute path of the user's own; None is not given.

    Raises:
        UsageError: it is of another type.
    """
    if dataset is None:
        return None
    if not isinstance(dataset, (str, os.PathLike)) or not str(dataset):
        raise UsageError(f"{dataset!r:.60} is not a data set", "Give a name or a path.")
    return str(absolute_dataset(os.fspath(dataset), Path()))


def _as_argument(key: str, value: str) -> str:
    return f"{key}={value!r}"


# --- what commands and calls compute alike

Spelling = Callable[[str, str], str]
"""How the user sets ``dataset``, ``normalise`` or ``network`` to a value."""


def evaluated(
    opened: OpenCheckpoint,
    name: str,
    images: Split,
    spelled: Spelling,
    *,
    batch_size: int | None = None,
    option: str = "",
) -> Evaluation:
    """Evaluate an open checkpoint.

    Args:
        opened: the network with its data.
        name: of the split.
        images: the split.
        spelled: for advice.
        batch_size: images per batch; None is the network's.
        option: how the user sets it.

    Raises:
        MnistError: as :meth:`Scorer.log_probabilities`.
    """
    from mnist_cli.inference.misfit import find_misfit

    figures = opened.scorer.evaluate(images, opened.classes, batch_size=batch_size, option=option)
    misfit = find_misfit(opened, figures.score.accuracy, batch_size=batch_size)
    origin = {
        "checkpoint": str(opened.path),
        "model": opened.checkpoint.model,
        "dataset": opened.data.spec.name,
        "split": name,
        "notes": [*opened.checkpoint.notes, *unfinished(opened.path)],
        "normalisation": opened.scale.to_plain(),
        "precision": opened.precision.name,
        "misfit": misfit and misfit.to_plain() | {"message": advice(opened, misfit, spelled)},
    }
    return Evaluation(figures, opened.classes, origin, opened.files(name))


def advice(opened: OpenCheckpoint, misfit: Misfit, spelled: Spelling) -> str:
    """What the user should know, with the words to type if an option helps."""
    now = f"{misfit.accuracy:.1%} of {misfit.images:,} training images are right"
    title = opened.data.spec.title
    if misfit.kind == "other data":
        other = "fashion-mnist" if opened.data.spec.name != "fashion-mnist" else "mnist"
        return (
            f"{opened.path}: {now}: the weights seem to be for another data set than {title}, "
            f"or untrained; name their data set, such as {spelled('dataset', other)}"
        )
    better = f"{misfit.better:.1%}"
    normalise = spelled("normalise", misfit.normalise) if misfit.normalise else ""
    if misfit.kind == "normalisation":
        return (
            f"{opened.path}: {now}, but {better} with {normalise}: the network seems to expect it"
        )
    network = spelled("network", misfit.network or "")
    seen = {
        "network": f"{better} with {network}: the weights seem to be of that network",
        "inverted": f"{better} if inverted: the network expects {_polarity(opened)}",
        "transposed": f"{better} if transposed: the network expects rows as columns",
        "labels": f"{better} in another order of the classes: {_order(opened, misfit.order)}",
    }[misfit.kind]
    also = f" (with {normalise})" if normalise else ""
    return f"{opened.path}: {now}, but {seen}{also}"


def _polarity(opened: OpenCheckpoint) -> str:
    """The opposite of the data set's images."""
    return "light digits on dark" if opened.data.spec.mean > 0.5 else "dark digits on light"


def _order(opened: OpenCheckpoint, order: Sequence[int]) -> str:
    """A sentence that gives the class of each output."""
    names = [opened.classes[one] for one in order]
    return f"outputs {', '.join(map(str, range(len(names))))} stand for {', '.join(names)}"


def _of_module(
    module: nn.Module,
    name: SplitName,
    source: DataSource,
    *,
    normalise: object,
    precision: str | None,
    batch_size: int | None,
) -> Evaluation:
    from mnist_cli.api.guest import classifier_in, visiting, width_of
    from mnist_cli.data.load import load
    from mnist_cli.inference.run_data import choose_split, other_classes

    loaded = classifier_in(module)
    dataset = source.name or (loaded.dataset if loaded is not None else "auto")
    data = load(dataset, source.folder, whole=False)
    if data.fallback:
        caution(f"MNIST is not available; using scikit-learn's bundled digits ({data.fallback})")
    usual = MeanStd(data.spec.mean, data.spec.std)
    with visiting(module, normalisation_given(normalise), usual, precision) as scorer:
        if (width := width_of(scorer)) != len(data.spec.classes):
            raise UsageError(
                f"{scorer.name} has {width} classes, but {data.spec.title} has "
                f"{len(data.spec.classes)}",
                "Name the data set it was trained on: dataset='…'.",
            )
        if loaded is not None and loaded.dataset != "auto":
            for text in other_classes(loaded.classes, data):
                caution(text)
        images = choose_split(name, data, None)
        figures = scorer.evaluate(
            images, data.spec.classes, batch_size=batch_size, option="batch_size"
        )
    scaled = scorer.normalisation
    origin = {
        "checkpoint": None,
        "model": scorer.name,
        "dataset": data.spec.name,
        "split": name,
        "notes": list(loaded.notes) if loaded is not None else [],
        "normalisation": {"mean": scaled.mean, "std": scaled.std, "reason": ""},
        "precision": scorer.precision.name,
        "misfit": None,
    }
    return Evaluation(figures, data.spec.classes, origin, data.files.get(name, ()))
