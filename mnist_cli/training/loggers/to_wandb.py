"""Logs a run to Weights & Biases."""

from __future__ import annotations

import os
import uuid
import warnings
from typing import Any

from mnist_cli.errors import Caution
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.loggers import keep_id, kept_id
from mnist_cli.training.run_summary import Summary


class WandbLogger(Callback):
    """One run of Weights & Biases, in the project ``WANDB_PROJECT`` or ``mnist``.

    A resumed run continues under its id. Without an account, the run is logged offline.
    """

    way_out = "Set WANDB_MODE=offline to log without a network"
    _run: Any

    def on_start(self, run: ObservedRun) -> None:
        """Begin the run, or continue it; never asks for a key."""
        import wandb

        mode = os.environ.get("WANDB_MODE")
        inside = wandb.run is not None  # a run of the caller's own, which has logged in
        known = bool(mode) or inside or wandb.login(prompt=False, verify=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mnist"),
            name=run.name,
            id=kept_id(run, "wandb") or keep_id(run, "wandb", uuid.uuid4().hex[:12]),
            resume="allow",
            reinit="create_new",
            group=run.group or None,
            config=dict(run.config),
            dir=run.path,
            mode=None if known else "offline",
            settings=wandb.Settings(
                console="off", silent=True, disable_code=True, disable_git=True, finish_timeout=60
            ),
        )
        place = self._run.settings.sync_dir if self._run.offline else self._run.url
        run.note(f"wandb: {place}")
        if not known:
            message = "wandb is not logged in, so the run is logged offline; send it later with: "
            warnings.warn(f"{message}wandb sync {place}", Caution, stacklevel=2)

    def on_step(self, run: ObservedRun, progress: Progress) -> None:
        """Log the figures of steps, or of an epoch."""
        self._run.log(progress.figures(), step=progress.step)

    on_epoch = on_step

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        """Log the result on the test set."""
        self._run.summary.update(summary.figures())
        self._run.finish()

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        """Mark the run as failed."""
        self._run.finish(exit_code=getattr(error, "code", 1))
