"""A whole run in its directory: what it leaves, and how it stops and goes on."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bits import SECONDS, differences
from small_runs import CPU, MOVED, config, loaded, session_in, split

from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.split import Normalisation
from mnist_cli.errors import (
    CheckpointError,
    Interrupted,
    NonFiniteError,
    OutOfMemory,
    OutputError,
)
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.history import read_metrics
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.guard import DeferredGuard
from mnist_cli.training.loop import StepResult
from mnist_cli.training.run_summary import Summary
from mnist_cli.training.session import Session


class StopAfter(StopRequest):
    """Asked to stop as soon as so many events have been seen."""

    def __init__(self, events: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.left, self.number = events, number

    def seen(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.signal = self.number


def run(session: Session, stop: StopAfter | None = None) -> Summary:
    stop = StopAfter(10**9) if stop is None else stop
    for _ in session.events(stop):
        stop.seen()
    return session.finish()


def document(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def resumed(folder: Path, settings: TrainConfig, source: Path | None = None) -> Session:
    checkpoint = checkpoints.read(source or folder / "last.pt")
    return session_in(folder, settings, resume=checkpoint)


def test_a_run_leaves_what_the_contract_says(tmp_path: Path) -> None:
    settings = config(seed=9)
    summary = run(session_in(tmp_path, settings))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("best.pt", "config.toml", "environment.json", "last.pt", "metrics.jsonl", "summary.json")
    ]
    written = (tmp_path / "config.toml").read_text()
    chosen = {"dataset": "mnist", "threads": torch.get_num_threads()}  # where it says auto
    assert TrainConfig(**tomllib.loads(written)) == settings.model_copy(update=chosen)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["dataset"] == "mnist"
    metrics = (tmp_path / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in metrics]
    assert [(line["kind"], line["epoch"]) for line in lines] == [
        *[*[("step", 1)] * 3, ("epoch", 1), *[("step", 2)] * 3, ("epoch", 2)]
    ]
    assert len({tuple(sorted(set(line) - {"epochs_done"})) for line in lines}) == 1
    lines = [line for line in lines if line["kind"] == "epoch"]
    assert set(lines[0]) == {
        *("kind", "epoch", "step", "train_loss", "train_plain_loss", "train_accuracy"),
        *(
            "val_loss",
            "val_accuracy",
            "val_count",
            "lr",
            "grad_norm",
            "images_per_second",
            "seconds",
            "norms",
        ),
    }
    on_disk = json.loads((tmp_path / "summary.json").read_text())
    assert on_disk == summary.to_plain()
    assert {"run", "checkpoint", "dataset", "model", "epochs", "train_seconds", "test"} <= set(
        on_disk
    )
    assert set(on_disk["test"]) == {"loss", "accuracy", "count"}
    assert on_disk["train_seconds"] == pytest.approx(sum(line["seconds"] for line in lines))


def test_the_test_set_is_read_with_the_best_checkpoint(tmp_path: Path) -> None:
    summary = run(session_in(tmp_path, config()))
    assert summary.checkpoint == str(tmp_path / "best.pt")
    model = checkpoints.read(tmp_path / "best.pt").build_model()
    test = loaded().test
    with torch.no_grad():
        output = model((test.images.float() / 255 - 0.1307) / 0.3081)
    assert summary.test.accuracy == (output.argmax(1) == test.labels).sum().item() / 11
    assert summary.test.loss == pytest.approx(F.nll_loss(output, test.labels).item(), rel=1e-4)
    assert summary.test.count == 11


def test_best_is_the_epoch_that_validation_prefers(tmp_path: Path) -> None:
    run(session_in(tmp_path, config(model="conv2", optimizer="adam", lr=0.02, epochs=6)))
    metrics = document(tmp_path / "last.pt")["metrics"]
    preferred = max(metrics, key=lambda m: (m["val_accuracy"], -m["val_loss"], m["epoch"]))
    assert document(tmp_path / "best.pt")["position"]["epoch"] == preferred["epoch"]


def test_without_validation_the_last_checkpoint_is_the_result(tmp_path: Path) -> None:
    summary = run(session_in(tmp_path, config(val_size=0)))
    assert summary.checkpoint == str(tmp_path / "last.pt")
    assert not (tmp_path / "best.pt").exists()


def test_a_session_prints_nothing_and_leaves_torchs_switches(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    session = session_in(tmp_path, config(threads=before + 1))
    seen = [torch.get_num_threads() for _ in session.events(StopRequest())]
    session.finish()
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("events", range(1, 9))
def test_stopped_anywhere_and_resumed_the_files_are_the_same(tmp_path: Path, events: int) -> None:
    """Ctrl-C after every event, the epochs' last batches and ends included; dropout, augmentation."""
    settings = config(schedule="onecycle", **MOVED)
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole_summary = run(session_in(whole, settings))
    session = session_in(part, settings)
    if events < 8:
        with pytest.raises(Interrupted) as caught:
            run(session, StopAfter(events))
        assert str(part / "last.pt") in caught.value.message
    else:  # asked to stop when all is done: there is nothing to leave
        run(session, StopAfter(events))
    torch.manual_seed(99)
    session = resumed(part, settings)
    assert session.differences == []
    summary = run(session)
    for name in ("last.pt", "best.pt"):
        assert differences(document(part / name), document(whole / name), ignore=SECONDS) == []
    assert summary.test == whole_summary.test
    lines = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole, part)
    ]
    assert differences(*lines, ignore=SECONDS) == []


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    first = run(session_in(tmp_path, config()))
    before = document(tmp_path / "last.pt")
    session = resumed(tmp_path, config())
    assert list(session.events(StopRequest())) == []
    assert differences(document(tmp_path / "last.pt"), before) == []
    assert session.finish().test == first.test


