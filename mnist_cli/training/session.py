"""A whole training run: the loop, and everything that a run directory holds.

:class:`Session` iterates over :func:`mnist_cli.training.loop.fit`, writes between its yields and
passes its events to the caller, which can show them. It prints nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import tomlkit
import torch
from torch import nn

from mnist_cli.base.files import atomic_write
from mnist_cli.base.signals import StoppedWaiting, StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.checkpoint import Checkpoint, DataInfo
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.batches import Batching, build_loader
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import Normalisation
from mnist_cli.devices.device import compute_settings, describe
from mnist_cli.devices.memory import ask_for_room, explain_out_of_memory
from mnist_cli.errors import CheckpointError, NonFiniteError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.results import Score, StepRow, line_of, metric_rows
from mnist_cli.training import graphed, snapshot
from mnist_cli.training.compute import Compute
from mnist_cli.training.halving import threads_in_all, threads_of_each
from mnist_cli.training.loop import Event, StepResult, fit, report, validate
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.ranks import HALT
from mnist_cli.training.run_summary import Summary
from mnist_cli.training.scoring import predict, score
from mnist_cli.training.starting import Start
from mnist_cli.training.state import TrainState, fresh_state, normalisation_of
from mnist_cli.training.step import rehearse_step


class Session:
    """One run in one directory, fresh or resumed.

    Args:
        config: the run's configuration.
        data: the data set, on the CPU.
        compute: device, precision and ranks. Only the leading rank writes; the others call the
            same methods, and know the run's path.
        run: the directory to write, locked by the caller.
        resume: the checkpoint to continue from; None begins a run.
        start: the weights to begin with; None draws fresh ones.

    Attributes:
        normalisation: of every image: the one that the network's class states, else the data
            set's; for a resumed run, the one that it began with.
        start_notes: in words, what the run starts from; empty if its weights are fresh.
        differences: differences from the machine of ``resume`` that can change the bits, in words.
        lacks_best: whether an earlier epoch is the best, and its checkpoint is missing.
        recipe: where the configuration comes from, in the user's words.

    Raises:
        UsageError: the configuration asks for more images than there are.
        CheckpointError: ``resume`` does not fit the configuration or the data.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: LoadedData,
        compute: Compute,
        run: RunDirectory,
        resume: Checkpoint | None = None,
        start: Start | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.compute = compute
        self.run = run
        self.differences: list[str] = []
        self.lacks_best = False
        self.recipe = ""
        self._halting = ""
        self.normalisation = normalisation_of(config.model, data)
        if resume is not None and resume.data is not None:
            self.normalisation = Normalisation(resume.data.mean, resume.data.std)
        self.start_notes = start.notes(len(data.spec.classes), self.normalisation) if start else []
        with self._settings(threads_in_all(config, compute.pair)):
            parts = data.cut(config)
        self.val = parts.val.to(compute.device) if parts.val else None
        train, self.train_images = parts.train.to(compute.device), len(parts.train)
        self.loader = build_loader(
            Batching.of(config), train, self.normalisation, compute.ranks.part
        )
        self.state: TrainState = fresh_state(config, compute, len(data.spec.classes), start)
        ask_for_room()  # a refusal here leaves no run directory behind
        self.state.clock.seconds = parts.seconds
        if resume is not None:
            self._check_data(resume)
            with self._settings():  # its number of threads is compared
                self.differences = snapshot.restore(resume, self.state, self.loader.generator)

    def _settings(self, threads: int = 0) -> AbstractContextManager[None]:
        return compute_settings(
            self.compute.device,
            threads=threads or threads_of_each(self.config, self.compute.pair),
            deterministic=self.config.deterministic,
        )

    def _check_data(self, resume: Checkpoint) -> None:
        if resume.data is not None and resume.data.fingerprint != self.data.fingerprint:
            raise CheckpointError(
                f"{resume.path} was trained on different data: "
                f"{resume.data.name} with fingerprint {resume.data.fingerprint[:20]}…, "
                f"not {self.data.fingerprint[:20]}…",
                "Restore the images, or name the folder that holds them as the data set."
                if self.data.spec.own
                else "Name the data directory that was used in training.",
            )

    def events(self, stop: StopRequest) -> Iterator[Event]:
        """Train to the end, saving as configured, and yield each step and each epoch.

        Raises:
            Stopped: ``stop`` came true, here or on another rank; ``last.pt`` holds everything up
                to this batch.
            NonFiniteError, OutOfMemory, OutputError: ``last.pt`` holds the last good state.
        """
        ranks, capturer = self.compute.ranks, None
        self.loader.waiting = stop.waiting
        # With several ranks, a step by one rank alone would wait for the others.
        schedule = LearningRate(self.config, self.loader.batches)
        rehearse = partial(rehearse_step, self.state, schedule) if ranks.size == 1 else None
        if self.compute.captured:
            capturer = graphed.CudaCapturer(self.compute.device)
        with (
            self._settings(),
            explain_out_of_memory(self.config.batch_size, rehearse=rehearse, multiple=ranks.size),
            contextlib.closing(self.loader),
        ):
            if ranks.leads:
                self._write_beginning()
            try:
                yield from self._steps(stop, capturer)
            except StoppedWaiting:
                self._leave(stop)

    def _steps(self, stop: StopRequest, capturer: graphed.Capturer | None) -> Iterator[Event]:
        for event in fit(self.state, self.loader, self.val, self.normalisation, capturer):
            if not isinstance(event, StepResult) or self._due(event):
                self.keep()
            yield event
            signal = self.compute.ranks.agree(HALT if self._halting else stop.signal)
            if signal == HALT:
                self.state.halted = self._halting or "the leading rank stopped it"
            elif signal and not self.state.finished:
                stop.signal = signal
                self._leave(stop)

    def halt(self, reason: str) -> None:
        """On the leading rank: end the run after this event, as a limit of steps does."""
        self._halting = self._halting or reason

    def keep(self) -> None:
        """Save the run as it stands between two steps, so that it can be resumed from here."""
        self.save()
        self._write_metrics()

    def _due(self, event: StepResult) -> bool:
        every = self.config.checkpoint_every
        return bool(every) and self.state.step % every == 0 and event.batch < event.batches

    def _leave(self, stop: StopRequest) -> None:
        self.keep()
        state = self.state
        raise stop.error(
            f"stopped in epoch {state.epoch + 1} after {state.batch} of {self.loader.batches} "
            f"batches; everything up to there is in {self.run.last}"
        )

    def _write_beginning(self) -> None:
        """Write everything that is known, so that a full or read-only disk fails here.

        A run that continues after a limit or a callback stopped it has no result until its end.
        """
        if not self.state.finished:
            self.run.summary.unlink(missing_ok=True)
        atomic_write(self.run.config, tomlkit.dumps(self.chosen()))
        environment = {
            **snapshot.environment(self.state),
            "device_name": describe(self.compute.device),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "command": sys.argv,
            "recipe": self.recipe,
            "dataset": self.data.spec.name,
            "fingerprint": self.data.fingerprint,
            "start": self.state.started_at("path"),
            "start_sha256": self.state.started_at("sha256"),
            "fallback": self.data.fallback,
            "remarks": list(self.data.remarks),
        }
        atomic_write(self.run.environment, json.dumps(environment, indent=2) + "\n")
        self._write_metrics()
        self.save()

    def differences_from(self, environment: Mapping[str, Any]) -> list[str]:
        """Differences from another run's ``environment.json`` that can change bits, in words."""
        with self._settings():
            now = snapshot.environment(self.state)
        now |= {
            "fingerprint": self.data.fingerprint,
            "start_sha256": self.state.started_at("sha256"),
        }
        return snapshot.differences({**now, **environment}, now)

    def chosen(self) -> dict[str, Any]:
        """The configuration with the choices of ``auto`` and torch: it repeats the run here.

        A checkpoint holds the configuration as requested, so that a run can be resumed on another
        machine.
        """
        compute, plain = self.compute, self.config.to_plain()
        kind = compute.device.type
        plain["device"] = kind if compute.ranks.size > 1 else str(compute.device)
        plain["precision"] = compute.precision.name
        if not self.data.spec.own:
            plain["dataset"] = self.data.spec.name
        if kind == "cpu":
            chosen = self.config.threads or torch.get_num_threads()
            plain["threads"] = chosen if compute.pair is None else compute.pair.threads
        if self.config.halves == "auto":  # its choice is in the run's environment
            del plain["halves"]
        if kind == "cuda":
            plain["cuda_graph"] = compute.captured
        elif self.config.cuda_graph == "auto":  # has no effect here
            del plain["cuda_graph"]
        return plain

    def _write_metrics(self) -> None:
        if self.compute.ranks.leads:
            with self.state.clock.paused():
                rows = metric_rows(self.steps, self.state.history)
                atomic_write(self.run.metrics, "".join(map(line_of, rows)))

    @property
    def steps(self) -> list[StepRow]:
        """The figures every few steps so far; waits for the device."""
        state = self.state
        return state.log.rows + state.log.pending(state.epoch, self.loader.batches)

    def save(self) -> None:
        """Write ``last.pt``, and at the end of the best epoch ``best.pt``; the clock is paused.

        Raises:
            NonFiniteError: the loss was no longer finite, so a step was skipped; or a weight is
                not finite.
            OutputError: the disk is full or read-only; the earlier files are intact.
        """
        with self.state.clock.paused():
            report(self.state, self.loader)
            snapshot.check_weights(self.state, len(self.data.spec.classes))
            if self.compute.ranks.leads:
                document = snapshot.capture(self.state, self._data_info(), self.loader.generator)
                best = [self.run.best] if self.state.at_best else []
                checkpoints.write(document, self.run.last, *best)

    def _data_info(self) -> DataInfo:
        spec, used = self.data.spec, self.normalisation
        return DataInfo(
            spec.name,
            self.data.fingerprint,
            spec.classes,
            used.mean,
            used.std,
            brightness=None if used == self.data.normalisation else spec.mean,
            mnist_form=spec.mnist_form,
        )

    def score_start(self) -> Score | None:
        """Validation score of the weights that the run starts from; None if they are fresh.

        All ranks call it. It draws no random numbers, so the run keeps its bits.
        """
        if self.state.start is None or self.state.step or self.val is None:
            return None
        size = self.config.eval_batch_size
        with self._settings(), explain_out_of_memory(size, "eval_batch_size"):
            return validate(self.state, self.val, self.normalisation)

    def score_test(self, model: nn.Module | None = None) -> Score:
        """Loss and accuracy on the test set, by default of the network in its present state.

        For :meth:`finish` and for benchmarks; never used to choose anything.
        """
        with self._settings():
            log_probabilities = predict(
                self.state.eval_model if model is None else model,
                self.data.test.to(self.compute.device),
                self.normalisation,
                batch_size=self.config.eval_batch_size,
                precision=self.compute.precision,
                pair=self.compute.pair,
            )
        return score(log_probabilities, self.data.test.labels)

    def finish(self) -> Summary:
        """Evaluate the run's chosen checkpoint on the test set, once; write the summary.

        Raises:
            NonFiniteError: the test loss is not finite.
        """
        path = self.run.checkpoint()
        best = checkpoints.read(path, self.config.model)
        test = self.score_test(best.build_model().to(self.compute.device))
        if not math.isfinite(test.loss):
            raise NonFiniteError(
                f"{path}: the test loss is {test.loss}",
                "Lower the learning rate (lr), or train in fp32 (precision = fp32).",
            )
        summary = Summary(
            run=str(self.run.path),
            checkpoint=str(path),
            dataset=self.data.spec.name,
            model=self.config.model,
            epochs=self.state.epoch,
            train_seconds=self.state.clock.seconds,
            test=test,
            device=str(self.compute.device),
            device_name=describe(self.compute.device),
            precision=self.compute.precision.name,
            seed=self.config.seed,
            stop_reason=self.state.stop_reason,
            steps=self.state.step,
            rest=self.state.batch,
            fallback=self.data.fallback,
            ensemble=self.config.ensemble,
            start=self.state.started_at("path"),
            start_sha256=self.state.started_at("sha256"),
        )
        atomic_write(self.run.summary, json.dumps(summary.to_plain(), indent=2) + "\n")
        return summary
