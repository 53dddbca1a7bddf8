"""A run stopped anywhere and resumed is the run that was never stopped, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bits import SECONDS, differences
from checkpoint_files import replaced
from small_runs import (
    MOVED,
    Run,
    config,
)

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import CheckpointError
from mnist_cli.runs.results import EpochResult
from mnist_cli.training import snapshot

RECIPES: dict[str, dict[str, Any]] = {
    "cosine, float32 rates as on a GPU": {"schedule": "cosine"},
    "sgd, step, dropout": {"schedule": "step", "gamma": 0.5},
    "adam, one-cycle, averaged": {
        "optimizer": "adam",
        "lr": 0.01,
        "ema": 0.9,
        "schedule": "onecycle",
    },
    "adamw, cosine after warm-up, clipped": {
        **{"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup": 0.5},
        "clip_norm": 1.0,
    },
    "adadelta, augmented": {"optimizer": "adadelta", "lr": 1.0, **MOVED},
    "muon, batch norm, smoothed": {
        **{"optimizer": "muon", "lr": 0.01, "model": "conv4", "label_smoothing": 0.1},
        **MOVED,
    },
    "dataloader, augmented": {"loader": "dataloader", **MOVED},
    "batch norm, averaged, bf16": {"model": "conv4", "ema": 0.5, "precision": "bf16", **MOVED},
    "hard images preferred": {
        "train_size": 20,
        "prefer_hard": 5.0,
        "optimizer": "muon",
        "lr": 0.01,
    },
    "accumulated, smoothed": {"accumulate": 2, "batch_size": 4, "label_smoothing": 0.1},
    "halves at once": {"model": "conv2", "halves": True, "optimizer": "muon", "lr": 0.01},
    "halves with batch norm": {"model": "conv4", "halves": True, "ema": 0.5, **MOVED},
    "an ensemble, averaged": {
        **{"model": "conv4", "ensemble": 2, "optimizer": "adam", "lr": 0.01, "ema": 0.9},
        **MOVED,
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_resuming_after_any_event_gives_the_same_bits(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimiser, average, generators and metrics, after each later event and at the end."""
    if "float32 rates" in recipe:
        monkeypatch.setattr("mnist_cli.training.step.rate_dtype", lambda _device: torch.float32)
    settings = config(**RECIPES[recipe])
    whole = Run(settings)
    documents = [whole.document()]
    documents += [whole.document() for _ in whole.events()]
    assert len(documents) == 9  # before, and after each of 2 × (3 steps and their epoch)
    for stopped_at, document in enumerate(documents):
        resumed, noticed = resumed_from(document, tmp_path, settings, stopped_at)
        assert noticed == []
        assert differences(resumed.document(), document) == []
        for _ in resumed.events():
            pass
        assert differences(resumed.document(), documents[-1], ignore=SECONDS) == []


def test_the_comparison_would_notice() -> None:
    """The test above must be able to fail: one bit, one type, one missing entry."""
    document = Run(config()).document()
    for spoil in (
        lambda d: d["model"]["weights"]["fc2.bias"].view(torch.int32)[0].add_(1),
        lambda d: d["generators"]["torch"][9].add_(1),
        lambda d: d["position"].update(step=0.0),
        lambda d: d["running"].pop("images"),
    ):
        spoilt = Run(config()).document()
        assert differences(document, spoilt) == []
        spoil(spoilt)
        assert differences(document, spoilt) != []


def test_a_longer_run_goes_on_where_a_shorter_one_ended(tmp_path: Path) -> None:
    """What --epochs on --resume means, for a schedule that does not depend on the length."""
    short, long = Run(config(epochs=1)), Run(config(epochs=2))
    for run in (short, long):
        for _ in run.events():
            pass
    resumed = Run(config(epochs=2))
    resumed.restore(short.document(), tmp_path)
    for _ in resumed.events():
        pass
    assert differences(resumed.document(), long.document(), ignore=SECONDS) == []


def test_another_machine_is_noticed(tmp_path: Path) -> None:
    run = Run(config())
    document = run.document()
    document["environment"] |= {
        "threads": 97,
        "torch": "1.0",
        "cpu_capability": "ABACUS",
        "arithmetic": "0",
    }
    noticed = run.restore(document, tmp_path)
    arithmetic = "fingerprint of the CPU's arithmetic"
    names = ["torch", "cpu_capability", arithmetic, "threads per operation"]
    assert [line.partition(":")[0] for line in noticed] == names
    assert f"threads per operation: 97 then, {torch.get_num_threads()} now" in noticed


def elsewhere(document: dict[str, Any]) -> dict[str, Any]:
    """A document as a run on a GPU would have written it: CUDA's generators have 16 bytes."""
    document["generators"] |= {
        "cuda": torch.arange(16, dtype=torch.uint8),
        "augment": torch.arange(16, dtype=torch.uint8),
    }
    document["environment"] |= {"device": "cuda", "device_name": "a GPU"}
    return document


def resumed_from(
    document: dict[str, Any], folder: Path, settings: TrainConfig, stand: int
) -> tuple[Run, list[str]]:
    """A run that goes on, in a process whose generators stand anywhere."""
    torch.manual_seed(stand)
    run = Run(settings)
    run.loader.generator.manual_seed(stand)
    return run, run.restore(document, folder)


