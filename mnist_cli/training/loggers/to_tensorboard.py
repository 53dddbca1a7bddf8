"""Logs a run as TensorBoard events in its folder: the figures of ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import Norms
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.norms import by_layer
from mnist_cli.training.run_summary import Summary

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
"""Figures of rows of steps, in separate charts: figures of an epoch are means over the epoch."""


class TensorboardLogger(Callback):
    """Writes the figures of steps and of epochs into the run's folder."""

    _writer: Any

    def on_start(self, run: ObservedRun) -> None:
        """Open the event file.

        Events after the steps done so far are hidden: a killed run may have left some.
        """
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard hides this step too; an epoch's figures stand at the step that ended it.
        purge = {"purge_step": run.step + 1} if run.step else {}
        self._writer = SummaryWriter(str(RunDirectory(run.path).tensorboard), **purge)

    def on_step(self, run: ObservedRun, progress: Progress) -> None:
        """Write the figures of steps, so that a killed run has them."""
        self._scalars(STEP_TAGS, progress)
        self._writer.flush()

    def on_epoch(self, run: ObservedRun, progress: Progress) -> None:
        """Write the figures of an epoch, with the norms of each layer."""
        self._scalars(TAGS, progress)
        norms = {name: Norms.from_plain(of) for name, of in progress.norms.items()}
        for layer, of in by_layer(norms).items():
            self._writer.add_scalar(f"gradient/{layer}", of.gradient, progress.step)
            self._writer.add_scalar(f"update_to_weight/{layer}", of.update_to_weight, progress.step)
        self._writer.flush()

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        """Close the event file."""
        self._writer.close()

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        """Close the event file."""
        self._writer.close()

    def _scalars(self, tags: Mapping[str, str], progress: Progress) -> None:
        for tag, key in tags.items():
            if (value := getattr(progress, key)) is not None:
                self._writer.add_scalar(tag, value, progress.step)
