"""TensorBoard events of a run: the figures of ``metrics.jsonl``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mnist_cli.runs.results import EpochResult
from mnist_cli.training.norms import by_layer
from mnist_cli.training.observer import Observer
from mnist_cli.training.session import Session

TAGS = {
    "loss/train": "train_loss",
    "loss/validation": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "val_accuracy",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "images_per_second": "images_per_second",
}


class EventLog(Observer):
    """Writes each epoch's figures into the run directory."""

    _writer: Any

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Keep the event file open.

        Events after the steps done so far are hidden: a killed run may have left some.
        """
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard hides this step too; an epoch's figures stand at the step that ended it.
        done = session.state.step
        purge = {"purge_step": done + 1} if done else {}
        with SummaryWriter(str(session.run.tensorboard), **purge) as self._writer:
            yield

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Write one epoch, at its step."""
        figures = result.to_plain()
        for tag, key in TAGS.items():
            if figures[key] is not None:
                self._writer.add_scalar(tag, figures[key], result.step)
        for layer, norms in by_layer(result.norms).items():
            self._writer.add_scalar(f"gradient/{layer}", norms.gradient, result.step)
            ratio = norms.update_to_weight
            self._writer.add_scalar(f"update_to_weight/{layer}", ratio, result.step)
        return False
