"""A run that starts from a checkpoint's weights: what it takes from there, and what it records."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bits import SECONDS, differences
from small_runs import FP32, NORMALISATION, config, loaded, session_in
from torch import Tensor

from mnist_cli import catalogue
from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.digest import digest
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.networks import registry as models
from mnist_cli.training import run as running
from mnist_cli.training.ranks import ALONE
from mnist_cli.training.run import RunRequest, begin, drive
from mnist_cli.training.scoring import predict, score
from mnist_cli.training.session import Session
from mnist_cli.training.starting import find_start, located
from mnist_cli.training.state import fresh_model


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "load", lambda *_a, **_k: loaded())


def saved(folder: Path, model: str = "notebook", classes: int = 10) -> Path:
    """Another program's weights, unlike those that a run with seed 5 draws."""
    torch.manual_seed(77)
    torch.save(models.build(model, classes).state_dict(), folder / "theirs.pt")
    return folder / "theirs.pt"


def train(folder: Path, settings: TrainConfig, **request: Any) -> Session:
    with begin(settings, RunRequest(folder, folder / "runs", **request)) as session:
        drive(session, RunRequest(folder, folder / "runs"))
    return session


def begun(folder: Path, settings: TrainConfig, **request: Any) -> Session:
    with begin(settings, RunRequest(folder, folder / "runs", **request)) as session:
        return session


def weights(session: Session) -> dict[str, Tensor]:
    return dict(session.state.model.state_dict())


def test_only_the_weights_and_the_network_come_from_the_checkpoint(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "conv4")
    session = begun(tmp_path, config(start=str(theirs), model="conv2", optimizer="adam", ema=0.5))
    expected = dict(torch.load(theirs, weights_only=True))
    assert session.config.model == "conv4"
    assert differences(weights(session), expected) == []
    assert session.state.ema is not None
    assert differences(dict(session.state.ema.module.state_dict()), expected) == []
    assert session.state.optimizers[0].state == {}
    assert (session.state.epoch, session.state.step, session.state.history) == (0, 0, [])


def test_a_run_repeats_resumes_and_records_its_start(tmp_path: Path) -> None:
    """To the bit; the resumed run needs the file no more, and the repeated one its configuration."""
    theirs = saved(tmp_path)
    sha256 = hashlib.sha256(theirs.read_bytes()).hexdigest()
    settings = config(start=str(theirs), seed=3)
    session = train(tmp_path, settings)
    record = {"path": str(theirs), "sha256": sha256}
    said = {"start": str(theirs), "start_sha256": sha256}
    for name in (session.run.environment, session.run.summary):
        assert json.loads(name.read_text()).items() >= said.items()
    whole = torch.load(session.run.last, weights_only=True)
    assert whole["start"] == record
    written = TrainConfig(**tomllib.loads(session.run.config.read_text()))
    again = train(tmp_path, written)
    chosen = (*SECONDS, "/config/dataset", "/config/threads")  # auto in the first
    assert differences(torch.load(again.run.last, weights_only=True), whole, ignore=chosen) == []
    fresh = train(tmp_path, written.model_copy(update={"start": None}))
    assert digest(fresh.state.model.state_dict()) != digest(session.state.model.state_dict())

    part = begun(tmp_path, settings)
    stop = StopRequest()
    events = part.events(stop)
    next(events)
    part.save()
    theirs.unlink()
    resumed = session_in(tmp_path / "resumed", part.config, resume=checkpoints.read(part.run.last))
    assert resumed.score_start() is None
    for _ in resumed.events(StopRequest()):
        pass
    end = torch.load(resumed.run.last, weights_only=True)
    assert differences(end, whole, ignore=SECONDS) == []
    assert json.loads(resumed.run.environment.read_text()).items() >= said.items()


