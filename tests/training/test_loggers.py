"""Loggers: what each program is sent, by stand-ins; and what the real packages read back."""

from __future__ import annotations

import importlib
import inspect
import os
import struct
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from bits import SECONDS, differences
from small_runs import config, session_in

import mnist_cli as mnist
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.errors import Caution, DependencyError, Interrupted, OutputError, UsageError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.loggers import logger
from mnist_cli.training.loggers.to_tensorboard import STEP_TAGS, TAGS, TensorboardLogger
from mnist_cli.training.run import RunRequest, drive


class StopAt(Callback):
    """Ends the run, or fails, at a step."""

    every = 1

    def __init__(self, step: int, error: BaseException | None = None) -> None:
        self.step, self.error = step, error

    def on_step(self, run: ObservedRun, progress: Progress) -> bool:
        if progress.step == self.step and self.error is not None:
            raise self.error
        return progress.step == self.step


def train(folder: Path, name: str, *more: Callback, resume: bool = False, group: str = "") -> None:
    source = checkpoints.read(folder / "last.pt") if resume else None
    session = session_in(folder, config(), resume=source)
    callbacks = (logger(name), *more)
    drive(session, RunRequest(folder, folder, callbacks=callbacks, group=group))


@pytest.fixture
def calls() -> list[tuple[str, dict[str, Any]]]:
    return []


class Recording:
    """Records the calls of the methods that a stand-in declares, by their own parameters."""

    def __init__(self, calls: list[Any], broken: dict[str, Exception]) -> None:
        self.calls, self.broken = calls, broken

    def record(self, name: str, arguments: dict[str, Any]) -> None:
        self.calls.append((name, {k: v for k, v in arguments.items() if k != "self"}))
        if name in self.broken:
            raise self.broken[name]


class WandbRun(Recording):
    offline, url = True, None
    settings = SimpleNamespace(sync_dir="offline-run-1")

    @property
    def summary(self) -> Any:
        return SimpleNamespace(update=lambda values: self.record("summary", {"values": values}))

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self.record("log", locals())

    def finish(self, exit_code: int | None = None) -> None:
        self.record("finish", locals())


class Client(Recording):
    tracking_uri = "sqlite:///mlflow.db"

    def get_experiment_by_name(self, name: str) -> None:
        self.record("get_experiment_by_name", locals())

    def create_experiment(self, name: str) -> str:
        self.record("create_experiment", locals())
        return "7"

    def create_run(self, experiment_id: str, tags: Any = None, run_name: str | None = None) -> Any:
        self.record("create_run", locals())
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def update_run(self, run_id: str, status: str | None = None) -> None:
        self.record("update_run", locals())

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        self.record("get_metric_history", locals())
        batches = [arguments for name, arguments in self.calls if name == "log_batch"]
        logged = [metric for batch in batches for metric in batch["metrics"]]
        return [SimpleNamespace(step=metric.step) for metric in logged if metric.key == key]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.record("log_batch", locals())

    def set_terminated(self, run_id: str, status: str | None = None) -> None:
        self.record("set_terminated", locals())


class Metric:
    def __init__(self, key: str, value: float, timestamp: int, step: int) -> None:
        self.key, self.value, self.timestamp, self.step = key, value, timestamp, step


class Param:
    def __init__(self, key: str, value: str) -> None:
        self.key, self.value = key, value


def login(prompt: bool = True, verify: bool = True) -> bool:
    return False


def init(
    project: str | None = None,
    name: str | None = None,
    id: str | None = None,
    resume: str | None = None,
    reinit: str | None = None,
    group: str | None = None,
    config: dict[str, Any] | None = None,
    dir: Any = None,
    mode: str | None = None,
    settings: Any = None,
) -> WandbRun:
    raise NotImplementedError


@pytest.fixture
def stand_in(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, calls: list[Any]
) -> dict[str, Exception]:
    """The package ``request.param`` is one that records; a name in the dict makes a call raise."""
    broken: dict[str, Exception] = {}
    recording = Recording(calls, broken)

    def begin(**values: Any) -> WandbRun:
        recording.record("init", inspect.signature(init).bind(**values).arguments)
        return WandbRun(calls, broken)

    packages = {
        "wandb": {"init": begin, "login": login, "Settings": dict, "run": None},
        "mlflow": {"MlflowClient": lambda: Client(calls, broken)},
        "mlflow.entities": {"Metric": Metric, "Param": Param},
    }
    for name, content in packages.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return broken


def sent(calls: list[Any], name: str) -> list[dict[str, Any]]:
    return [arguments for called, arguments in calls if called == name]


STEPS = {"step/train_loss", "step/train_accuracy", "step/lr", "step/images_per_second"}
EPOCHS = {"epoch/train_loss", "epoch/val_loss", "epoch/val_accuracy", "epoch/grad_norm"}
OFFLINE = pytest.mark.filterwarnings("ignore:wandb is not logged in")