@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_checkpoints_are_written_every_so_many_batches(tmp_path: Path, every: int) -> None:
    session, seen = session_in(tmp_path, config(checkpoint_every=every)), []
    for event in session.events(StopRequest()):
        seen.append((session.state.step, document(tmp_path / "last.pt")["position"]["step"]))
        assert isinstance(event, StepResult | EpochResult)
    steps = (1, 2, 3, 3, 4, 5, 6, 6)
    ends = (0, 0, 0, 3, 3, 3, 3, 6)
    saved = [
        max([end, *(s for s in range(1, step + 1) if s % every == 0 and s % 3)])
        for step, end in zip(steps, ends, strict=True)
    ]
    assert seen == list(zip(steps, saved, strict=True))


def test_a_loss_that_is_no_longer_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    session = session_in(tmp_path, config(model="conv2", checkpoint_every=1))

    def poison() -> None:
        for event in session.events(StopRequest()):
            if isinstance(event, EpochResult):
                with torch.no_grad():
                    session.state.model.get_parameter("fc1.bias")[0] = float("nan")

    with pytest.raises(NonFiniteError, match="at step 4"):
        poison()
    assert checkpoints.read(tmp_path / "last.pt").document["position"]["step"] == 3


@pytest.mark.parametrize(
    ("lr", "message", "saved"),
    [
        (1e60, r"weight 'conv1.weight' holds NaN or infinity after step 1; last.pt keeps an", 0),
        (1e36, r"last\.pt: the test loss is nan", 1),
    ],
)
def test_a_step_whose_weights_overflow(tmp_path: Path, lr: float, message: str, saved: int) -> None:
    with pytest.raises(NonFiniteError, match=message):
        run(session_in(tmp_path, config(model="conv2", lr=lr, max_steps=1, val_size=0)))
    assert document(tmp_path / "last.pt")["position"]["step"] == saved


def test_a_validation_loss_that_is_not_finite_is_null_in_the_metrics(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="the test loss is nan"):
        run(session_in(tmp_path, config(model="conv2", lr=1e36, max_steps=1)))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    strict = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert (strict[-1]["val_loss"], strict[-1]["val_count"]) == (None, 6)
    val = read_metrics(RunDirectory(tmp_path)).epochs[-1].val
    assert val is not None
    assert math.isnan(val.loss)


