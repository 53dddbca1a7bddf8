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


def test_the_notebooks_recipe() -> None:
    """SGD 0.01, momentum 0.5, batch 64, 10 epochs, no augmentation: github.com/motus/pytorch-annotated."""
    config = preset("notebook")
    assert (config.model, config.optimizer, config.lr, config.setting("momentum")) == (
        *("notebook", "sgd", 0.01, 0.5),
    )
    assert (config.batch_size, config.epochs, config.schedule) == (64, 10, "constant")
    assert config.nesterov is False
    assert Batching.of(config).augmentation == Augmentation()


def test_the_examples_recipe() -> None:
    """github.com/pytorch/examples, mnist/main.py: its argparse defaults."""
    config = preset("example")
    assert (config.model, config.optimizer, config.lr, config.loader) == (
        *("example", "adadelta", 1.0, "dataloader"),
    )
    assert (config.schedule, config.setting("step_epochs"), config.setting("gamma")) == (
        *("step", 1, 0.7),
    )
    assert (config.batch_size, config.epochs, config.precision) == (64, 14, "fp32")
    assert Batching.of(config).augmentation == Augmentation()
