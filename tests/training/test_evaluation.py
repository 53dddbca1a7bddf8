"""Figures of an evaluation against scikit-learn's, and the calibration against its paper."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from rounding import assert_as_accurate
from sklearn import metrics
from small_runs import FP32, NORMALISATION, split, state_of
from small_runs import config as small_config
from torch import Tensor, nn

from mnist_cli.data.split import Split
from mnist_cli.devices.device import Precision
from mnist_cli.training.scoring import evaluate, predict, score

CLASSES = tuple("abcdefghij")


def answers(count: int = 500, seed: int = 0, sure: float = 3.0) -> tuple[Tensor, Split]:
    """Log-probabilities that are right more often than not, and the images they are of."""
    source = torch.Generator().manual_seed(seed)
    images = split(count, seed)
    logits = torch.randn(count, 10, generator=source)
    logits[torch.arange(count), images.labels] += sure * torch.rand(count, generator=source)
    return torch.log_softmax(logits, 1), images


@pytest.mark.parametrize("seed", range(3))
def test_loss_accuracy_and_confusion_are_scikit_learns(seed: int) -> None:
    log_probabilities, images = answers(seed=seed)
    result = evaluate(log_probabilities, images, CLASSES)
    truth, said = images.labels.numpy(), log_probabilities.argmax(1).numpy()
    probabilities = log_probabilities.double().exp().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = metrics.log_loss(truth, probabilities, labels=list(range(10)))
    assert result.score.loss == pytest.approx(expected, rel=1e-5)
    assert result.score.accuracy == metrics.accuracy_score(truth, said)
    assert result.score.count == 500
    assert result.score == score(log_probabilities, images.labels)
    confusion = metrics.confusion_matrix(truth, said, labels=list(range(10)))
    assert np.array_equal(np.array(result.confusion), confusion)


@pytest.mark.parametrize("case", ["usual", "a class never said", "a class not there", "both"])
def test_figures_by_class_are_scikit_learns(case: str) -> None:
    log_probabilities, images = answers()
    if case in ("a class never said", "both"):
        log_probabilities[:, 3] = -100.0
    if case in ("a class not there", "both"):
        images.labels[images.labels == (3 if case == "both" else 7)] = 2
    result = evaluate(log_probabilities, images, CLASSES)
    expected = metrics.precision_recall_fscore_support(
        images.labels.numpy(),
        log_probabilities.argmax(1).numpy(),
        labels=list(range(10)),
        zero_division=0,
    )
    ours = [(row.precision, row.recall, row.f1, row.support) for row in result.per_class]
    np.testing.assert_allclose(np.array(ours).T, np.array(expected), rtol=1e-12)
    assert tuple(row.name for row in result.per_class) == CLASSES


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, equations 2 and 3: sum over bins of |B|/n |acc(B) - conf(B)|."""
    confidence, said = probabilities.max(1), probabilities.argmax(1)
    total = 0.0
    for m in range(1, bins + 1):
        chosen = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if chosen.any():
            gap = (said[chosen] == labels[chosen]).mean() - confidence[chosen].mean()
            total += chosen.mean() * abs(gap)
    return total


@pytest.mark.parametrize("sure", [0.0, 3.0, 30.0])
def test_the_calibration_error_is_the_papers(sure: float) -> None:
    log_probabilities, images = answers(sure=sure)
    probabilities = log_probabilities.double().exp().numpy()
    expected = calibration_error(probabilities, images.labels.numpy())
    found = evaluate(log_probabilities, images, CLASSES).calibration_error
    assert found == pytest.approx(expected, abs=1e-7)


def test_mistakes_come_surest_first_with_their_numbers_in_the_file() -> None:
    log_probabilities, images = answers(60)
    taken = images.take(torch.arange(59, -1, -1))
    mistakes = evaluate(log_probabilities.flip(0), taken, CLASSES).mistakes
    said = log_probabilities.argmax(1)
    wrong = [i for i in range(60) if said[i] != images.labels[i]]
    assert sorted(mistake.index for mistake in mistakes) == wrong
    confidences = [mistake.confidence for mistake in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    for mistake in mistakes:
        assert mistake.label == images.labels[mistake.index]
        assert mistake.predicted == said[mistake.index]
        expected = log_probabilities[mistake.index].exp().max().item()
        assert mistake.confidence == pytest.approx(expected)


# --- predicting


class Counting(nn.Module):
    """Says which image it saw, from a pixel, and how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.sizes.append(len(images))
        pixels = (images[:, 0, 0, 0] * 255 * 0.3081 + 255 * 0.1307).round()
        return torch.stack([pixels, torch.zeros_like(pixels)], 1)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_every_image_is_seen_once_and_in_order(batch: int, sizes: list[int]) -> None:
    images = split(7)
    images.images[:, 0, 0, 0] = torch.arange(7, dtype=torch.uint8)
    before, model = images.images.clone(), Counting().train()
    out = predict(model, images, NORMALISATION, batch_size=batch, precision=FP32)
    assert (out[:, 0] - out[:, 1]).round().tolist() == list(range(7))
    assert model.sizes == sizes
    assert model.training
    assert torch.equal(images.images, before)


def test_the_mode_comes_back_even_after_a_failure() -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("no")

    model = Failing().train()
    with pytest.raises(RuntimeError):
        predict(model, split(2), NORMALISATION, batch_size=1, precision=FP32)
    assert model.training


@pytest.mark.parametrize("name", ["notebook", "conv4"])
def test_scores_become_log_probabilities(name: str) -> None:
    """Whatever it returns, in fp32 and in bf16."""
    model, images = state_of(small_config(model=name)).model.eval(), split(9)
    with torch.no_grad():
        pixels = (images.images.double() / 255 - 0.1307) / 0.3081
        exact = torch.log_softmax(copy.deepcopy(model).double()(pixels), 1)
        for precision in (FP32, Precision("bf16", "cpu")):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is not FP32):
                usual = torch.log_softmax(model(pixels.float()).float(), 1)
            found = predict(model, images, NORMALISATION, batch_size=4, precision=precision)
            assert found.dtype == torch.float32
            assert_as_accurate(found, usual, exact)
