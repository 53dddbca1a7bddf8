"""Finds the split in the name of a file or folder: ``mnist_train.csv``, ``trainingSet``."""

from __future__ import annotations

import re
from typing import Literal

SplitPart = Literal["train", "val", "test"]
SPLITS: tuple[SplitPart, ...] = ("train", "val", "test")

_CAMEL = re.compile(r"([a-z])([A-Z])")
_SPLIT = re.compile(
    r"(?<![a-z])"
    r"(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?|t10k)|(?P<val>val(?:id(?:ation)?)?))"
    r"(?![a-z])",
    re.IGNORECASE,
)


def split_of(name: str) -> SplitPart | None:
    """The split that a name contains; None without such a word. The last such word counts."""
    split: SplitPart | None = None
    for match in _SPLIT.finditer(_CAMEL.sub(r"\1-\2", name)):
        split = "train" if match["train"] else "test" if match["test"] else "val"
    return split


def in_words(split: str) -> str:
    """The split's name in texts."""
    return {"train": "training", "val": "validation"}.get(split, split)
