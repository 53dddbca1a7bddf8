"""The presets: each whole, valid, and what its name and comment say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mnist_cli.config.choices import preset_names, presets_dir
from mnist_cli.config.schema import TrainConfig, compose, find_config, from_file
from mnist_cli.data.augment import Augmentation
from mnist_cli.data.batches import Batching


def preset(name: str) -> TrainConfig:
    return compose([from_file(find_config(name))])


def test_the_presets_of_the_issue_are_there() -> None:
    assert {"accurate", "default", "example", "fast", "notebook", "smoke"} <= set(preset_names())
    checkout = Path(__file__).parents[2] / "configs"
    assert sorted(path.stem for path in checkout.glob("*.toml")) == preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_flat_complete_and_says_what_it_is_for(name: str) -> None:
    """A recipe must not change because a default did."""
    config = preset(name)
    text = (presets_dir() / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    given = tomllib.loads(text)
    assert {key: config.to_plain()[key] for key in given} == given
    recipe = {
        *("model", "epochs", "batch_size", "optimizer", "lr", "weight_decay"),
        *("schedule", "label_smoothing", "shift", "rotate", "scale", "shear"),
    }
    assert recipe <= set(given)


def test_the_default_preset_is_what_no_options_mean() -> None:
    assert _resolved(preset("default")) == _resolved(TrainConfig())


def _resolved(config: TrainConfig) -> dict[str, object]:
    return {key: config.setting(key) for key in TrainConfig.model_fields}


PUBLISHED = {
    # github.com/motus/pytorch-annotated
    "notebook": {
        **{"model": "notebook", "optimizer": "sgd", "lr": 0.01, "momentum": 0.5},
        **{"batch_size": 64, "epochs": 10, "schedule": "constant", "nesterov": False},
    },
    # github.com/pytorch/examples, mnist/main.py: its argparse defaults
    "example": {
        **{"model": "example", "optimizer": "adadelta", "lr": 1.0, "loader": "dataloader"},
        **{"schedule": "step", "step_epochs": 1, "gamma": 0.7},
        **{"batch_size": 64, "epochs": 14, "precision": "fp32"},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_is_repeated(name: str) -> None:
    config, expected = preset(name), PUBLISHED[name]
    assert {key: config.setting(key) for key in expected} == expected
    assert Batching.of(config).augmentation == Augmentation()