@OFFLINE
def test_what_wandb_is_sent(tmp_path: Path, stand_in: Any, calls: list[Any]) -> None:
    train(tmp_path, "wandb", group="grid")
    begun = sent(calls, "init")[0]
    assert (begun["project"], begun["name"], begun["group"]) == ("mnist", tmp_path.name, "grid")
    assert begun["config"]["lr"] == 0.05
    assert begun["dir"] == tmp_path
    settings = begun["settings"]
    assert settings["disable_code"]
    assert settings["disable_git"]
    assert settings["console"] == "off"
    logs = sent(calls, "log")
    assert [one["step"] for one in logs] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert set(logs[0]["data"]) >= STEPS
    assert set(logs[3]["data"]) >= EPOCHS
    assert all(type(value) is float for one in logs for value in one["data"].values())
    assert [set(one["values"]) for one in sent(calls, "summary")] == [
        {"test/accuracy", "test/loss"}
    ]
    assert calls[-1] == ("finish", {"exit_code": None})


def test_without_an_account_wandb_is_offline_and_never_asks(
    tmp_path: Path, stand_in: Any, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(Caution, match=r"not logged in.*wandb sync offline-run-1"):
        train(tmp_path / "a", "wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(tmp_path / "b", "wandb")  # a warning would be an error
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(sys.modules["wandb"], "run", object())  # within a run of the caller's own
    train(tmp_path / "c", "wandb")
    monkeypatch.setattr(sys.modules["wandb"], "run", None)
    monkeypatch.setattr(sys.modules["wandb"], "login", lambda prompt, verify: not prompt)
    train(tmp_path / "d", "wandb")
    assert [one["mode"] for one in sent(calls, "init")] == ["offline", None, None, None]


@OFFLINE
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_resumed_run_goes_on_in_the_same_log(
    tmp_path: Path, stand_in: Any, calls: list[Any], name: str
) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, name, StopAt(2, Interrupted("")))
    train(tmp_path, name, resume=True)
    if name == "wandb":
        first, second = sent(calls, "init")
        assert first["id"] == second["id"]
        assert second["resume"] == "allow"
        assert [one["exit_code"] for one in sent(calls, "finish")] == [130, None]
        steps = [one["step"] for one in sent(calls, "log")]
    else:
        assert len(sent(calls, "create_run")) == 1
        assert sent(calls, "update_run") == [{"run_id": "abc", "status": "RUNNING"}]
        assert [one["status"] for one in sent(calls, "set_terminated")] == ["KILLED", "FINISHED"]
        metrics = [one["metrics"] for one in sent(calls, "log_batch") if one["metrics"]]
        steps = [one[0].step for one in metrics if not one[0].key.startswith("test/")]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]


def test_what_mlflow_has_of_a_killed_run_is_not_logged_twice(
    tmp_path: Path, stand_in: Any, calls: list[Any]
) -> None:
    """The log came to the end, and the checkpoint to the end of the first epoch."""

    class Keep(Callback):
        def on_epoch(self, run: ObservedRun, progress: Progress) -> None:
            saved.append((run.path / "last.pt").read_bytes())

    saved: list[bytes] = []
    train(tmp_path, "mlflow", Keep())
    (tmp_path / "last.pt").write_bytes(saved[0])
    before = len(sent(calls, "log_batch"))
    train(tmp_path, "mlflow", resume=True)
    (last,) = sent(calls, "log_batch")[before:]
    assert {metric.key for metric in last["metrics"]} == {"test/accuracy", "test/loss"}


@OFFLINE
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_that_a_callback_stopped_goes_on_too(
    tmp_path: Path, stand_in: Any, calls: list[Any], name: str
) -> None:
    train(tmp_path, name, StopAt(3))
    train(tmp_path, name, resume=True)
    begun = sent(calls, "init" if name == "wandb" else "update_run")
    assert len(begun) == (2 if name == "wandb" else 1)


