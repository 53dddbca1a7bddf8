"""What a checkpoint holds, which other files are accepted, and how a difference is reported."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bits import differences
from checkpoint_files import replaced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import DATA, NORMALISATION, config, loader_of, split, state_of
from torch import Tensor

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.checkpoints.weight_check import LISTED
from mnist_cli.errors import CheckpointError, OutputError
from mnist_cli.networks import registry as models
from mnist_cli.training import snapshot
from mnist_cli.training.loop import fit
from mnist_cli.training.state import TrainState


def trained(**values: Any) -> tuple[TrainState, dict[str, Any]]:
    run_config = config(epochs=1, **values)
    state, loader = state_of(run_config), loader_of(run_config)
    for _ in fit(state, loader, split(6, 2, "val"), NORMALISATION):
        pass
    return state, snapshot.capture(state, DATA, loader.generator)


STATE, DOCUMENT = trained()
AVERAGED_STATE, AVERAGED = trained(ema=0.5, model="conv4")


def read(tmp_path: Path, document: Any, model: str | None = None) -> Checkpoint:
    torch.save(document, tmp_path / "a.pt")
    return checkpoints.read(tmp_path / "a.pt", model)


def refused(tmp_path: Path, document: Any, model: str | None = None) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, document, model)
    assert "a.pt" in caught.value.message
    return caught.value


# --- our own


def test_plain_torch_reads_it_with_weights_only(tmp_path: Path) -> None:
    checkpoints.write(DOCUMENT, tmp_path / "a.pt")
    plain = torch.load(tmp_path / "a.pt", weights_only=True)
    assert differences(plain, {**DOCUMENT, "optimizers": plain["optimizers"]}) == []
    assert set(plain) == {
        *("format", "version", "config", "model", "ema", "optimizers", "scaler", "generators"),
        *("position", "running", "seconds", "metrics", "steps", "data", "environment"),
    }
    model = models.Notebook()
    model.load_state_dict(plain["model"]["weights"])


def test_everything_comes_back(tmp_path: Path) -> None:
    checkpoint = read(tmp_path, DOCUMENT)
    assert checkpoint.config == STATE.config
    assert checkpoint.data == DATA
    assert list(checkpoint.history) == STATE.history
    assert (checkpoint.model, checkpoint.classes, checkpoint.foreign) == ("notebook", 10, False)
    rebuilt, images = checkpoint.build_model(), torch.randn(3, 1, 28, 28)
    assert not rebuilt.training
    with torch.no_grad():
        assert torch.equal(rebuilt(images), STATE.model.eval()(images))


def test_averaged_weights_are_those_to_evaluate(tmp_path: Path) -> None:
    weights = read(tmp_path, AVERAGED).weights
    expected = AVERAGED_STATE.eval_model.state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    raw = AVERAGED_STATE.model.state_dict()
    assert not torch.equal(weights["fc.weight"], raw["fc.weight"])


def test_reading_recognising_and_building_draw_nothing(tmp_path: Path) -> None:
    weights = STATE.model.state_dict()
    before = torch.get_rng_state()
    for document in (DOCUMENT, weights):
        read(tmp_path, document).build_model()
    assert torch.equal(torch.get_rng_state(), before)


def test_capture_and_encode_change_nothing_of_the_state() -> None:
    once = checkpoints.encode(snapshot.capture(STATE, DATA, torch.Generator()))
    again = checkpoints.encode(snapshot.capture(STATE, DATA, torch.Generator()))
    documents = [torch.load(io.BytesIO(data), weights_only=True) for data in (once, again)]
    assert differences(*documents) == []


def test_the_environment_is_json() -> None:
    described = snapshot.environment(STATE)
    assert json.loads(json.dumps(described)) == described
    assert described["torch"] == torch.__version__
    assert described["threads"] == torch.get_num_threads()


def test_writing_to_two_paths_gives_two_equal_files(tmp_path: Path) -> None:
    checkpoints.write(DOCUMENT, tmp_path / "last.pt", tmp_path / "best.pt")
    assert (tmp_path / "last.pt").read_bytes() == (tmp_path / "best.pt").read_bytes()
    with pytest.raises(OutputError):
        checkpoints.write(DOCUMENT, tmp_path / "missing" / "last.pt")


# --- strictness


def changed(change: Callable[[dict[str, Tensor]], None]) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    change(document["model"]["weights"])
    return document


DIFFERENCES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], tuple[str, ...]]] = {
    "missing": (lambda w: w.pop("conv1.bias"), ("conv1.bias is missing",)),
    "extra": (lambda w: w.update(more=torch.ones(1)), ("more is not part of it",)),
    "renamed": (
        lambda w: w.update(dense=w.pop("fc1.weight")),
        ("fc1.weight is missing", "dense is not part of it"),
    ),
    "shape": (
        lambda w: w.update({"fc1.bias": torch.ones(49)}),
        ("fc1.bias has (49,) float32, not (50,) float32",),
    ),
    "type": (
        lambda w: w.update({"fc1.bias": torch.ones(50).half()}),
        ("fc1.bias has (50,) float16, not (50,) float32",),
    ),
    "complex": (lambda w: w.update({"fc1.bias": torch.ones(50) * 1j}), ("complex64",)),
    "not a number": (lambda w: w["fc2.weight"][3].fill_(float("nan")), ("'fc2.weight' holds NaN",)),
    "infinite": (lambda w: w["conv2.bias"][3:4].fill_(float("inf")), ("'conv2.bias' holds NaN",)),
    "sparse": (
        lambda w: w.update({"fc1.bias": torch.ones(50).to_sparse()}),
        ("fc1.bias is a tensor without plain memory",),
    ),
    "meta": (
        lambda w: w.update({"fc1.bias": torch.ones(50, device="meta")}),
        ("fc1.bias is a tensor without plain memory",),
    ),
    "no tensor": (lambda w: w.update({"fc1.bias": 3}), ("'fc1.bias' is not a named tensor",)),
    "no name": (lambda w: w.update({3: torch.ones(1)}), ("3 is not a named tensor",)),
    "empty": (lambda w: w.clear(), ("there are no weights",)),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_a_difference_is_listed(tmp_path: Path, case: str) -> None:
    change, words = DIFFERENCES[case]
    message = refused(tmp_path, changed(change), "notebook").message
    for word in words:
        assert word in message


def test_many_differences_are_counted(tmp_path: Path) -> None:
    weights = models.build("conv4").state_dict()
    message = refused(tmp_path, replaced(DOCUMENT, "model/weights", weights)).message
    assert message.count(";") == LISTED
    assert "more" in message


GARBLED: dict[str, tuple[str, Any]] = {
    "another version": ("version", 2),
    "no version": ("version", None),
    "another format": ("format", "mnist-cli/grad-graph"),
    "a number as format": ("format", 3),
    "no configuration": ("config", None),
    "an unknown key": ("config/bogus", 1),
    "an unknown value": ("config/optimizer", "sdg"),
    "a tensor as value": ("config/lr", torch.ones(3)),
    "no classes": ("data/classes", []),
    "a deviation of zero": ("data/std", 0.0),
    "a mean that is no number": ("data/mean", float("nan")),
    "no data": ("data", None),
    "metrics missing": ("metrics", None),
    "a line of text": ("metrics", ["loss 3"]),
    "a figure of text": ("metrics/0/train_loss", "low"),
    "an infinite epoch": ("metrics/0/epoch", float("inf")),
    "metrics of a tensor": ("metrics", torch.ones(2)),
    "no model": ("model", None),
    "a tensor as model": ("model", torch.ones(2)),
    "a list as model": ("model", [1]),
    "an unknown model": ("model/name", "resnet50"),
    "no environment": ("environment", None),
    "an unknown precision": ("environment/precision", "fp7"),
    "an average of nothing": ("ema", {}),
    "an average of text": ("ema", "none"),
}


@pytest.mark.parametrize("case", GARBLED)
def test_a_garbled_part_is_a_checkpoint_error(tmp_path: Path, case: str) -> None:
    error = refused(tmp_path, replaced(DOCUMENT, *GARBLED[case]))
    if "version" in case:
        assert "Use the version of mnist_cli that wrote it" in error.hint


@pytest.mark.parametrize(
    "key", [key for key in DOCUMENT if key not in ("format", "scaler", "steps")]
)
def test_a_missing_part_is_an_error_at_the_latest_where_it_is_needed(
    tmp_path: Path, key: str
) -> None:
    def resume(document: dict[str, Any]) -> None:
        checkpoint = read(tmp_path, document)
        snapshot.restore(checkpoint, state_of(STATE.config), torch.Generator())

    resume(DOCUMENT)
    with pytest.raises(CheckpointError):
        resume({k: v for k, v in DOCUMENT.items() if k != key})


PATHS = st.sampled_from(
    [
        *(path for path, _ in GARBLED.values()),
        *("model/weights/fc1.bias", "optimizers", "position/step", "running/sums"),
        *("generators/augment", "data/name", "seconds", "scaler", "config/epochs"),
    ]
)
VALUES = st.one_of(
    *(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.booleans()),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([torch.ones(2), torch.tensor(1), torch.ones(0), torch.ones(1, device="meta")]),
)


@given(PATHS, VALUES)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_value_anywhere_is_read_or_a_checkpoint_error(
    tmp_path: Path, path: str, value: Any
) -> None:
    try:
        checkpoint = read(tmp_path, replaced(DOCUMENT, path, value))
        checkpoint.build_model()
        snapshot.restore(checkpoint, state_of(STATE.config), torch.Generator())
    except CheckpointError as error:
        assert error.message  # noqa: PT017


def test_another_network_than_asked_for_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, DOCUMENT, "notebook").model == "notebook"
    assert "not 'conv4'" in refused(tmp_path, DOCUMENT, "conv4").message
