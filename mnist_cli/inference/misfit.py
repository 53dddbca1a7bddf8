"""Whether another program's network expects other images than it gets.

Such a file states neither its normalisation nor its data. Both show on training images, never on
the test set: the same images are classified as they are used, and under other assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mnist_cli.config import normalisations
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import compute_settings
from mnist_cli.errors import MnistError
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks.ensemble import vote
from mnist_cli.training import scoring

FEW, MANY = 500, 5000
"""Images of the first look, and of the second if the first does not decide.

A difference of 0.3 points is 1.5 of 500 images, but 15 of 5,000: two standard errors or more if
the answers change between right and wrong for at most 1.1% of the images.
"""
EVIDENT, SURE = 4.0, 2.0
"""Standard errors of the paired difference that the first look, and the second, must show."""
LEAST = 0.003
"""The smallest difference that is worth a word."""
USABLE = 0.9
"""Accuracy below which more than the normalisation may be wrong, so more is tried."""
FOUND = 0.6
"""Accuracy that an assumption about polarity, orientation or labels must reach."""
KNOWING = 0.25
"""Share of the way from chance to 1 below which a network knows nothing of the images."""


@dataclass(frozen=True)
class Misfit:
    """What a network seems to expect.

    Attributes:
        kind: the normalisation; images that are inverted or transposed; labels in another order;
            or another data set.
        accuracy: on the training images, as the network is used.
        better: the same as expected; None for another data set.
        images: number of these images.
        normalise: the normalisation as expected, as text; None if it is the one in use.
        order: for ``labels``, the class that each output stands for.
    """

    kind: Literal["normalisation", "inverted", "transposed", "labels", "other data"]
    accuracy: float
    better: float | None
    images: int
    normalise: str | None = None
    order: tuple[int, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for documents."""
        return {**vars(self), "order": list(self.order)}


@dataclass(frozen=True)
class _View:
    """An assumption about the images that a network expects."""

    normalisation: Normalisation
    kind: Literal["normalisation", "inverted", "transposed"] = "normalisation"

    def __call__(self, images: Tensor) -> Tensor:
        if self.kind == "inverted":
            return 255 - images
        return images.mT.contiguous() if self.kind == "transposed" else images


def find_misfit(opened: OpenCheckpoint, accuracy: float) -> Misfit | None:
    """What another program's network seems to expect, if it does better with that.

    Nothing is tried if the normalisation is known or was asked for, unless the accuracy is at
    chance, nor on data that replace MNIST.

    Args:
        opened: the network with its data.
        accuracy: what it has just reached, on any split.
    """
    unsure = opened.scale.guessed or _at_chance(accuracy, opened.checkpoint.classes)
    if not (opened.checkpoint.foreign and unsure) or opened.data.fallback:
        return None
    try:
        with compute_settings(opened.device):
            return _examine(opened)
    except MnistError:  # training images that cannot be read, or too little memory
        return None


def _examine(opened: OpenCheckpoint) -> Misfit | None:
    few, used = opened.data.train.spread(FEW), _View(opened.normalisation)
    said = {view: _answers(opened, view, few) for view in (used, *_usual(used))}
    best = _best(said, few)
    if _share(said[best], few) < USABLE:
        said |= {view: _answers(opened, view, few) for view in _unusual(used)}
        best = _best(said, few)
    if _share(said[best], few) >= FOUND:
        return None if best == used else _confirmed(opened, used, best, few, said)
    for view, answers in said.items():
        if found := _relabelled(few, said[used], answers):
            return replace(found, normalise=_spelled(view, used))
    if _at_chance(_share(said[best], few), opened.checkpoint.classes):
        return Misfit("other data", _share(said[used], few), None, len(few))
    return None


def _usual(used: _View) -> Iterator[_View]:
    """The other common normalisations."""
    for pair in normalisations.NAMED.values():
        if (view := _View(Normalisation(*pair))) != used:
            yield view


def _unusual(used: _View) -> Iterator[_View]:
    """Grey levels from 0 to 255; dark digits on light; images stored column by column."""
    yield _View(Normalisation(0.0, 1 / 255))
    for view in (used, *_usual(used)):
        yield replace(view, kind="inverted")
        yield replace(view, kind="transposed")


def _answers(opened: OpenCheckpoint, view: _View, split: Split) -> Tensor:
    """The classes (N,) that the network gives the images, on the CPU."""
    scores = scoring.predict(
        opened.model,
        replace(split, images=view(split.images)).to(opened.device),
        view.normalisation,
        batch_size=opened.batch_size,
        precision=opened.precision,
        by_member=True,
    )
    return vote(scores).argmax(1)


def _best(said: Mapping[_View, Tensor], split: Split) -> _View:
    """The view with the most right answers; of equal ones the first."""
    return max(said, key=lambda view: _share(said[view], split))


def _share(answers: Tensor, split: Split) -> float:
    return (answers == split.labels).double().mean().item()


def _at_chance(accuracy: float, classes: int) -> bool:
    return accuracy < 1 / classes + KNOWING * (1 - 1 / classes)


def _confirmed(
    opened: OpenCheckpoint, used: _View, best: _View, few: Split, said: Mapping[_View, Tensor]
) -> Misfit | None:
    """The better view, if it is better by more than chance would have it."""
    look, before, after = few, said[used], said[best]
    if not _is_better(before, after, look, EVIDENT):
        look = opened.data.train.spread(MANY)
        before, after = (_answers(opened, view, look) for view in (used, best))
        if not _is_better(before, after, look, SURE):
            return None
    accuracies = _share(before, look), _share(after, look)
    return Misfit(best.kind, *accuracies, len(look), _spelled(best, used))


def _is_better(before: Tensor, after: Tensor, split: Split, errors: float) -> bool:
    """Whether paired answers to the same images are better by ``errors`` standard errors.

    With b images that only the second gets right, and c that only the first does, the difference
    b - c has a standard error of sqrt(b + c) if both are equally good (McNemar 1947).
    """
    first, second = before == split.labels, after == split.labels
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    gain = gained - lost
    return gain >= LEAST * len(split) and gain > 0 and gain >= errors * math.sqrt(gained + lost)


def _spelled(view: _View, used: _View) -> str | None:
    values = view.normalisation
    if values == used.normalisation:
        return None
    return normalisations.spelled(values.mean, values.std)


def _relabelled(split: Split, used: Tensor, answers: Tensor) -> Misfit | None:
    """The classes in another order, if each output is mostly given to one class of its own."""
    classes = int(max(answers.max(), split.labels.max())) + 1
    counts = torch.bincount(answers * classes + split.labels, minlength=classes**2)
    counts = counts.view(classes, classes)
    order = counts.argmax(1)
    share = counts.amax(1).sum().item() / len(split)
    if share < FOUND or len(order.unique()) < classes:
        return None
    return Misfit("labels", _share(used, split), share, len(split), order=tuple(order.tolist()))
