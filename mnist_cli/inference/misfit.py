"""Finds out whether another program's network expects other images than it gets.

Its file states neither its normalisation nor its data. Training images, never the test set, show
both: the same images are classified as they are used, and under other assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnist_cli.base.seeding import derive
from mnist_cli.config import normalisations
from mnist_cli.config.names import ModelName
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import compute_settings
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import vote
from mnist_cli.training import scoring

FEW, MANY = 500, 3000
"""Number of images of the first look, and of the second if the first does not decide.

A difference of 0.3 points is 1.5 of 500 images, but 9 of 3,000. That is at least two standard
errors if the answers change between right and wrong for at most 0.7% of the images.
"""
EVIDENT, SURE = 4.0, 2.0
"""Standard errors of the paired difference that the first look, and the second, must show."""
LEAST = 0.003
"""The smallest difference that is reported."""
USABLE = 0.9
"""Below this accuracy, more than the normalisation may be wrong, so more is tried."""
LITTLE, ENOUGH = 0.25, 0.55
"""Shares of the way from chance to 1: below the first, a network knows nothing of the images.

An assumption must reach the second. For ten classes, the accuracies are 32.5% and 59.5%.
"""
SWAPPED = 0.1
"""Accuracy that another order of the classes must gain: two swapped classes of ten lose 20%."""


@dataclass(frozen=True)
class Misfit:
    """What a network seems to expect.

    Attributes:
        kind: another normalisation; another network, with the same names and shapes of weights;
            inverted or transposed images; labels in another order; or another data set.
        accuracy: on the training images, as the network is used.
        better: accuracy on them if used as expected; None for another data set.
        images: number of these images.
        normalise: the expected normalisation, as text; None if it is in use.
        order: for ``labels``, the class that each output stands for.
        network: for ``network``, its name.
    """

    kind: Literal["normalisation", "network", "inverted", "transposed", "labels", "other data"]
    accuracy: float
    better: float | None
    images: int
    normalise: str | None = None
    order: tuple[int, ...] = ()
    network: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for documents."""
        return {**vars(self), "order": list(self.order)}


@dataclass(frozen=True)
class _View:
    """An assumption about the images that a network expects."""

    normalisation: Normalisation
    kind: Literal["normalisation", "network", "inverted", "transposed"] = "normalisation"

    def __call__(self, images: Tensor) -> Tensor:
        if self.kind == "inverted":
            return 255 - images
        return images.mT.contiguous() if self.kind == "transposed" else images


def find_misfit(
    opened: OpenCheckpoint, accuracy: float, *, batch_size: int | None = None
) -> Misfit | None:
    """What another program's network seems to expect, if this improves its accuracy.

    Nothing is tried on data that replace MNIST. Nor is anything tried if the normalisation is known
    or was requested, unless the accuracy is near chance.

    Args:
        opened: the network with its data.
        accuracy: its accuracy, just measured on any split.
        batch_size: images per batch; None is the network's.
    """
    unsure = opened.scale.guessed or accuracy < _level(LITTLE, opened.checkpoint.classes)
    if not (opened.checkpoint.foreign and unsure) or opened.data.fallback:
        return None
    look = partial(_look, opened, batch_size or opened.batch_size)
    try:
        with compute_settings(opened.device):
            return _examine(opened, look)
    except Exception:  # damaged training images, or a user's network that refuses some levels
        return None


def _examine(opened: OpenCheckpoint, look: Look) -> Misfit | None:
    few, used = _some(opened, FEW), _View(opened.normalisation)
    tried = [used, *_usual(used)]
    if _twin(opened):
        tried += [replace(view, kind="network") for view in tried]
    results = {view: look(view, few) for view in tried}
    best = _best(results, used)
    if results[best].accuracy < USABLE:
        results |= {view: look(view, few) for view in _unusual(used)}
        best = _best(results, used)
        if misfit := _relabelled(used, best, results):
            return misfit
    if not results[best].knows(LITTLE):
        return Misfit("other data", results[used].accuracy, None, len(few))
    if best == used or not results[best].knows(ENOUGH):
        return None
    if not _is_better(results[used], results[best], EVIDENT):
        many = _some(opened, MANY)
        results |= {view: look(view, many) for view in (used, best)}
        if not _is_better(results[used], results[best], SURE):
            return None
    return _misfit(opened, used, best, results)