@pytest.mark.parametrize("values", [{"ema": 0.5}, {"ensemble": 2, "model": "conv2"}])
def test_a_runs_directory_starts_another_run_with_its_best_weights(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    """Of averaged weights the average, of an ensemble every member."""
    first = train(tmp_path, config(**values))
    second = begun(tmp_path, config(start="1", **values))
    best = checkpoints.read(first.run.best)
    assert differences(weights(second), dict(best.weights)) == []
    assert second.config.start == str(first.run.best.absolute())


def test_the_score_before_training_is_that_of_the_weights(tmp_path: Path) -> None:
    session = begun(tmp_path, config(start=str(saved(tmp_path))))
    assert session.val is not None
    network = checkpoints.read(tmp_path / "theirs.pt").build_model()
    found = predict(network, session.val, NORMALISATION, batch_size=9, precision=FP32)
    expected = score(found, session.val.labels)
    before = session.score_start()
    assert before is not None
    assert (before.accuracy, before.count) == (expected.accuracy, 6)
    assert before.loss == pytest.approx(expected.loss, rel=1e-6)
    assert begun(tmp_path, config()).score_start() is None
    unvalidated = config(start=str(tmp_path / "theirs.pt"), val_size=0)
    assert begun(tmp_path, unvalidated).score_start() is None


def test_a_last_layer_for_other_classes_is_made_anew_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the seed draws it without a start."""
    letters = replace(loaded(), spec=replace(catalogue.get("mnist"), classes=tuple("abcdefghijkl")))
    monkeypatch.setattr(running, "load", lambda *_a, **_k: letters)
    theirs = saved(tmp_path, "example-2018")
    session = begun(tmp_path, config(start=str(theirs)))
    anew = fresh_model(session.config, 12).state_dict()
    kept = dict(torch.load(theirs, weights_only=True))
    expected = kept | {name: anew[name] for name in ("fc2.weight", "fc2.bias")}
    assert differences(weights(session), expected) == []
    assert "reinitialised for 12 classes instead of 10: fc2.weight, fc2.bias" in session.start_notes


def test_what_another_programs_file_needed_is_said(tmp_path: Path) -> None:
    half = {f"module.{k}": v.half() for k, v in models.build("notebook").state_dict().items()}
    torch.save({"net": half}, tmp_path / "theirs.pt")
    notes = begun(tmp_path, config(start=str(tmp_path / "theirs.pt"))).start_notes
    assert notes[0] == f"starting from the weights of {tmp_path / 'theirs.pt'}"
    assert "the prefix 'module.' was removed from the names" in notes
    assert "8 tensors were cast from float16 to float32" in notes


def test_another_normalisation_than_that_of_the_weights_is_said(tmp_path: Path) -> None:
    """As a run records it, and an exported file's metadata."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    network = models.build("notebook").state_dict()
    start = tmp_path / "theirs.safetensors"
    for std, said in ((0.5, True), (NORMALISATION.std, False)):
        stated = {"producer": "mnist_cli 1", "mean": str(NORMALISATION.mean), "std": str(std)}
        save_file(network, start, stated)
        notes = " ".join(begun(tmp_path, config(start=str(start))).start_notes)
        assert (f"and standard deviation {std:g}; this run uses mean" in notes) is said
    run = train(tmp_path, config()).run.best
    assert "this run uses" not in " ".join(begun(tmp_path, config(start=str(run))).start_notes)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another network": (
        {"model": "conv4"},
        CheckpointError,
        "does not fit the network 'conv4': norm1.weight is missing",
    ),
    "one network for several": (
        {"ensemble": 3},
        UsageError,
        "an ensemble of 3 cannot start from .*theirs.pt, which holds one network",
    ),
    "no file": ({"start": "/no/such.pt"}, CheckpointError, "no checkpoint or run /no/such.pt"),
    "no run": ({"start": "9"}, CheckpointError, "no checkpoint or run 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(tmp_path: Path, case: str) -> None:
    values, error, words = REFUSED[case]
    settings = config(**{"start": str(saved(tmp_path)), **values})
    with pytest.raises(error, match=words):
        begun(tmp_path, settings, model_named=True)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("0*"))


def test_an_ensemble_for_one_network_is_refused(tmp_path: Path) -> None:
    train(tmp_path, config(ensemble=2, epochs=1))
    with pytest.raises(
        UsageError, match="an ensemble of 2 networks, and this run trains 1"
    ) as seen:
        begun(tmp_path, config(start="1"))
    assert "ensemble = 2" in seen.value.hint


def test_a_garbled_record_of_the_start_cannot_be_resumed(tmp_path: Path) -> None:
    session = train(tmp_path, config(start=str(saved(tmp_path)), epochs=1))
    document = torch.load(session.run.last, weights_only=True)
    for spoilt in (7, [], {"path": "x"}):
        torch.save({**document, "start": spoilt}, tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match="cannot be resumed"):
            session_in(tmp_path / "b", config(), resume=checkpoints.read(tmp_path / "a.pt"))


def test_a_runs_number_becomes_a_path(tmp_path: Path) -> None:
    run = train(tmp_path, config(epochs=1)).run
    assert located(config(start="1"), tmp_path / "runs").start == str(run.best.absolute())
    assert located(config(), tmp_path).start is None
    assert find_start(config(), tmp_path, None, ALONE) is None
