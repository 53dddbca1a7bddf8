"""Warnings that a run does not learn. Changes nothing in the run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from mnist_cli.runs.listing import command_on
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.session import Session

NAMED = 6
"""Maximum number of parameters that a warning names."""


ENOUGH = 100
"""Minimum number of images from which the accuracy shows whether a network learns."""


def before_training(session: Session) -> Iterator[str]:
    """Warnings that follow from the configuration and the number of images."""
    images, size = session.train_images, session.config.images_per_step
    if images < size:
        keys, either = "batch_size", "batch_size"
        if session.config.accumulate > 1:
            keys, either = "batch_size × accumulate", "batch_size or accumulate"
        yield (
            f"{keys} = {size:,} is more than the {images:,} training images: an epoch is a single "
            f"step, {session.config.epochs:,} in the whole run; choose a smaller {either}"
        )


def after_epoch(session: Session, result: EpochResult) -> Iterator[str]:
    """Warnings after the first epoch that this process trained; waits for the device."""
    cut_off = without_gradient(result)
    if cut_off:
        names = ", ".join(cut_off[:NAMED])
        more = len(cut_off) - NAMED
        yield (
            f"{names}{f' and {more} more' if more > 0 else ''} "
            f"{'gets' if len(cut_off) == 1 else 'get'} no gradient (measured in the middle of "
            f"epoch {result.epoch}): `{_inspection(session)}` shows where it stops"
        )
    whole = not session.state.partial  # a few steps are no reason to doubt
    if whole and (chance := at_chance(session, result)):
        yield chance


def without_gradient(result: EpochResult) -> list[str]:
    """The parameters whose gradient was missing or all zero in the epoch's measured step.

    Empty if this holds for all parameters but not in other steps: fp16's scaler skipped the step.
    """
    still = [name for name, norms in result.norms.items() if norms.gradient == 0]
    return [] if len(still) == len(result.norms) and result.grad_norm > 0 else still


def at_chance(session: Session, result: EpochResult) -> str:
    """A warning if the accuracy is no better than always answering with the most frequent class.

    A better accuracy is more than two standard errors above that class's share. Uses the validation
    set, or the training set if that is small. Empty if it is better, or if there are few images.
    """
    labels, which = session.data.train.labels, "training"
    accuracy, count = result.accuracy, session.train_images
    if session.val is not None and result.val is not None and result.val.count >= ENOUGH:
        labels, which = session.val.labels, "validation"
        accuracy, count = result.val.accuracy, result.val.count
    if count < ENOUGH:
        return ""
    share = torch.bincount(labels).max().item() / len(labels)
    if accuracy > share + 2 * math.sqrt(share * (1 - share) / count):
        return ""
    return (
        f"after epoch {result.epoch} the {which} accuracy of {accuracy:.2%} is at chance: always "
        f"answering the most frequent class gives {share:.2%}; try another learning rate (lr = "
        f"{session.config.lr:g}), and `{_inspection(session)}`"
    )


def _inspection(session: Session) -> str:
    return command_on("inspect-grad", session.run.path, model=session.config.model)