def _some(opened: OpenCheckpoint, count: int) -> Split:
    """Training images in a fixed random order: a file may repeat its classes in turn."""
    generator = torch.Generator().manual_seed(derive(0, "misfit"))
    train = opened.data.train
    return train.take(torch.randperm(len(train), generator=generator)[:count])


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


@dataclass(frozen=True)
class _Result:
    """The network's log-probabilities (N, classes) for images, and their labels (N,)."""

    scores: Tensor
    labels: Tensor

    @cached_property
    def answers(self) -> Tensor:
        return self.scores.argmax(1)

    @cached_property
    def right(self) -> Tensor:
        return self.answers == self.labels

    @property
    def accuracy(self) -> float:
        return self.right.double().mean().item()

    @cached_property
    def counts(self) -> Tensor:
        """Images by output and label (classes, classes), int64."""
        classes = self.scores.shape[1]
        pairs = self.answers * classes + self.labels
        return torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    @property
    def order(self) -> tuple[int, ...]:
        """For each output, the most frequent label of the images that get it."""
        return tuple(self.counts.argmax(1).tolist())

    @property
    def explained(self) -> float:
        """The accuracy if each output stood for that class."""
        return self.counts.amax(1).sum().item() / len(self.labels)

    def knows(self, share: float) -> bool:
        """Whether the accuracy is at least this share of the way from chance to 1."""
        return self.accuracy >= _level(share, self.scores.shape[1])

    @property
    def rank(self) -> tuple[float, float]:
        """Accuracy; if equal, the smaller loss."""
        return self.accuracy, -functional.nll_loss(self.scores, self.labels).item()


Look = Callable[[_View, Split], _Result]


def _look(opened: OpenCheckpoint, batch_size: int, view: _View, split: Split) -> _Result:
    scores = scoring.predict(
        _network(opened, view),
        replace(split, images=view(split.images)).to(opened.device),
        view.normalisation,
        batch_size=batch_size,
        precision=opened.precision,
        by_member=True,
    )
    return _Result(vote(scores), split.labels)


def _twin(opened: OpenCheckpoint) -> str | None:
    """Another network whose weights have the same names and shapes, if there is one."""
    return models.ALIKE.get(opened.checkpoint.model)


def _network(opened: OpenCheckpoint, view: _View) -> nn.Module:
    twin = _twin(opened) if view.kind == "network" else None
    if twin is None:
        return opened.model
    other = replace(opened.checkpoint, model=ModelName(twin))
    return other.build_model().to(opened.device)


def _best(results: Mapping[_View, _Result], used: _View) -> _View:
    """The best view, but with the normalisation in use if another one is hardly better."""
    best = max(results, key=lambda view: results[view].rank)
    plain = replace(used, kind=best.kind)
    doubt = best.kind != "normalisation" and not _is_better(results[plain], results[best], SURE)
    return plain if doubt else best


def _level(share: float, classes: int) -> float:
    return 1 / classes + share * (1 - 1 / classes)


def _misfit(
    opened: OpenCheckpoint, used: _View, best: _View, results: Mapping[_View, _Result]
) -> Misfit:
    figures = results[used].accuracy, results[best].accuracy, len(results[best].labels)
    twin = _twin(opened) if best.kind == "network" else None
    return Misfit(best.kind, *figures, _spelled(best, used), network=twin)


def _is_better(before: _Result, after: _Result, errors: float) -> bool:
    """Whether paired answers to the same images are better by ``errors`` standard errors.

    Let b images be right only after, and c only before. If both are equally good, the difference
    b - c has a standard error of sqrt(b + c) (McNemar 1947).
    """
    gained = int((after.right & ~before.right).sum())
    lost = int((before.right & ~after.right).sum())
    least = max(LEAST * len(after.labels), errors * math.sqrt(gained + lost))
    return gained - lost >= least > 0


def _spelled(view: _View, used: _View) -> str | None:
    values = view.normalisation
    if values == used.normalisation:
        return None
    return normalisations.spelled(values.mean, values.std)


def _relabelled(used: _View, best: _View, results: Mapping[_View, _Result]) -> Misfit | None:
    """Another order of the classes, if that explains far more answers than the labels do."""
    view = max(results, key=lambda one: results[one].explained)
    result, known = results[view], results[best].accuracy
    classes = result.scores.shape[1]
    enough = max(_level(ENOUGH, classes), known + SWAPPED)
    if result.explained < enough or len(set(result.order)) < classes:
        return None
    values = results[used].accuracy, result.explained, len(result.labels)
    return Misfit("labels", *values, _spelled(view, used), result.order)
