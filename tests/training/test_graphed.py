"""Captured steps against the same steps taken one by one: the same bits, on the CPU and on CUDA.

On the CPU a recorder stands in for the CUDA graph: it too runs no Python when it is replayed, so
that a number baked in, a tensor replaced or a figure read back is found here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import small_runs
import torch
from bits import SECONDS, differences
from small_runs import (
    CPU,
    FP32,
    MOVED,
    config,
    session_in,
)

from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig
from mnist_cli.devices.device import Precision, compute_settings
from mnist_cli.errors import Caution, NonFiniteError, UsageError
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.proving.recorded_steps import RecordingCapturer
from mnist_cli.training import graphed
from mnist_cli.training.guard import DeferredGuard
from mnist_cli.training.loop import StepResult

IMAGES = 164  # 20 batches of 8 and one of 4: by hand, 8 at once, 1, the middle one, 8, 1, by hand

RECIPES: dict[str, dict[str, Any]] = {
    "sgd, dropout, one-cycle": {"schedule": "onecycle"},
    "sgd without momentum, cosine after warm-up": {
        **{"model": "conv2", "momentum": 0.0, "schedule": "cosine", "warmup": 0.5},
    },
    "adam, batch norm, averaged, augmented": {
        **{"model": "conv4", "optimizer": "adam", "lr": 0.01, "schedule": "onecycle"},
        **{"ema": 0.9, "label_smoothing": 0.1, **MOVED},
    },
    "adamw, clipped, dropout": {
        **{"model": "notebook", "optimizer": "adamw", "lr": 0.001, "clip_norm": 0.5},
        **{"schedule": "step", "gamma": 0.5},
    },
    "bf16, without the last batch": {"model": "conv4", "precision": "bf16", "drop_last": True},
    "muon, fixed filters": {
        **{"model": "oriented", "optimizer": "muon", "lr": 0.02, "schedule": "onecycle"},
        "weight_decay": 0.1,
    },
    "an ensemble, clipped": {"model": "conv4", "ensemble": 2, "clip_norm": 1.0, "ema": 0.5},
    "a checkpoint every 11 batches": {"model": "conv2", "checkpoint_every": 11},
}


class Run(small_runs.Run):
    """A run of 164 images, captured or not."""

    def __init__(
        self,
        settings: TrainConfig,
        captured: bool,
        images: int = IMAGES,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(settings, images, device)
        self.recorder = RecordingCapturer()
        if captured:  # as on CUDA: reading a figure each step would wait for the device
            self.capturer = self.recorder
            self.state.guard = DeferredGuard(device, self.state.optimizers)

    @property
    def place(self) -> tuple[int, int]:
        return self.state.epoch, self.state.batch

    def steps(self) -> list[int]:
        return [event.batch for event in self.events() if isinstance(event, StepResult)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_captured_and_one_by_one_the_bits_are_the_same(recipe: str) -> None:
    """Weights, optimiser, average, generators and figures, wherever the captured run yields."""
    settings = config(**RECIPES[recipe])
    plain, captured = Run(settings, False), Run(settings, True)
    expected = {}
    for _ in plain.events():
        expected[plain.place] = plain.document()
    places = set()
    for _ in captured.events():
        places.add(captured.place)
        whole = expected[captured.place]
        assert differences(captured.document(), whole, ignore=SECONDS) == []
    assert captured.place == plain.place
    assert places < set(expected)
    recorder = captured.recorder
    assert set(recorder.replayed) == set(range(len(recorder.captured)))


def test_an_ensemble_as_it_is_on_cuda_can_be_captured() -> None:
    """Batched over its members, which the CPU does not do by itself."""
    settings = config(model="conv4", ensemble=2, label_smoothing=0.1, **MOVED)
    plain, captured = Run(settings, False, 30), Run(settings, True, 30)
    for run in (plain, captured):
        assert isinstance(run.state.model, Ensemble)
        run.state.model.batched = True
        list(run.events())
    assert captured.recorder.replayed
    assert differences(captured.document(), plain.document(), ignore=SECONDS) == []


def test_the_first_step_and_the_uneven_last_one_are_taken_by_hand() -> None:
    run = Run(config(model="conv2"), True)
    assert run.steps() == [1, 9, 10, 11, 19, 20, 21, 8, 9, 10, 11, 19, 20, 21]
    assert run.recorder.rehearsals == 1
    one, eight = sorted(run.recorder.captured)
    assert eight == 8 * one


def test_no_replay_goes_beyond_a_due_checkpoint() -> None:
    run = Run(config(model="conv2", checkpoint_every=10, epochs=3), True)
    steps = {run.state.step for event in run.events() if isinstance(event, StepResult)}
    assert set(range(10, 64, 10)) <= steps
    assert len(steps) < 63


@pytest.mark.parametrize(
    ("images", "values", "steps"),
    [
        (7, {}, [1, 1, 1]),  # less than a batch
        (8, {}, [1, 1, 1]),
        (9, {}, [1, 2, 1, 2, 1, 2]),
        (16, {}, [1, 2, 1, 2, 1, 2]),
        (71, {"drop_last": True}, [*range(1, 9)] * 3),  # the middle step is replayed alone
    ],
)
def test_sets_of_a_few_batches(images: int, values: dict[str, Any], steps: list[int]) -> None:
    settings = config(model="conv2", epochs=3, **values)
    plain, captured = Run(settings, False, images), Run(settings, True, images)
    list(plain.events())
    assert captured.steps() == steps
    assert differences(captured.document(), plain.document(), ignore=SECONDS) == []


@pytest.mark.parametrize("resumed_captured", [True, False])
def test_stopped_anywhere_and_resumed_the_bits_are_the_same(
    tmp_path: Path, resumed_captured: bool
) -> None:
    """Checkpoints of captured runs resume captured and one by one."""
    settings = config(optimizer="adam", lr=0.01, ema=0.9, schedule="onecycle", **MOVED)
    whole = Run(settings, True)
    documents = [whole.document(), *(whole.document() for _ in whole.events())]
    for document in documents:
        torch.manual_seed(1234)
        run = Run(settings, resumed_captured)
        run.loader.generator.manual_seed(4321)
        assert run.restore(document, tmp_path) == []
        list(run.events())
        assert differences(run.document(), documents[-1], ignore=SECONDS) == []


def test_a_bad_step_in_a_replay_and_all_after_it_are_left_out_and_named() -> None:
    run = Run(config(model="conv2", optimizer="adam", lr=0.01), True)
    events = run.events()
    next(events)
    bias = run.state.model.get_parameter("fc2.bias")
    with torch.no_grad():
        bias[0] = float("nan")
    before = {name: p.clone() for name, p in run.state.model.named_parameters()}
    for _ in range(6):
        assert isinstance(next(events), StepResult)  # nothing waits before the epoch's end
    with pytest.raises(NonFiniteError, match=r"the loss is nan at step 2;"):
        next(events)
    for name, parameter in run.state.model.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0, equal_nan=True)


def test_capturing_draws_and_changes_nothing() -> None:
    settings = config(model="conv4", **MOVED)
    run, twin = Run(settings, True), Run(settings, False)
    events, steps = run.events(), twin.events()
    next(events), next(steps)  # rehearsed, and the first step taken
    assert differences(run.document(), twin.document(), ignore=SECONDS) == []
    groups = run.state.optimizers[0].param_groups
    assert isinstance(groups[0]["lr"], float)


class Refusing(RecordingCapturer):
    """A capturer on whose device nothing can be captured."""

    def capture(self, function: Any, generator: torch.Generator) -> Any:
        raise UsageError("a CUDA graph is not available: not here")


def test_where_capturing_fails_the_run_goes_on_and_says_so_once() -> None:
    settings = config(model="conv2")
    plain, run = Run(settings, False), Run(settings, True)
    list(plain.events())
    run.capturer = Refusing()
    with pytest.warns(Caution, match="not here; steps are taken one by one") as warned:
        list(run.events())
    assert len(warned) == 1
    assert differences(run.document(), plain.document(), ignore=SECONDS) == []


def test_where_capturing_was_asked_for_and_fails_the_run_ends() -> None:
    settings = config(model="conv2")
    run = Run(settings, True)
    run.state.config = settings.model_copy(update={"cuda_graph": True})
    run.capturer = Refusing()
    with pytest.raises(UsageError, match="not here"):
        list(run.events())


# --- whether to capture


CUDA = torch.device("cuda", 0)
BF16 = Precision("bf16", "cuda")


@pytest.mark.parametrize(
    ("values", "device", "precision", "ranks", "reason"),
    [
        ({}, CUDA, BF16, 1, ""),
        ({}, CPU, FP32, 1, "the device is cpu"),
        ({}, torch.device("mps"), FP32, 1, "the device is mps"),
        ({}, CUDA, Precision("fp16", "cuda"), 1, "fp16"),
        ({}, CUDA, BF16, 2, "2 ranks"),
        ({"loader": "dataloader"}, CUDA, BF16, 1, "loader = dataloader"),
        ({"compile": True}, CUDA, BF16, 1, "compile = true"),
        ({"optimizer": "adadelta"}, CUDA, BF16, 1, "optimizer = adadelta"),
    ],
)
def test_auto_captures_if_it_can_and_a_refusal_gives_the_reason(
    values: dict[str, Any], device: torch.device, precision: Precision, ranks: int, reason: str
) -> None:
    where = (device, precision, ranks)
    assert graphed.captures(config(**values), *where) is not bool(reason)
    assert not graphed.captures(config(cuda_graph=False, **values), *where)
    with pytest.raises(UsageError, match=reason) if reason else nullcontext():
        graphed.captures(config(cuda_graph=True, **values), *where)


def test_a_checkpoint_says_whether_steps_were_captured(tmp_path: Path) -> None:
    session = session_in(tmp_path, config())
    next(iter(session.events(StopRequest())))
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    assert document["environment"]["cuda_graph"] is False
    for said, difference in ((None, []), (True, ["cuda_graph: True then, False now"])):
        document["environment"]["cuda_graph"] = said
        if said is None:  # written before there were graphs
            del document["environment"]["cuda_graph"]
        checkpoints.write(document, tmp_path / "last.pt")
        resume = checkpoints.read(tmp_path / "last.pt")
        assert session_in(tmp_path, config(), resume=resume).differences == difference


@pytest.mark.parametrize(
    ("inside", "kind", "message"),
    [
        (
            RuntimeError("CUDA error: operation not permitted\nmore of it"),
            *(UsageError, "a CUDA graph is not available: CUDA error: operation not permitted"),
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), torch.OutOfMemoryError, "CUDA out of"),
    ],
)
def test_the_first_error_of_a_failed_capture_is_reported(
    monkeypatch: pytest.MonkeyPatch, inside: Exception, kind: type[Exception], message: str
) -> None:
    @contextmanager
    def invalidated(*_arguments: object, **_options: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: the capture was invalidated")

    def fail() -> None:
        graph.register_generator_state.assert_called_once_with(generator)
        raise inside

    graph, generator = Mock(), torch.Generator()
    fakes = {"Stream": Mock(), "CUDAGraph": lambda: graph, "graph": invalidated}
    for name, fake in {**fakes, "device": nullcontext}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    with pytest.raises(kind, match=f"^{message}"):
        graphed.CudaCapturer(CUDA).capture(fail, generator)


# --- on CUDA itself


@pytest.mark.cuda
class TestOnCuda:
    """The graph itself; skipped where there is no GPU."""

    @pytest.fixture(autouse=True)
    def _gpu(self) -> Iterator[None]:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        with compute_settings(CUDA, deterministic=True):
            yield

    def run_of(self, captured: bool, **values: Any) -> Run:
        run = Run(config(device="cuda:0", **values), captured, device=CUDA)
        run.capturer = graphed.CudaCapturer(CUDA) if captured else None
        return run

    @pytest.mark.parametrize("ensemble", [1, 2])
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_captured_and_one_by_one_agree(
        self, optimizer: str, precision: str, ensemble: int
    ) -> None:
        """At a rate that a float32 holds, as it must in a captured step."""
        values = {"model": "conv4", "optimizer": optimizer, "lr": 2**-7, "ema": 0.9, **MOVED}
        values["ensemble"] = ensemble
        values |= {"precision": precision, "clip_norm": 1.0}
        plain, captured = self.run_of(False, **values), self.run_of(True, **values)
        list(plain.events())
        list(captured.events())
        weights = captured.state.eval_model.state_dict()
        for name, expected in plain.state.eval_model.state_dict().items():
            torch.testing.assert_close(weights[name], expected, rtol=1e-2, atol=1e-3)
        drawn = captured.loader.generator.get_state(), plain.loader.generator.get_state()
        assert torch.equal(*drawn)

    def test_a_captured_run_repeats_to_the_bit_and_so_does_its_other_half(self) -> None:
        values = {"model": "notebook", "optimizer": "adam", "lr": 0.01, **MOVED}
        runs = [self.run_of(True, **values) for _ in range(3)]
        first, half, second = runs
        list(first.events())
        events = half.events()
        while half.state.epoch < 1:
            next(events)
        document = half.document()
        second.state.model.load_state_dict(document["model"]["weights"])
        second.state.optimizers[0].load_state_dict(document["optimizers"][0])
        second.state.epoch, second.state.step = 1, half.state.step
        second.state.history = list(half.state.history)
        for run in (half, second):
            list(run.events())
            for name, tensor in first.state.model.state_dict().items():
                assert torch.equal(run.state.model.state_dict()[name], tensor), name

    def test_nothing_waits_for_the_device_inside_an_epoch(self) -> None:
        values = {"model": "conv4", "ema": 0.9, "clip_norm": 1.0, "label_smoothing": 0.1}
        run = self.run_of(True, **values, **MOVED)
        events = run.events()
        while run.state.epoch < 1:
            next(events)
        next(events)  # the epoch's order has been brought to the device
        torch.cuda.set_sync_debug_mode("error")
        try:
            while run.state.batch < run.loader.batches:
                next(events)
        finally:
            torch.cuda.set_sync_debug_mode("default")
