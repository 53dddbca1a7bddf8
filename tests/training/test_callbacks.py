"""Callbacks: when they are called and with what, how they stop a run, and what they cannot change."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bits import SECONDS, differences, rows
from small_runs import MOVED, config, session_in

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import Caution, Interrupted, NonFiniteError, UsageError
from mnist_cli.runs.listing import read_run
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.observer import Observer
from mnist_cli.training.run import RunRequest, drive
from mnist_cli.training.run_summary import Summary


class Recorder(Callback):
    """Keeps each call; does as ``act`` says, by the name of the method and its number."""

    def __init__(self, act: Callable[[str, int], Any] | None = None, every: int = 0) -> None:
        self.every = every
        self.calls: list[tuple[str, Any]] = []
        self._act = act or (lambda _name, _number: None)

    def _keep(self, name: str, run: ObservedRun, value: Any) -> Any:
        self.run = run
        self.calls.append((name, value))
        return self._act(name, len(self.of(name)))

    def of(self, name: str) -> list[Any]:
        return [value for called, value in self.calls if called == name]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def on_start(self, run: ObservedRun) -> None:
        self._keep("start", run, None)

    def on_step(self, run: ObservedRun, progress: Progress) -> Any:
        return self._keep("step", run, progress)

    def on_epoch(self, run: ObservedRun, progress: Progress) -> Any:
        return self._keep("epoch", run, progress)

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        self._keep("end", run, summary)

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        self._keep("error", run, error)


def train(
    folder: Path, *callbacks: Callback, settings: TrainConfig | None = None, resume: bool = False
) -> Summary:
    source = checkpoints.read(folder / "last.pt") if resume else None
    session = session_in(folder, settings or config(), resume=source)
    summary = drive(session, RunRequest(folder, folder, callbacks=callbacks))
    assert summary is not None
    return summary


def document(folder: Path, name: str = "last.pt") -> dict[str, Any]:
    return torch.load(folder / name, weights_only=True)


def stop_at(method: str, number: int) -> Callable[[str, int], Any]:
    return lambda name, count: True if (name, count) == (method, number) else None


def fail_at(
    method: str, number: int = 1, kind: type[Exception] = ZeroDivisionError
) -> Callable[[str, int], Any]:
    def act(name: str, count: int) -> None:
        if (name, count) == (method, number):
            raise kind(f"{name} {count}")

    return act


def test_the_methods_are_called_in_order_with_plain_values(tmp_path: Path) -> None:
    seen = Recorder()
    summary = train(tmp_path, seen)
    assert seen.names == ["start", *["step"] * 3, "epoch", *["step"] * 3, "epoch", "end"]
    assert seen.of("end") == [summary]
    run = seen.run
    assert (run.name, run.path, run.dataset, run.device) == (
        tmp_path.name,
        tmp_path,
        "mnist",
        "cpu",
    )
    assert (run.epochs, run.steps, run.step, run.group) == (2, 6, 0, "")
    assert run.config["lr"] == 0.05
    json.dumps({**run.config})


@pytest.mark.parametrize(("kind", "every"), [("step", 0), ("step", 1), ("epoch", 0)])
def test_the_figures_are_those_of_the_metrics_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, every: int
) -> None:
    monkeypatch.setattr("mnist_cli.training.step.rate_dtype", lambda _device: torch.float32)
    seen = Recorder(every=every)
    train(tmp_path, seen, settings=config(label_smoothing=0.1, schedule="cosine"))
    written = rows(tmp_path, kind)
    assert len(written) == len(seen.of(kind))
    for row, progress in zip(written, seen.of(kind), strict=True):
        own = {key: value for key, value in vars(progress).items() if key in row}
        assert {"train_loss", "train_plain_loss", "val_accuracy", "lr", "grad_norm"} <= set(own)
        if kind == "step":  # the file has a speed for epochs alone
            assert own.pop("images_per_second") > 0
        assert own == {key: row[key] for key in own}
        assert None not in progress.figures().values()


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 5]), (99, [3, 6])])
def test_a_callback_chooses_its_steps(tmp_path: Path, every: int, steps: list[int]) -> None:
    seen = Recorder(every=every)
    train(tmp_path, seen)
    assert [progress.step for progress in seen.of("step")] == steps
    done = [progress.epochs_done for progress in seen.of("step")]
    assert done == pytest.approx([step / 3 for step in steps])


def test_the_loss_is_the_mean_since_the_call_before(tmp_path: Path) -> None:
    """Against the rows of the file: of every step, and of all steps of an epoch."""
    each, rest = Recorder(every=1), Recorder(every=99)
    train(tmp_path, each, rest, settings=config(log_every=1))
    losses = [row["train_loss"] for row in rows(tmp_path, "step")]
    assert [one.train_loss for one in each.of("step")] == pytest.approx(losses)
    epochs = [row["train_loss"] for row in rows(tmp_path, "epoch")]
    assert [one.train_loss for one in rest.of("step")] == pytest.approx(epochs)


@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize(
    ("method", "number", "steps"), [("step", 2, 2), ("step", 3, 3), ("step", 5, 5), ("epoch", 1, 3)]
)
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    tmp_path: Path, method: str, number: int, steps: int, every: int
) -> None:
    settings = config(schedule="onecycle", **MOVED)
    whole, part = tmp_path / "whole", tmp_path / "part"
    expected = train(whole, settings=settings)
    stopping = Recorder(stop_at(method, number), every)
    summary = train(part, stopping, settings=settings)
    assert summary.steps == steps
    assert summary.stop_reason == "the callback Recorder returned True"
    assert json.loads((part / "summary.json").read_text())["stop_reason"] == summary.stop_reason
    assert stopping.names[-2:] == ["epoch", "end"], "what was trained is validated and tested"
    assert stopping.of("epoch")[-1].epochs_done == pytest.approx(steps / 3)
    assert document(part)["position"]["step"] == steps
    record = read_run(part)
    assert (record.state, record.stop_reason) == ("finished", summary.stop_reason)
    with pytest.raises(ZeroDivisionError):
        train(part, Recorder(fail_at("start")), settings=settings, resume=True)
    assert read_run(part).state == "finished"
    seen = Recorder(every=every)
    resumed = train(part, seen, settings=settings, resume=True)
    assert resumed.test == expected.test
    assert resumed.stop_reason == ""
    assert seen.run.step == steps
    assert [one.step for one in seen.of("step")] == list(range(steps + 1, 7))
    for name in ("last.pt", "best.pt"):
        assert differences(document(part, name), document(whole, name), ignore=SECONDS) == []
    at_once = [row["train_loss"] for row in rows(whole, "step")]
    assert [one.train_loss for one in seen.of("step")] == pytest.approx(at_once[steps:])


def test_a_stopped_run_that_goes_on_and_is_interrupted_is_unfinished(tmp_path: Path) -> None:
    train(tmp_path, Recorder(stop_at("step", 2)))
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, Recorder(fail_at("step", 2), every=1), resume=True)
    assert read_run(tmp_path).state == "unfinished"
    assert document(tmp_path)["position"]["step"] == 4


def test_all_are_called_before_one_of_them_stops_the_run(tmp_path: Path) -> None:
    stopping, other = Recorder(stop_at("step", 2)), Recorder()
    train(tmp_path, stopping, other)
    assert other.names == stopping.names


@pytest.mark.parametrize(
    "method", ["on_start", "on_step", "on_epoch", "on_end", "on_error", "nothing"]
)
def test_a_callback_that_disturbs_everything_leaves_the_bits(tmp_path: Path, method: str) -> None:
    threads, folder = torch.get_num_threads(), Path.cwd()

    class Rude(Callback):
        every = 1

    def disturb(_self: Callback, run: ObservedRun, *_values: object) -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        torch.set_num_threads(threads + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        os.chdir("/")
        model = run.model()
        assert not model.training
        model.train()
        for parameter in model.parameters():
            parameter.data.zero_()
            parameter.grad = None
            parameter.requires_grad = False
        run.config.clear()  # type: ignore[attr-defined]

    setattr(Rude, method, disturb)
    settings = config(optimizer="adam", **MOVED)
    train(tmp_path / "alone", settings=settings)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    if method in ("nothing", "on_error"):
        train(tmp_path / "rude", Rude(), settings=settings)
    else:
        with pytest.warns(Caution, match="the callback Rude changes torch's default dtype"):
            train(tmp_path / "rude", Rude(), settings=settings)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]
    for name in ("last.pt", "best.pt"):
        a, b = (document(tmp_path / run, name) for run in ("alone", "rude"))
        assert differences(a, b, ignore=SECONDS) == []
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert Path.cwd() == folder


def test_nobody_who_has_no_step_method_makes_a_step_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quiet(Callback):
        every = 1

        def on_epoch(self, run: ObservedRun, progress: Progress) -> None:
            self.last = progress

    from mnist_cli.training import calling

    def forbidden(*_values: object) -> None:
        raise AssertionError("figures of steps were read")

    monkeypatch.setattr(calling, "rows_between", forbidden)
    quiet = Quiet()
    train(tmp_path / "quiet", quiet, Callback())
    assert quiet.last.epoch == 2
    with pytest.raises(AssertionError, match="were read"):
        train(tmp_path / "listening", Recorder())


def test_the_clock_of_the_training_stands_still_in_a_callback(tmp_path: Path) -> None:
    class Watch(Callback):
        every = 1

        def on_step(self, run: ObservedRun, progress: Progress) -> None:
            before = session.state.clock.elapsed
            sum(range(1000))
            still.append(session.state.clock.elapsed == before)

    still: list[bool] = []
    session = session_in(tmp_path, config())
    drive(session, RunRequest(tmp_path, tmp_path, callbacks=(Watch(),)))
    assert still == [True] * 6


@pytest.mark.parametrize("kind", [ZeroDivisionError, StopIteration])
@pytest.mark.parametrize(
    ("method", "number", "steps"),
    [("start", 1, None), ("step", 2, 2), ("step", 4, 4), ("epoch", 1, 3), ("end", 1, 6)],
)
def test_a_callback_that_raises_ends_the_run_and_the_others_are_told(
    tmp_path: Path, method: str, number: int, steps: int | None, kind: type[Exception]
) -> None:
    first, failing, last = Recorder(), Recorder(fail_at(method, number, kind)), Recorder()
    with pytest.raises(kind, match=f"{method} {number}") as caught:
        train(tmp_path, first, failing, last)
    if method == "end":
        assert [one.names[-1] for one in (first, failing, last)] == ["end"] * 3
        assert (tmp_path / "summary.json").is_file()
        return
    started = [first, failing] if method == "start" else [first, failing, last]
    for one in started:
        assert one.of("error") == [caught.value]
        assert one.of("end") == []
    assert last.calls == [] or method != "start"
    assert not (tmp_path / "summary.json").exists()
    if steps is None:
        return
    assert document(tmp_path)["position"]["step"] == steps
    train(tmp_path / "whole")
    assert train(tmp_path, resume=True).test.count == 11
    assert differences(document(tmp_path), document(tmp_path / "whole"), ignore=SECONDS) == []


def test_an_error_of_on_error_is_noted_and_the_run_ends_with_the_first(tmp_path: Path) -> None:
    class Notes(Observer):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, message: str) -> None:
            self.notes.append(message)

    notes, last = Notes(), Recorder()
    both = Recorder(lambda name, _: 1 / 0 if name in ("step", "error") else None)
    session = session_in(tmp_path, config())
    with pytest.raises(ZeroDivisionError):
        drive(session, RunRequest(tmp_path, tmp_path, (notes,), callbacks=(both, last)))
    assert "Recorder.on_error raised ZeroDivisionError: division by zero" in notes.notes
    assert last.names[-1] == "error"


def test_they_are_told_of_an_interruption(tmp_path: Path) -> None:
    import signal

    seen = Recorder(lambda name, n: signal.raise_signal(signal.SIGINT) if name == "step" else None)
    with pytest.raises(Interrupted):
        train(tmp_path, seen)
    assert seen.names == ["start", "step", "error"]
    assert isinstance(seen.of("error")[0], Interrupted)
    assert document(tmp_path)["position"]["step"] == 1


def test_they_are_told_of_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    seen = Recorder()
    with pytest.raises(NonFiniteError):
        train(tmp_path, seen, settings=config(model="conv2", lr=1e30, clip_norm=0))
    assert seen.names[-1] == "error"


@pytest.mark.parametrize("answer", [1, 0.5, "stop", [], torch.tensor(1.0)])
def test_an_answer_that_is_no_bool_is_refused(tmp_path: Path, answer: object) -> None:
    with pytest.raises(TypeError, match=r"Recorder.on_epoch returned .*return True to stop"):
        train(tmp_path, Recorder(lambda name, _: answer if name == "epoch" else None))


@pytest.mark.parametrize("answer", [True, np.bool_(True), torch.tensor(True)])
def test_any_kind_of_true_stops(tmp_path: Path, answer: object) -> None:
    act = Recorder(lambda name, _: answer if name == "epoch" else False)
    assert train(tmp_path, act).steps == 3


@pytest.mark.parametrize("wrong", [Recorder, "wandb", None, print, object()])
def test_what_is_no_callback_is_refused_before_the_run(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match="is not a callback"):
        RunRequest(tmp_path, tmp_path, callbacks=(wrong,))


@pytest.mark.parametrize("every", [-1, 1.5, "10", True, None])
def test_a_wrong_number_of_steps_is_refused_before_the_run(tmp_path: Path, every: Any) -> None:
    with pytest.raises(UsageError, match="the callback Recorder has every = "):
        RunRequest(tmp_path, tmp_path, callbacks=(Recorder(every=every),))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("on_train_batch_end", "Here it is called on_step."),
        ("on_epoch_end", "Here it is called on_epoch."),
        ("on_exception", "Here it is called on_error."),
        ("on_stepp", "Did you mean 'on_step'?"),
        ("on_plateau", "The methods are on_start, on_step, on_epoch, on_end, on_error."),
    ],
)
def test_a_method_that_nothing_would_call_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    other = type("Other", (Callback,), {name: lambda *_: None})
    with pytest.raises(UsageError, match=f"Other has a method {name}, which nothing calls") as seen:
        RunRequest(tmp_path, tmp_path, callbacks=(other(),))
    assert hint in seen.value.hint


def test_a_callback_may_choose_its_steps_when_the_run_starts(tmp_path: Path) -> None:
    class Late(Recorder):
        def on_start(self, run: ObservedRun) -> None:
            self.every = wanted

    for wanted, steps in ((1, 6), (99, 2)):
        late = Late()
        train(tmp_path / str(wanted), late)
        assert len(late.of("step")) == steps
    wanted = -1
    with pytest.raises(UsageError, match="the callback Late has every = -1"):
        train(tmp_path / "wrong", Late())


def test_a_callback_that_keeps_the_run_does_not_keep_its_memory(tmp_path: Path) -> None:
    seen = Recorder()
    train(tmp_path, seen)
    with pytest.raises(RuntimeError, match="the run has ended; its network is in its folder"):
        seen.run.model()
    seen.run.note("nobody listens")


def test_the_model_is_the_one_that_is_validated(tmp_path: Path) -> None:
    """Of averaged weights, and of an ensemble too."""

    class Weights(Callback):
        def on_epoch(self, run: ObservedRun, progress: Progress) -> None:
            self.last = run.model().state_dict()

    for name, more in {"plain": {}, "ema": {"ema": 0.9}, "two": {"ensemble": 2}}.items():
        weights = Weights()
        train(tmp_path / name, weights, settings=config(val_size=0, **more))
        saved = checkpoints.read(tmp_path / name / "last.pt").build_model().state_dict()
        assert differences(dict(weights.last), dict(saved)) == []
