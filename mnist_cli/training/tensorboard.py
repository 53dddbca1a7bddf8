"""TensorBoard events of a run: the figures of ``metrics.jsonl``, for those who watch them there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_cli.errors import UsageError
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.norms import by_layer

TAGS = {
    "loss/train": "train_loss",
    "loss/validation": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "val_accuracy",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "images_per_second": "images_per_second",
}


class EventLog:
    """Writes each epoch's figures; without a writer, nowhere."""

    def __init__(self, writer: Any = None) -> None:
        self._writer = writer

    def epoch(self, result: EpochResult) -> None:
        """Write one epoch, at its step."""
        if self._writer is None:
            return
        figures = result.to_plain()
        for tag, key in TAGS.items():
            if figures[key] is not None:
                self._writer.add_scalar(tag, figures[key], result.step)
        for layer, norms in by_layer(result.norms).items():
            for tag, figure in (
                ("gradient", norms.gradient),
                ("update_to_weight", norms.update_to_weight),
            ):
                self._writer.add_scalar(f"{tag}/{layer}", figure, result.step)


@contextlib.contextmanager
def open_log(folder: Path | None, *, first_step: int = 0) -> Iterator[EventLog]:
    """A log in ``folder``; None is a log that writes nothing.

    Events after ``first_step``, the steps done so far, are hidden: a killed run may have left some.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    if folder is None:
        yield EventLog()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs the package tensorboard, which is not installed",
            "Install it with: pip install 'mnist-cli[tensorboard]'",
        ) from error
    # TensorBoard hides this step too; an epoch's figures stand at the step that ended it.
    purge = {"purge_step": first_step + 1} if first_step else {}
    writer = SummaryWriter(str(folder), **purge)
    try:
        yield EventLog(writer)
    finally:
        writer.close()