def test_a_run_that_moves_within_an_epoch_says_that_it_draws_other_numbers(tmp_path: Path) -> None:
    settings = config(**MOVED, model="notebook")  # augmentation and dropout
    run = Run(settings)
    events = run.events()
    next(events)
    document, ends = elsewhere(run.document()), []
    for stand in (1, 2):
        resumed, noticed = resumed_from(document, tmp_path, settings, stand)
        assert [line.partition(":")[0] for line in noticed] == [
            *("device", "device_name", "random numbers")
        ]
        assert noticed[-1].endswith(
            "cpu draws other numbers than cuda does for the rest of epoch 1"
        )
        for _ in resumed.events():
            pass
        ends.append(resumed.document())
    assert differences(*ends, ignore=SECONDS) == []  # other numbers, but the same each time
    for _ in events:
        pass
    assert differences(ends[0], run.document(), ignore=SECONDS) != []


def test_a_run_that_moves_between_epochs_loses_no_random_numbers(tmp_path: Path) -> None:
    settings = config(**MOVED, model="notebook")
    run = Run(settings)
    events = run.events()
    while not isinstance(next(events), EpochResult):
        pass
    resumed, noticed = resumed_from(elsewhere(run.document()), tmp_path, settings, 1)
    assert [line.partition(":")[0] for line in noticed] == ["device", "device_name"]
    for one in (events, resumed.events()):
        for _ in one:
            pass
    assert differences(resumed.document(), run.document(), ignore=SECONDS) == []


# --- documents that do not fit


MISFITS: dict[str, tuple[str, Any]] = {
    "no optimiser": ("optimizers", []),
    "two optimisers": ("optimizers", [{}, {}]),
    "an empty optimiser": ("optimizers", [{}]),
    "an optimiser of another network": (
        *("optimizers", [{"state": {}, "param_groups": [{"params": [0], "lr": 0.1}]}]),
    ),
    "no number as learning rate": ("optimizers/0/param_groups/0/lr", "much"),
    "generators missing": ("generators", {}),
    "no generator state": ("generators/torch", None),
    "half a generator state": ("generators/torch", torch.zeros(3, dtype=torch.uint8)),
    "a generator state of floats": ("generators/torch", torch.zeros(5056)),
    "half a state of augmentation": ("generators/augment", torch.zeros(3, dtype=torch.uint8)),
    "an epoch too many": ("position/epoch", 1),
    "an epoch below zero": ("position/epoch", -1),
    "a batch below zero": ("position/batch", -1),
    "an infinite step": ("position/step", float("inf")),
    "no position": ("position", None),
    "sums of another shape": ("running/sums", torch.zeros(5)),
    "no sums": ("running/sums", "none"),
    "no seconds": ("seconds", "long"),
    "norms of another shape": ("running/norms", torch.ones(8, 2)),
    "norms that are no numbers": ("running/norms", torch.full((8, 3), torch.nan)),
    "no steps": ("steps", None),
    "steps of another shape": ("steps/rows", torch.zeros(2, 7).double()),
    "an infinite step of an epoch": ("steps/marks", torch.full((1, 9), torch.inf).double()),
    "complex norms": ("running/norms", torch.ones(8, 3) * 1j),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_a_checkpoint_error(case: str, tmp_path: Path) -> None:
    run = Run(config())
    document = replaced(run.document(), *MISFITS[case])
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        run.restore(document, tmp_path)


def test_momentum_of_another_shape_is_refused(tmp_path: Path) -> None:
    run = Run(config(epochs=1))
    for _ in run.events():
        pass
    document = run.document()
    document["optimizers"][0]["state"][0]["momentum_buffer"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="momentum_buffer has"):
        run.restore(document, tmp_path)


def test_a_program_that_knew_fewer_means_has_saved_fewer_sums(tmp_path: Path) -> None:
    run = Run(config())
    next(run.events())
    document = run.document()
    document["running"]["sums"] = document["running"]["sums"][:2]
    resumed, _ = resumed_from(document, tmp_path, config(), 1)
    sums = resumed.state.running.sums.tolist()
    assert sums[:3] == [*run.state.running.sums.tolist()[:2], 0.0]
    for _ in resumed.events():
        pass
    first, second = resumed.state.history
    assert (first.plain_loss, second.plain_loss) == (None, second.loss)


def test_settings_of_the_optimiser_are_the_configurations(tmp_path: Path) -> None:
    run = Run(config())
    document = run.document()
    document["optimizers"][0]["param_groups"][0] |= {"weight_decay": 9.0, "nesterov": "yes"}
    run.restore(document, tmp_path)
    group = run.state.optimizers[0].param_groups[0]
    assert (group["weight_decay"], group["nesterov"]) == (5e-4, True)


def test_weights_of_another_program_cannot_be_resumed(tmp_path: Path) -> None:
    run = Run(config())
    torch.save(run.state.model.state_dict(), tmp_path / "theirs.pt")
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        snapshot.restore(checkpoints.read(tmp_path / "theirs.pt"), run.state, run.loader.generator)