def test_no_checkpoint_is_written_once_a_deferred_guard_has_seen_a_bad_step(tmp_path: Path) -> None:
    """Its weights would be good, but a batch norm has already averaged the bad batch in."""
    session = session_in(tmp_path, config(model="conv4", checkpoint_every=1))
    session.state.guard = DeferredGuard(CPU, session.state.optimizers)

    def poison() -> None:
        for event in session.events(StopRequest()):
            if isinstance(event, StepResult) and event.batch == 1:
                session.loader._split.images[:] = 0  # type: ignore[attr-defined]
                session.loader._normalisation = Normalisation(0.0, 0.0)  # type: ignore[attr-defined]

    with pytest.raises(NonFiniteError, match="at step 2"):
        poison()
    saved = checkpoints.read(tmp_path / "last.pt")
    assert saved.document["position"]["step"] == 1
    assert all(tensor.isfinite().all() for tensor in saved.weights.values())


def test_the_batch_size_that_is_named_fits(tmp_path: Path) -> None:
    session = session_in(tmp_path, config(optimizer="adam"))
    sizes: list[int] = []

    def narrow(_module: object, images: tuple[torch.Tensor]) -> None:
        sizes.append(len(images[0]))
        if len(images[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    session.state.model.register_forward_pre_hook(narrow)
    with pytest.raises(OutOfMemory, match="at batch_size 8") as caught:
        run(session)
    assert sizes == [8, 6, 3], "the step, and half as many again as 4 and as 2"
    assert caught.value.hint == "Set batch_size to 2, which fits."
    assert not session.state.optimizers[0].state, "the rehearsal has trained the run's own network"


def test_a_full_disk_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_in(tmp_path, config())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        next(iter(session.events(StopRequest())))
    assert session.state.step == 0
    assert list(tmp_path.iterdir()) == []


def test_other_data_than_it_was_trained_on_are_refused(tmp_path: Path) -> None:
    import dataclasses

    with pytest.raises(Interrupted):
        run(session_in(tmp_path, config()), StopAfter(2))
    other = dataclasses.replace(loaded(), read_train=lambda: split(29, seed=1))
    with pytest.raises(CheckpointError, match="trained on different data"):
        session_in(tmp_path, config(), resume=checkpoints.read(tmp_path / "last.pt"), data=other)


def test_threads_of_the_configuration_are_no_difference(tmp_path: Path) -> None:
    settings = config(threads=torch.get_num_threads() + 1)
    with pytest.raises(Interrupted):
        run(session_in(tmp_path, settings), StopAfter(2))
    assert resumed(tmp_path, settings).differences == []
    changed = resumed(tmp_path, config()).differences
    assert [line.partition(":")[0] for line in changed] == ["threads per operation"]


def test_resumed_elsewhere_the_best_so_far_comes_along(tmp_path: Path) -> None:
    """Else a run that gets no better would be judged by its last epoch."""
    settings = config()
    run(session_in(tmp_path / "old", settings))
    best = tmp_path / "old" / "best.pt"
    session = resumed(tmp_path / "new", settings, best)
    next(iter(session.events(StopRequest())), None)
    assert differences(document(tmp_path / "new" / "best.pt"), document(best)) == []


def test_resumed_elsewhere_in_mid_epoch_nothing_is_called_best_yet(tmp_path: Path) -> None:
    """The best so far is the epoch's end, and these weights have been trained beyond it."""
    with pytest.raises(Interrupted):
        run(session_in(tmp_path / "old", config()), StopAfter(6))
    session = resumed(tmp_path / "new", config(), tmp_path / "old" / "last.pt")
    next(iter(session.events(StopRequest())))
    assert (tmp_path / "new" / "last.pt").is_file()
    assert not (tmp_path / "new" / "best.pt").exists()


def test_killed_between_last_and_best_the_best_is_made_good(tmp_path: Path) -> None:
    """The epoch was the best so far: last.pt knows it, best.pt is still an older one."""
    session = session_in(tmp_path, config())
    events: Any = session.events(StopRequest())
    next(event for event in events if isinstance(event, EpochResult))
    events.close()
    right = checkpoints.read(session.run.best).document
    older = session_in(tmp_path / "older", config())
    older.save()
    session.run.best.write_bytes(older.run.last.read_bytes())
    resumed = session_in(tmp_path, config(), resume=checkpoints.read(session.run.last))
    events = resumed.events(StopRequest())
    next(events)
    events.close()
    assert differences(checkpoints.read(session.run.best).document, right) == []