def test_what_mlflow_is_sent(
    tmp_path: Path, stand_in: Any, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tries")
    train(tmp_path, "mlflow", group="grid")
    assert sent(calls, "create_experiment") == [{"name": "tries"}]
    (made,) = sent(calls, "create_run")
    assert (made["experiment_id"], made["run_name"]) == ("7", tmp_path.name)
    assert made["tags"] == {"group": "grid", "dataset": "mnist", "device": "cpu"}
    first, *rest = sent(calls, "log_batch")
    assert {"lr": "0.05", "seed": "5"}.items() <= {
        one.key: one.value for one in first["params"]
    }.items()
    assert {one.key for one in rest[0]["metrics"]} >= STEPS
    assert {one.key for one in rest[3]["metrics"]} >= EPOCHS
    assert {one.key for one in rest[-1]["metrics"]} == {"test/accuracy", "test/loss"}
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


BREAKS = {"wandb": ("log", "finish", "summary"), "mlflow": ("log_batch", "set_terminated")}


@OFFLINE
@pytest.mark.parametrize(("name", "call"), [(n, c) for n, cs in BREAKS.items() for c in cs])
def test_a_logger_that_fails_later_is_turned_off_and_the_run_goes_on(
    tmp_path: Path, stand_in: Any, calls: list[Any], name: str, call: str
) -> None:
    train(tmp_path / "whole", name)

    class Break(Callback):
        def on_step(self, run: ObservedRun, progress: Progress) -> None:
            stand_in[call] = OSError(28, "No space left on device")

    calls.clear()
    with pytest.warns(
        Caution, match=rf"{name} failed .*: OSError: .*No space.*turned off, and the run goes on"
    ) as seen:
        train(tmp_path / "part", name, Break())
    assert len([one for one in seen if "failed" in str(one.message)]) == 1
    assert len(sent(calls, call)) <= 3, "nothing is tried after the failure"
    one, other = (
        torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "part")
    )
    assert differences(one, other, ignore=SECONDS) == []
    assert (tmp_path / "part" / "summary.json").is_file()


@pytest.mark.parametrize(("name", "call"), [("wandb", "init"), ("mlflow", "create_run")])
def test_a_logger_that_cannot_begin_ends_the_run_before_it_trains(
    tmp_path: Path, stand_in: Any, calls: list[Any], name: str, call: str
) -> None:
    stand_in[call] = ConnectionError("no such host")
    with pytest.raises(OutputError, match=f"{name} cannot log the run: .*no such host") as caught:
        train(tmp_path, name)
    assert "or train without it" in caught.value.hint
    assert {"wandb": "WANDB_MODE=offline", "mlflow": "MLFLOW_TRACKING_URI"}[
        name
    ] in caught.value.hint
    assert list(tmp_path.iterdir()) == []
    assert not {"finish", "set_terminated"} & {called for called, _ in calls}


class FailsAtTheStart(Callback):
    def on_start(self, run: ObservedRun) -> None:
        raise ZeroDivisionError


def test_a_run_that_another_callback_keeps_from_beginning_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    callbacks = ["tensorboard", FailsAtTheStart()]
    with pytest.raises(ZeroDivisionError):
        mnist.train("smoke", callbacks=callbacks, runs=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, stand_in: Any) -> None:
    stand_in["create_run"] = ImportError("cannot import name 'service'", name="google.protobuf")
    with pytest.raises(DependencyError, match="mlflow cannot be imported: cannot import") as caught:
        train(tmp_path, "mlflow")
    assert caught.value.hint == "Install it again with: pip install --upgrade mlflow"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == name else found(n))
    with pytest.raises(
        DependencyError, match=f"the logger {name} needs the package {name}"
    ) as seen:
        logger(name)
    assert seen.value.hint == f"Install it with: pip install {name}"


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(UsageError, match="no logger is called 'neptune'"):
        logger("neptune")


def test_the_stand_ins_have_the_parameters_of_the_packages() -> None:
    """Where the packages are installed: what the stand-ins accept, the packages accept."""
    checked = 0
    if importlib.util.find_spec("wandb"):
        wandb = importlib.import_module("wandb")
        pairs = [(init, wandb.init), (login, wandb.login), (WandbRun.log, wandb.Run.log)]
        pairs.append((WandbRun.finish, wandb.Run.finish))
        wandb.Settings(
            console="off", silent=True, disable_code=True, disable_git=True, finish_timeout=60
        )
        checked += _same(pairs)
    if importlib.util.find_spec("mlflow"):
        mlflow = importlib.import_module("mlflow")
        entities = importlib.import_module("mlflow.entities")
        names = [name for name in vars(Client) if callable(vars(Client)[name])]
        pairs = [(getattr(Client, name), getattr(mlflow.MlflowClient, name)) for name in names]
        pairs += [
            (Metric.__init__, entities.Metric.__init__),
            (Param.__init__, entities.Param.__init__),
        ]
        checked += _same(pairs)
    if not checked:
        pytest.skip("neither wandb nor mlflow is installed")


def _same(pairs: list[tuple[Any, Any]]) -> int:
    for ours, theirs in pairs:
        known = inspect.signature(theirs).parameters
        assert set(inspect.signature(ours).parameters) <= set(known), theirs
    return len(pairs)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody without an account, in a folder of their own."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path / "0001-run"


