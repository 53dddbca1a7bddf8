"""The two halves of a batch computed at the same time."""

from __future__ import annotations

import copy
import json
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bits import SECONDS, differences
from rounding import relative_error
from small_runs import (
    CPU,
    MOVED,
    NORMALISATION,
    Run,
    config,
    loader_of,
    session_in,
    split,
    state_of,
    train,
)

from mnist_cli.api.recipe_layers import recipe_layer
from mnist_cli.base.pair import Pair
from mnist_cli.base.signals import StopRequest
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig, compose
from mnist_cli.devices.device import Precision
from mnist_cli.errors import UsageError
from mnist_cli.networks.registry import REGISTRY, is_divisible
from mnist_cli.training import halving, snapshot, step
from mnist_cli.training.halving import pair_of, threads_in_all, threads_of_each
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.scoring import predict
from mnist_cli.training.session import Session


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thread is used on a machine of one core too."""
    monkeypatch.setattr(halving, "usable_cores", lambda: 2)


@pytest.mark.parametrize(
    "extra", [{}, {"label_smoothing": 0.1, "optimizer": "muon"}, {"precision": "bf16"}]
)
@pytest.mark.parametrize("model", ["conv2", "oriented"])
def test_halves_take_the_step_of_accumulated_batches(model: str, extra: dict[str, Any]) -> None:
    """The same bits, whichever half ends first; the last batch has 7 images."""
    recipe = {"model": model, "lr": 0.01, **extra}
    precision = Precision(str(extra.get("precision", "fp32")), "cpu")
    by_turns = state_of(config(batch_size=4, accumulate=2, **recipe), precision)
    at_once = state_of(config(batch_size=8, halves=True, threads=2, **recipe), precision)
    assert at_once.pair
    train(by_turns), train(at_once)
    for one, other in zip(at_once.model.parameters(), by_turns.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert at_once.log.rows == by_turns.log.rows


def test_batch_norm_takes_each_half_by_itself() -> None:
    """Against two networks, one for each half, that torch trains on the sum of their gradients."""
    settings = config(model="conv4", halves=True, threads=2, epochs=1, ema=0.0)
    state = state_of(settings)
    pair = [copy.deepcopy(state.model), copy.deepcopy(state.model)]
    optimizer = torch.optim.SGD(pair[0].parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    for images, labels in list(loader_of(settings).epoch(0)):
        cut, sums = (len(labels) + 1) // 2, {}
        pair[1].load_state_dict(pair[0].state_dict())
        for net, part in zip(pair, (slice(0, cut), slice(cut, None)), strict=True):
            net.train().zero_grad()
            loss = F.cross_entropy(net(images[part]), labels[part])
            (loss * (len(labels[part]) / len(labels))).backward()
        for one, other in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            one.grad += other.grad
        for (name, one), other in zip(pair[0].named_buffers(), pair[1].buffers(), strict=True):
            sums[name] = one if "num" in name else (one + other) / 2
        optimizer.step()
        pair[0].load_state_dict(sums, strict=False)
    train(state)
    for name, expected in pair[0].state_dict().items():
        found = state.model.state_dict()[name]
        assert relative_error(found.double(), expected.double()) < 1e-5, name


RECIPE = {"model": "conv4", "label_smoothing": 0.1, "halves": True, "threads": 2, **MOVED}


def _trained(folder: Path, **values: Any) -> dict[str, Any]:
    for _ in session_in(folder, config(**{**RECIPE, **values})).events(StopRequest()):
        pass
    document: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return document


def test_the_threads_do_not_change_the_bits(tmp_path: Path) -> None:
    """Two that run at the same time, in either order, and one after the other."""
    at_once = _trained(tmp_path / "at once")
    again = _trained(tmp_path / "again")
    in_turn = _trained(tmp_path / "in turn", threads=1)
    assert differences(at_once, again, ignore=SECONDS) == []
    assert differences(at_once, in_turn, ignore=(*SECONDS, "/config/threads")) == []
    whole = _trained(tmp_path / "whole", halves=False)
    assert any("weights" in line for line in differences(at_once, whole, ignore=SECONDS))


def test_each_thread_computes_a_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps and in evaluation, with half of the threads."""
    seen: set[tuple[bool, int]] = set()
    conv4: Any = REGISTRY["conv4"]
    run = conv4.forward

    def watching(model: Any, images: torch.Tensor) -> torch.Tensor:
        main = threading.current_thread() is threading.main_thread()
        seen.add((main, torch.get_num_threads()))
        scores: torch.Tensor = run(model, images)
        return scores

    monkeypatch.setattr(conv4, "forward", watching)
    for threads, each in ((2, 1), (5, 2)):
        _trained(tmp_path / str(threads), threads=threads)
        assert seen == {(True, each), (False, each)}
        seen.clear()
    _trained(tmp_path / "one", threads=1)
    assert seen == {(True, 1)}


