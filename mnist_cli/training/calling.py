"""Calls the callbacks of a run, with plain values, so that they cannot change its bits."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.devices.kinds import random_state, set_random_state
from mnist_cli.errors import UsageError
from mnist_cli.networks.global_state import others_kept, settings_kept
from mnist_cli.runs.results import EPOCH, EpochResult, StepRow
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.loop import StepResult
from mnist_cli.training.observer import Observer
from mnist_cli.training.run_summary import Summary
from mnist_cli.training.session import Session
from mnist_cli.training.step_log import Mark, due, rows_between

ELSEWHERE = {
    "on_start": "on_train_start on_train_begin on_fit_start on_fit_begin",
    "on_step": "on_train_batch_end on_batch_end on_step_end on_train_step_end",
    "on_epoch": "on_epoch_end on_train_epoch_end on_validation_epoch_end on_validation_end",
    "on_end": "on_train_end on_fit_end on_test_end on_finish",
    "on_error": "on_exception on_failure on_interrupt on_keyboard_interrupt",
}
"""The names of similar methods in Keras, Lightning and other libraries."""


def check_callbacks(callbacks: Sequence[object]) -> None:
    """Before a run begins, refuse objects that are no callbacks or have methods that nothing calls.

    Raises:
        UsageError: names the object.
    """
    for one in callbacks:
        if not isinstance(one, Callback):
            hint = "Give an instance of a class that derives from mnist_cli.Callback."
            raise UsageError(f"{one!r:.80} is not a callback", hint)
        for name in dir(type(one)):
            if name.startswith("on_") and not hasattr(Callback, name):
                raise _unknown_method(type(one).__name__, name)
        if type(one.every) is not int or one.every < 0:
            name = type(one).__name__
            raise UsageError(
                f"the callback {name} has every = {one.every!r:.40}",
                "Give a number of steps, or 0 to follow the run's log.",
            )


def _unknown_method(kind: str, name: str) -> UsageError:
    known = next((ours for ours, theirs in ELSEWHERE.items() if name in theirs.split()), "")
    hint = f"Here it is called {known}." if known else did_you_mean(name, ELSEWHERE)
    return UsageError(
        f"the callback {kind} has a method {name}, which nothing calls",
        hint or f"The methods are {', '.join(ELSEWHERE)}. Rename it if it is for your own use.",
    )


@dataclass
class _Pace:
    """Callbacks that are called at the same steps, and what was measured at the last call."""

    every: int
    callbacks: list[Callback]
    before: Mark | None = None
    images: int = 0
    seconds: float = 0.0
    batch: int = 0

    def begin(self, session: Session) -> None:
        """Start measuring: at the start of the run or of an epoch, or within a resumed epoch."""
        state = session.state
        self.batch, self.images = state.batch, state.running.images
        self.seconds, self.before = state.clock.seconds, None
        if state.batch:
            logged = None if self.every else next(reversed(state.log.marks), None)
            self.before = self._mark(session) if self.every else logged

    def marks(self, session: Session) -> list[Mark]:
        """The sums at each step since the last event after which a call is due."""
        state = session.state
        before, self.batch = self.batch, state.batch
        if not self.every:
            return [mark for mark in state.log.marks if mark.batch > before]
        every = min(self.every, session.loader.batches)
        return [self._mark(session)] if due(before, state.batch, every) else []

    def rows(self, session: Session, marks: Sequence[Mark]) -> list[Progress]:
        """The figures up to each of ``marks``; waits for the device."""
        state, batches = session.state, session.loader.batches
        seconds, images = state.clock.seconds, state.running.images
        speed = (images - self.images) / max(seconds - self.seconds, 1e-9)
        rows = rows_between(self.before, marks, state.epoch, batches)
        self.before, self.images, self.seconds = marks[-1], images, seconds
        return [_progress(row, images_per_second=speed) for row in rows]

    @staticmethod
    def _mark(session: Session) -> Mark:
        state = session.state
        running, lr = state.running, float(state.optimizers[0].param_groups[0]["lr"])
        sums = running.sums.clone()
        return Mark(state.batch, state.step, running.images, running.steps, lr, sums)


class Calls(Observer):
    """Calls the callbacks of one run; as a context manager, it begins and ends them.

    Args:
        session: the run, before its first step.
        callbacks: the callbacks; only the leading rank calls them.
        group: the sweep that the run belongs to, if any.
        note: shows a message to the user.
    """

    def __init__(
        self,
        session: Session,
        callbacks: Sequence[Callback],
        group: str,
        note: Callable[[str], None],
    ) -> None:
        self._session = session
        self._callbacks = callbacks if session.compute.ranks.leads else ()
        self._started: list[Callback] = []
        self._run = _observed(session, group, note)
        self._note = note
        self._paces: list[_Pace] = []
        self._follows_epochs = any(_listens(one, "on_epoch") for one in self._callbacks)

    def __enter__(self) -> Calls:
        """Start the callbacks, and call ``on_error`` of those that were started if one raises.

        This is not a generator function: that would turn a callback's StopIteration into a RuntimeError.
        """
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Call ``on_error`` of the callbacks that were started and not ended, if the block raises."""
        try:
            if error is not None:
                self._call_on_error(error)
        finally:
            self._run.let_go()

    def _start(self) -> None:
        for one in self._callbacks:
            self._started.append(one)
            self._call(one, "on_start")
        check_callbacks(self._callbacks)  # on_start may have set ``every``
        paces: dict[int, _Pace] = {}
        for one in self._callbacks:
            if _listens(one, "on_step"):
                paces.setdefault(one.every, _Pace(one.every, [])).callbacks.append(one)
        self._paces = list(paces.values())
        for pace in self._paces:
            pace.begin(self._session)

    def step(self, session: Session, step: StepResult) -> None:
        """Call the callbacks that are due after this step."""
        for pace in self._paces:
            if marks := pace.marks(session):
                with session.state.clock.paused():
                    for progress in pace.rows(session, marks):
                        self._call_each(pace.callbacks, "on_step", progress)

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Call every callback after an epoch."""
        if self._follows_epochs:
            with session.state.clock.paused():
                done = session.state.epoch + session.state.batch / session.loader.batches
                progress = _progress(result, kind=EPOCH, epochs_done=done)
                self._call_each(self._callbacks, "on_epoch", progress)
        for pace in self._paces:
            pace.begin(session)
        return False

    def end(self, summary: Summary) -> None:
        """Call ``on_end`` of every callback, then raise the first of their errors, if any."""
        failures = []
        while self._started:
            one = self._started.pop(0)
            try:
                self._call(one, "on_end", summary)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _call_each(self, callbacks: Sequence[Callback], method: str, progress: Progress) -> None:
        """Call one method of each callback; then stop the run if a callback asks for it."""
        for one in callbacks:
            try:
                answer = self._call(one, method, progress)
                if _wants_to_stop(answer, one, method):
                    self._session.halt(f"the callback {type(one).__name__} returned True")
            except BaseException:
                self._session.keep()
                raise

    def _call_on_error(self, error: BaseException) -> None:
        for one in self._started:
            try:
                self._call(one, "on_error", error)
            except Exception as second:
                kind = type(second).__name__
                self._note(f"{type(one).__name__}.on_error raised {kind}: {second}")

    def _call(self, callback: Callback, method: str, *values: object) -> Any:
        """Call one method, and restore what would change the bits of the steps that follow."""
        who = f"the callback {type(callback).__name__}"
        with settings_kept(who), generators_kept(self._session.compute.device):
            return getattr(callback, method)(self._run, *values)


@contextlib.contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch, for the CPU and ``device``."""
    own = random_state(device)
    try:
        with others_kept(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        if own is not None:
            set_random_state(device, own)


def _listens(callback: Callback, method: str) -> bool:
    """Whether a callback overrides the method; if not, the run need not wait for the device."""
    own = getattr(callback, method)
    return getattr(own, "__func__", own) is not getattr(Callback, method)


def _wants_to_stop(answer: Any, callback: Callback, method: str) -> bool:
    if answer is None or isinstance(answer, bool):
        return bool(answer)
    if str(getattr(answer, "dtype", "")) in ("bool", "torch.bool"):
        return bool(answer)
    raise TypeError(
        f"{type(callback).__name__}.{method} returned {answer!r:.60}; "
        "return True to stop the run, else None or False"
    )


def _observed(session: Session, group: str, note: Callable[[str], None]) -> ObservedRun:
    config, state, used = session.config, session.state, session.normalisation

    def copied() -> nn.Module:
        return copy.deepcopy(state.eval_model).eval()

    steps = config.epochs * session.loader.batches
    return ObservedRun(
        name=session.run.path.name,
        path=session.run.path,
        config=session.chosen(),
        dataset=session.data.spec.name,
        device=str(session.compute.device),
        classes=tuple(session.data.spec.classes),
        mean=used.mean,
        std=used.std,
        epochs=config.epochs,
        steps=min(steps, config.max_steps) if config.max_steps else steps,
        step=state.step,
        group=group,
        _copy=copied,
        _note=note,
    )


def _progress(row: EpochResult | StepRow, **more: Any) -> Progress:
    """The :class:`Progress` of a row of ``metrics.jsonl``; ``more`` adds values by name."""
    plain = row.to_plain() | more
    return Progress(**{one.name: plain[one.name] for one in fields(Progress)})
