"""TensorBoard events of a run: the figures of ``metrics.jsonl``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_cli.runs.results import EpochResult
from mnist_cli.training.norms import by_layer
from mnist_cli.training.observer import Observer
from mnist_cli.training.session import Session

TAGS = {
    "loss/train": "train_loss",
    "loss/validation": "val_loss",
    "loss/train_without_smoothing": "train_plain_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "val_accuracy",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "images_per_second": "images_per_second",
}


STEP_TAGS = {
    "steps/loss": "train_loss",
    "steps/loss_without_smoothing": "train_plain_loss",
    "steps/accuracy": "train_accuracy",
    "steps/learning_rate": "lr",
    "steps/gradient_norm": "grad_norm",
}
"""Figures of rows of steps: charts of their own, since an epoch's are means over the epoch."""


class EventLog(Observer):
    """Writes each epoch's figures, and those of its steps, into the run directory."""

    _writer: Any
    _written: int

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Keep the event file open.

        Events after the steps done so far are hidden: a killed run may have left some.
        """
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard hides this step too; an epoch's figures stand at the step that ended it.
        done = session.state.step
        purge = {"purge_step": done + 1} if done else {}
        self._written = len(session.state.log.rows)
        with SummaryWriter(str(session.run.tensorboard), **purge) as self._writer:
            yield

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Write the steps of an epoch and the epoch, each at its step."""
        rows = session.steps
        for row in rows[self._written :]:
            self._scalars(STEP_TAGS, row.to_plain())
        self._written = len(rows)
        self._scalars(TAGS, result.to_plain())
        for layer, norms in by_layer(result.norms).items():
            self._writer.add_scalar(f"gradient/{layer}", norms.gradient, result.step)
            ratio = norms.update_to_weight
            self._writer.add_scalar(f"update_to_weight/{layer}", ratio, result.step)
        return False

    def _scalars(self, tags: Mapping[str, str], row: Mapping[str, Any]) -> None:
        for tag, key in tags.items():
            if row[key] is not None:
                self._writer.add_scalar(tag, row[key], row["step"])
