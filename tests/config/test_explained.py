"""A recipe printed with the meaning of each key reads back as the same recipe."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mnist_cli.config import schema as config
from mnist_cli.config.choices import preset_names
from mnist_cli.config.explained import explained, preset_title, settings
from mnist_cli.config.keys import KEYS, kinds, words
from mnist_cli.config.schema import OPTIMIZER_DEFAULTS, SCHEDULE_DEFAULTS, TrainConfig


def read_back(text: str, folder: Path) -> TrainConfig:
    file = folder / "it.toml"
    file.write_text(text, encoding="utf-8")
    return config.compose([config.from_file(file)])


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_reads_back(name: str, tmp_path: Path) -> None:
    preset = config.compose([config.from_file(config.find_config(name))])
    text = explained(preset, {}, preset_title(name))
    assert settings(read_back(text, tmp_path)) == settings(preset)
    assert text.startswith("# ")


@pytest.mark.parametrize("optimizer", OPTIMIZER_DEFAULTS)
@pytest.mark.parametrize("schedule", SCHEDULE_DEFAULTS)
def test_own_defaults_of_optimiser_and_schedule_are_written(
    optimizer: str, schedule: str, tmp_path: Path
) -> None:
    made = TrainConfig(optimizer=optimizer, schedule=schedule)
    text = explained(made, {})
    written = tomllib.loads(text)
    own = OPTIMIZER_DEFAULTS[optimizer] | SCHEDULE_DEFAULTS[schedule]
    assert own.items() <= written.items()
    assert settings(read_back(text, tmp_path)) == settings(made)


def test_every_key_has_its_meaning_above_it() -> None:
    text = explained(TrainConfig(), {"lr": "--lr"})
    for name in tomllib.loads(text):
        meaning = text.split(f"\n{name} = ")[0].rsplit("\n\n", 1)[-1].replace("\n# ", " ")
        assert meaning.removeprefix("# ") == KEYS[name].help
    assert "lr = 0.15  # --lr\n" in text
    assert "# val_size is not set" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_path_with_quotes_and_line_ends_is_one_value(tmp_path: Path) -> None:
    odd = str(tmp_path / 'a "b"\nlr = 9')
    made = config.compose([config.from_flags({"dataset": odd})])
    assert read_back(explained(made, {}), tmp_path).dataset == odd


CHOICES = [
    (name, word)
    for name in KEYS
    for word in (*words(name), *(("cpu", "cuda:1") if name == "device" else ()))
    if bool not in kinds(name)
]


@pytest.mark.parametrize(("name", "word"), CHOICES)
def test_words_may_be_in_upper_case(name: str, word: str, tmp_path: Path) -> None:
    file = tmp_path / "it.toml"
    file.write_text(f'{name} = "{word.upper()}"\n', encoding="utf-8")
    for layer in (
        config.from_assignments([f"{name}={word.upper()}"]),
        config.from_flags({name: word.upper()}),
        config.from_file(file),
    ):
        assert layer.values[name] == word


def test_networks_and_presets_may_be_in_upper_case() -> None:
    assert config.from_flags({"model": "CONV4x0.5"}).values["model"] == "conv4x0.5"
    assert config.find_config("FAST") == config.find_config("fast")
    own = config.from_flags({"model": "/Some/Net.py:Net"}).values["model"]
    assert own.endswith("/Net.py:Net")
