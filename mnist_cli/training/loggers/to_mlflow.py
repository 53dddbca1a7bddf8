"""Logs a run to MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from mnist_cli.errors import Stopped
from mnist_cli.runs.results import EPOCH, STEP
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.loggers import keep_id, kept_id
from mnist_cli.training.run_summary import Summary

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class MlflowLogger(Callback):
    """One run of MLflow, in the experiment ``MLFLOW_EXPERIMENT_NAME`` or ``mnist``.

    The store is MLflow's own choice: ``MLFLOW_TRACKING_URI``, or a file in the working directory.
    A resumed run continues its log.
    """

    way_out = "Set MLFLOW_TRACKING_URI to a store that answers, such as sqlite:///mlflow.db"
    _client: Any
    _id: str
    _logged: dict[str, int]

    def on_start(self, run: ObservedRun) -> None:
        """Begin the run, or continue it."""
        from mlflow import MlflowClient

        self._client, self._logged = MlflowClient(), {}
        self._id = kept_id(run, "mlflow")
        if self._id:
            self._call("update_run", self._id, status="RUNNING")
            for kind in (STEP, EPOCH):
                history = self._call("get_metric_history", self._id, f"{kind}/lr")
                self._logged[kind] = max((metric.step for metric in history), default=0)
        else:
            self._id = keep_id(run, "mlflow", self._new_run(run))
        run.note(f"mlflow: run {self._id} in {self._client.tracking_uri}")

    def _new_run(self, run: ObservedRun) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mnist")
        known = self._call("get_experiment_by_name", name)
        number = known.experiment_id if known else self._call("create_experiment", name)
        tags = {"group": run.group, "dataset": run.dataset, "device": run.device}
        made = self._call("create_run", number, tags=tags, run_name=run.name)
        params = [Param(key, str(value)) for key, value in run.config.items()]
        self._call("log_batch", made.info.run_id, params=params)
        return str(made.info.run_id)

    def _call(self, method: str, *values: Any, **named: Any) -> Any:
        """Call MLflow, which then retries for 6 seconds instead of its default of 4 minutes."""
        chosen = RETRIES in os.environ
        os.environ.setdefault(RETRIES, "2")
        try:
            return getattr(self._client, method)(*values, **named)
        finally:
            if not chosen:
                del os.environ[RETRIES]

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in figures.items()]
        self._call("log_batch", self._id, metrics=metrics)

    def on_step(self, run: ObservedRun, progress: Progress) -> None:
        """Log figures that are not logged yet: a killed run may have passed its checkpoint."""
        if progress.step > self._logged.get(progress.kind, 0):
            self._log(progress.figures(), progress.step)

    on_epoch = on_step

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        """Log the result on the test set."""
        self._log(summary.figures(), summary.steps)
        self._call("set_terminated", self._id, "FINISHED")

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        """Mark the run as failed, or as killed if it was interrupted."""
        status = "KILLED" if isinstance(error, Stopped) else "FAILED"
        self._call("set_terminated", self._id, status)