@pytest.mark.parametrize("count", [1, 4, 11])
def test_evaluation_by_two_threads_has_the_same_bits(count: int) -> None:
    state = state_of(config(model="conv4"))
    images = split(count)
    found = [
        predict(
            state.model, images, NORMALISATION, batch_size=4, precision=state.precision, pair=pair
        )
        for pair in (None, Pair(), Pair(parallel=False))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not found[1].requires_grad


OBSTACLES: dict[str, dict[str, Any]] = {
    "may draw random numbers": {"model": "notebook"},
    "an ensemble computes": {"ensemble": 2},
    "accumulate divides": {"accumulate": 2},
    "compile = true": {"compile": True},
}


@pytest.mark.parametrize(("reason", "values"), OBSTACLES.items(), ids=OBSTACLES)
def test_what_cannot_be_halved_is_refused_or_left_whole(
    reason: str, values: dict[str, Any]
) -> None:
    asked = {"model": "conv4", **values}
    with pytest.raises(UsageError, match=reason) as caught:
        pair_of(config(halves=True, **asked), CPU)
    assert "Set halves to auto" in caught.value.hint
    assert pair_of(config(halves="auto", **asked), CPU) is None


def test_ranks_and_gpus_compute_whole_batches() -> None:
    settings = config(model="conv4", halves="auto")
    assert pair_of(settings, torch.device("cuda")) is None
    assert pair_of(settings, CPU, ranks=2) is None
    with pytest.raises(UsageError, match="2 ranks already divide"):
        pair_of(config(model="conv4", halves=True), CPU, ranks=2)


def test_divisible_networks_are_those_that_draw_no_random_numbers_in_training() -> None:
    """Two threads would draw them in an order that changes from run to run."""
    for name, build in REGISTRY.items():
        net = build(10).train()
        before = torch.get_rng_state()
        net(torch.zeros(4, 1, 28, 28))
        assert is_divisible(name) is torch.equal(before, torch.get_rng_state()), name
    assert is_divisible("conv4x0.5")
    assert not is_divisible("net.py:Net")


@pytest.mark.parametrize(
    ("threads", "usable", "each", "together"),
    [(1, 2, 1, 1), (2, 2, 1, 2), (2, 1, 1, 1), (5, 8, 2, 4), (8, 8, 4, 8)],
)
def test_the_threads_are_divided(
    threads: int, usable: int, each: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "usable_cores", lambda: usable)
    settings = config(model="conv4", halves=True, threads=threads)
    pair = pair_of(settings, CPU)
    assert threads_of_each(settings, pair) == each
    assert threads_in_all(settings, pair) == together
    assert threads_in_all(settings, None) == threads


def test_a_rehearsed_step_asks_for_the_memory_of_both_backward_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    careful: list[torch.nn.Module] = []

    def asking(net: torch.nn.Module) -> torch.nn.Module:
        careful.append(net)
        return net

    monkeypatch.setattr(step, "with_room_for_backward", asking)
    settings = config(**RECIPE)
    state = state_of(settings)
    step.rehearse_step(state, LearningRate(settings, 3), 8)
    assert len({id(net) for net in careful}) == 2
    train(state)
    assert len(careful) == 2


def test_the_second_network_trains_even_if_the_first_one_is_being_evaluated() -> None:
    state = state_of(config(**RECIPE))
    state.model.eval()
    seen: list[bool] = []
    halves = halving.Halves(Pair(), state.model)
    halves.both(8, lambda net, _half: seen.append(net.training))
    assert sorted(seen) == [False, True]


def test_an_error_in_the_second_half_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(config(model="conv2", halves=True, threads=2))
    run = type(state.model).forward

    def forward(model: Any, images: torch.Tensor) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("the second half")
        return run(model, images)

    monkeypatch.setattr(type(state.model), "forward", forward)
    with pytest.raises(MemoryError, match="the second half"):
        train(state)


def test_the_second_call_ends_before_an_error_of_the_first_is_raised() -> None:
    ended: list[int] = []

    def late() -> None:
        time.sleep(0.1)
        ended.append(1)

    def fails() -> None:
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        Pair().both(fails, late)
    assert ended == [1]


OLDER: list[tuple[dict[str, Any], bool | str]] = [
    ({"model": "conv4"}, False),
    ({"model": "conv4", "halves": True}, False),
    ({"model": "notebook", "halves": True}, False),
    ({"model": "oriented", "halves": True}, "auto"),
    ({"model": "conv2x0.5", "halves": True, "accumulate": 2}, "auto"),
    ({"model": "oriented", "halves": False}, False),
]
"""What older programs recorded, and what computes the same now."""


@pytest.mark.parametrize(("recorded", "halves"), OLDER)
def test_checkpoints_of_older_programs_go_on_to_their_bits(
    recorded: dict[str, Any], halves: bool | str, tmp_path: Path
) -> None:
    run = Run(config(**{**recorded, "halves": "auto"}))
    list(run.events())
    document = run.document()
    del document["environment"]["halves"]
    del document["config"]["halves"]
    document["config"] |= recorded
    checkpoints.write(document, tmp_path / "last.pt")
    read = checkpoints.read(tmp_path / "last.pt")
    assert read.config is not None
    assert read.config.halves == halves
    pair_of(read.config, CPU)
    now = state_of(read.config)
    assert snapshot.restore(read, now, torch.Generator()) == []


@pytest.mark.parametrize(("recorded", "halves"), OLDER)
def test_runs_of_older_programs_are_repeated_as_they_were(
    recorded: dict[str, Any], halves: bool | str, tmp_path: Path
) -> None:
    """The runs of this program record what they computed; other files mean what they say."""
    folder = tmp_path / "runs" / "001-mnist-conv4"
    folder.mkdir(parents=True)
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in recorded.items())
    (folder / "config.toml").write_text(text, encoding="utf-8")
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")

    def composed(given: Path) -> TrainConfig:
        layer = recipe_layer(str(given))
        assert layer is not None
        return compose([layer])

    assert composed(folder).halves == halves
    (folder / "environment.json").write_text('{"threads": 1}', encoding="utf-8")
    assert composed(folder).halves == halves
    assert composed(tmp_path / "own.toml").halves == recorded.get("halves", "auto")
    (folder / "environment.json").write_text('{"halves": true}', encoding="utf-8")
    assert composed(folder).halves == recorded.get("halves", "auto")