@pytest.mark.filterwarnings("ignore")
def test_the_real_mlflow_reads_a_resumed_run_back(stranger: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    with pytest.raises(Interrupted):
        train(stranger, "mlflow", StopAt(2, Interrupted("")), group="grid")
    train(stranger, "mlflow", resume=True, group="grid")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("mnist").experiment_id])
    assert (found.info.run_name, found.info.status) == (stranger.name, "FINISHED")
    assert found.data.params["lr"] == "0.05"
    assert found.data.tags["group"] == "grid"
    history = client.get_metric_history(found.info.run_id, "step/train_loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6]
    assert found.data.metrics["test/accuracy"] > 0


@pytest.mark.filterwarnings("ignore")
def test_the_real_wandb_reads_a_resumed_run_back(stranger: Path) -> None:
    pytest.importorskip("wandb")
    with pytest.raises(Interrupted):
        train(stranger, "wandb", StopAt(2, Interrupted("")), group="grid")
    train(stranger, "wandb", resume=True, group="grid")
    steps = []
    files = sorted(stranger.glob("wandb/offline-run-*/*.wandb"))
    for path in files:
        records = list(wandb_records(path))
        (begun,) = [one.run for one in records if one.WhichOneof("record_type") == "run"]
        assert (begun.display_name, begun.run_group) == (stranger.name, "grid")
        assert begun.run_id == (stranger / "wandb.id").read_text().strip()
        logged = [one.history for one in records if one.WhichOneof("record_type") == "history"]
        steps += [one.step.num for one in logged]
    assert steps == [1, 2, 3, 4, 5, 6]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format, as wandb documents it."""
    from wandb.proto import wandb_internal_pb2

    data, place, text = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if (rest := 32768 - place % 32768) < 7:
            place += rest
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        text += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(text)
            text = b""
            yield record


tensorboard = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def epoch(number: int, val: bool = True) -> Progress:
    judged = {"val_loss": 0.5 / number, "val_accuracy": 0.9} if val else {}
    figures = (1.0 / number, 0.9 / number, 0.8, 2.0, 0.1, 300.0)
    return Progress("epoch", number, 10 * number, float(number), *figures, **judged)


def step(number: int) -> Progress:
    figures = (3.0 / number, 2.0 / number, 0.5, 1.0, 0.1, 300.0)
    return Progress("step", 1 + (number - 1) // 10, number, number / 10, *figures)


def write(folder: Path, *progresses: Progress, done: int = 0) -> None:
    """What a run writes that begins at step ``done``."""
    pytest.importorskip("tensorboard")
    run = ObservedRun("1", folder, {}, "mnist", "cpu", (), 0.0, 1.0, 2, 20, step=done)
    log = TensorboardLogger()
    log.on_start(run)
    for one in progresses:
        (log.on_step if one.kind == "step" else log.on_epoch)(run, one)
    log.on_error(run, Interrupted(""))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(RunDirectory(folder).tensorboard))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@tensorboard
def test_every_figure_of_an_epoch_is_there_at_its_step(tmp_path: Path) -> None:
    write(tmp_path, step(10), epoch(1), epoch(2))
    found = scalars(tmp_path)
    assert set(found) == {*TAGS, *STEP_TAGS}
    assert found["loss/train"] == [(10, 1.0), (20, 0.5)]
    assert found["loss/validation"] == [(10, 0.5), (20, 0.25)]
    assert found["accuracy/validation"] == [(10, pytest.approx(0.9)), (20, pytest.approx(0.9))]


@tensorboard
def test_without_a_validation_set_its_curves_are_missing(tmp_path: Path) -> None:
    write(tmp_path, epoch(1, val=False))
    assert set(TAGS) - set(scalars(tmp_path)) == {"loss/validation", "accuracy/validation"}


@tensorboard
def test_resuming_hides_what_was_written_beyond_and_keeps_what_came_before(tmp_path: Path) -> None:
    """Killed in epoch 3 after writing epoch 2, but last.pt is from the end of epoch 1."""
    write(tmp_path, *map(step, range(1, 21)), epoch(1), epoch(2))
    write(tmp_path, *map(step, range(11, 21)), epoch(2, val=False), done=10)
    found = scalars(tmp_path)
    assert [number for number, _ in found["loss/train"]] == [10, 20]
    assert [number for number, _ in found["loss/validation"]] == [10]
    expected = [(number, pytest.approx(2.0 / number)) for number in range(1, 21)]
    assert found["steps/loss_without_smoothing"] == expected


@tensorboard
def test_events_are_on_disk_at_once_so_a_killed_run_has_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    seen: list[int] = []

    class Look(Callback):
        def on_step(self, run: ObservedRun, progress: Progress) -> None:
            seen.append(scalars(tmp_path)["steps/loss"][-1][0])

    train(tmp_path, "tensorboard", Look())
    assert seen == [1, 2, 3, 4, 5, 6]
    assert {"gradient/fc1", "update_to_weight/fc1"} <= set(scalars(tmp_path))
