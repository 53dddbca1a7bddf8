"""Evaluates a network on a split: predictions, accuracy, loss and other metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli.base.pair import Pair
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import Precision
from mnist_cli.devices.memory import EVALUATION, explain_out_of_memory
from mnist_cli.networks.ensemble import Ensemble, vote
from mnist_cli.runs.results import Score
from mnist_cli.training.ranks import ALONE, Ranks

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class, fractions of 1; 0 if they are undefined."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: the image's number in its file, its label, the prediction, its confidence."""

    index: int
    label: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class Evaluation:
    """All figures of a network on a split.

    ``confusion[true][predicted]`` counts images. ``calibration_error`` is the expected calibration
    error (Guo et al. 2017) over 15 equal bins of confidence. ``mistakes`` begin with the most
    confident. For an ensemble, they describe the vote; ``members`` are its members' own scores.
    """

    score: Score
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    mistakes: tuple[Mistake, ...]
    members: tuple[Score, ...] = ()

    @property
    def mean_member_accuracy(self) -> float:
        """The mean of the members' accuracies; for a single network, its accuracy."""
        scores = self.members or (self.score,)
        return sum(member.accuracy for member in scores) / len(scores)


@torch.no_grad()
def predict(
    model: nn.Module,
    split: Split,
    normalisation: Normalisation,
    *,
    batch_size: int,
    precision: Precision,
    option: str = EVALUATION,
    ranks: Ranks = ALONE,
    pair: Pair | None = None,
    by_member: bool = False,
) -> Tensor:
    """Log-probabilities (N, classes), float32 on the CPU, of every image of the split.

    The network is put into evaluation mode, and its mode is restored afterwards.

    Args:
        model: the network; an ensemble votes.
        split: the images, on the network's device.
        normalisation: of the training set.
        batch_size: number of images in a batch.
        precision: of the network.
        option: the key or option that sets the batch size; empty if none does.
        ranks: they take the batches in turn, and each gets the whole result.
        pair: two threads that take half of the batches each; None takes all in this thread.
        by_member: return those of each of M members (M, N, classes); M is 1 for a single network.

    Raises:
        OutOfMemory: the device has too little memory for a batch; names a size that fits.
    """

    def scores_of(batches: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():  # each thread has its own grad mode
            return [_scores(model, images, normalisation, precision) for images in batches]

    def first(count: int) -> Tensor:
        return _scores(model, split.images[:count], normalisation, precision)

    was_training = model.training
    model.eval()
    batches = split.images.split(batch_size)[ranks.rank :: ranks.size]
    try:
        with explain_out_of_memory(min(batch_size, len(split)), option, first):
            scores = pair.divide(scores_of, batches) if pair else scores_of(batches)
            if not scores:  # more ranks than batches; a network may fail on 0 images
                scores = [first(1)[:, :0]]
    finally:
        model.train(was_training)
    result = torch.cat(scores, dim=1).cpu()
    if ranks.size > 1:
        result = _joined(result, len(split), batch_size, ranks)
    return result if by_member else vote(result)


def _joined(mine: Tensor, count: int, batch_size: int, ranks: Ranks) -> Tensor:
    """Put every rank's batches (M, n, classes) in their places among all (M, count, classes)."""
    numbers = torch.arange(count).split(batch_size)[ranks.rank :: ranks.size]
    whole = mine.new_zeros(mine.shape[0], count, mine.shape[2])
    if numbers:
        whole[:, torch.cat(numbers)] = mine
    return ranks.add(whole)


def _scores(
    model: nn.Module, images: Tensor, normalisation: Normalisation, precision: Precision
) -> Tensor:
    """Log-probabilities (M, B, classes) of each member."""
    images = normalisation(images.to(torch.float32, copy=True))  # normalised in place
    with precision.autocast():
        scores = model.scores(images) if isinstance(model, Ensemble) else model(images)[None]
    return F.log_softmax(scores.float(), dim=2)


def score(log_probabilities: Tensor, labels: Tensor) -> Score:
    """Loss and accuracy of log-probabilities (N, classes) for labels (N,)."""
    labels = labels.cpu()
    correct = (log_probabilities.argmax(1) == labels).sum().item()
    return Score(
        loss=F.nll_loss(log_probabilities.double(), labels).item(),
        accuracy=correct / len(labels),
        count=len(labels),
    )


def evaluate(log_probabilities: Tensor, split: Split, classes: tuple[str, ...]) -> Evaluation:
    """All figures of log-probabilities for a split of N images.

    Log-probabilities are (N, classes), or (M, N, classes) of M members that vote.
    """
    labels = split.labels.cpu()
    members: tuple[Score, ...] = ()
    if log_probabilities.ndim == 3:
        if len(log_probabilities) > 1:
            members = tuple(score(mine, labels) for mine in log_probabilities)
        log_probabilities = vote(log_probabilities)
    pairs = labels * len(classes) + log_probabilities.argmax(1)
    confusion = torch.bincount(pairs, minlength=len(classes) ** 2).view(-1, len(classes))
    return Evaluation(
        score=score(log_probabilities, labels),
        per_class=_per_class(confusion, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration_error=_calibration_error(log_probabilities, labels),
        mistakes=_mistakes(log_probabilities, labels, split.indices),
        members=members,
    )


def _per_class(confusion: Tensor, names: tuple[str, ...]) -> tuple[ClassFigures, ...]:
    hits = confusion.diagonal().double()
    precision = (hits / confusion.sum(0)).nan_to_num(0.0)
    recall = (hits / confusion.sum(1)).nan_to_num(0.0)
    f1 = (2 * precision * recall / (precision + recall)).nan_to_num(0.0)
    support = confusion.sum(1).tolist()
    columns = zip(names, precision.tolist(), recall.tolist(), f1.tolist(), support, strict=True)
    return tuple(ClassFigures(*column) for column in columns)


def _calibration_error(log_probabilities: Tensor, labels: Tensor) -> float:
    """Mean gap between confidence and accuracy, weighted by the number of images in each bin."""
    log_confidence, predicted = log_probabilities.double().max(1)
    confidence = log_confidence.exp().clamp(max=1.0)
    bins = (confidence * CALIBRATION_BINS).ceil().long().sub(1).clamp(0, CALIBRATION_BINS - 1)
    gap = (predicted == labels).double() - confidence
    per_bin = torch.zeros(CALIBRATION_BINS, dtype=torch.float64).index_add_(0, bins, gap)
    return (per_bin.abs().sum() / len(labels)).item()


def _mistakes(log_probabilities: Tensor, labels: Tensor, indices: Tensor) -> tuple[Mistake, ...]:
    confidence, predicted = log_probabilities.max(1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)]
    return tuple(
        Mistake(
            index=int(indices[i]),
            label=int(labels[i]),
            predicted=int(predicted[i]),
            confidence=float(confidence[i].exp()),
        )
        for i in surest.tolist()
    )