def test_a_run_records_the_threads_of_both_halves(tmp_path: Path) -> None:
    """Also if torch chooses them: while a run computes, torch's own figure is that of one half."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        session = session_in(tmp_path, config(**{**RECIPE, "threads": 0}))
        seen = {torch.get_num_threads() for _ in _inside(session)}
    finally:
        torch.set_num_threads(before)
    assert seen == {2}
    recorded = tomllib.loads((tmp_path / "config.toml").read_text(encoding="utf-8"))
    assert (recorded["threads"], recorded["halves"]) == (4, True)


def _inside(session: Session) -> Iterator[None]:
    """While a run computes, also where it asks for its settings again."""
    for _ in session.events(StopRequest()):
        yield
        with session._settings():
            yield


def test_a_run_records_whether_it_computed_halves(tmp_path: Path) -> None:
    for number, (values, halves) in enumerate(
        [({"halves": "auto"}, True), ({"halves": "auto", "model": "notebook"}, False)]
    ):
        session = session_in(tmp_path / str(number), config(**{**RECIPE, **values}))
        assert "halves" not in session.chosen()  # on a GPU it may be repeated without
        assert session.chosen()["threads"] == 2
        for _ in session.events(StopRequest()):
            pass
        layer = recipe_layer(str(session.run.path))
        assert layer is not None
        assert layer.values["halves"] == ("auto" if halves else False)
