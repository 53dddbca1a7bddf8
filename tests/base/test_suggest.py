"""The word that was probably meant, and none if none is near."""

from __future__ import annotations

import pytest

from mnist_cli.base.suggest import SYNONYMS, did_you_mean, nearest
from mnist_cli.config.choices import MODELS
from mnist_cli.config.keys import KEYS


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("learning_rate", KEYS, "lr"),
        ("learning-rate", KEYS, "lr"),
        ("Batch-Size", KEYS, "batch_size"),
        ("wd", KEYS, "weight_decay"),
        ("num_epochs", KEYS, "epochs"),
        ("conv5", MODELS, "conv4"),
        ("cnn", MODELS, "conv4"),
        ("gpu", ["auto", "cpu", "cuda"], "cuda"),
        ("float16", ["fp32", "fp16"], "fp16"),
        ("validation", ["train", "val"], "val"),
        ("--learning-rate", ["--lr", "--seed"], "--lr"),
        ("--epoch", ["--epochs", "--set"], "--epochs"),
        ("fats", ["fast", "smoke"], "fast"),
        ("preset", ["precision", "resume", "set"], ""),
        ("bs", ["runs", "seed", "set"], ""),
        ("resnet", MODELS, ""),
        ("", KEYS, ""),
        ("x", [], ""),
    ],
)
def test_the_nearest_word(word: str, known: list[str], near: str) -> None:
    assert nearest(word, known) == near
    assert did_you_mean(word, known) == (f"Did you mean '{near}'?" if near else "")


def test_no_synonym_is_a_key_itself() -> None:
    taken = {word for theirs in SYNONYMS.values() for word in theirs.split()}
    assert taken & set(KEYS) <= {"start", "from"}
