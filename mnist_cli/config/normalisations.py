"""Normalisations of pixels by name or as text: a mean and a standard deviation, fractions of 255.

Imports nothing heavy. :class:`mnist_cli.data.split.Normalisation` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mnist_cli import catalogue
from mnist_cli.errors import UsageError


class MeanStd(NamedTuple):
    """A mean and a standard deviation, as fractions of 255."""

    mean: float
    std: float


_MNIST = catalogue.get("mnist")

NAMED: Mapping[str, MeanStd] = {
    "mnist": MeanStd(_MNIST.mean, _MNIST.std),
    "none": MeanStd(0.0, 1.0),
    "half": MeanStd(0.5, 0.5),
}
"""What programs use for MNIST: its own figures, torchvision's ToTensor alone, or -1 to 1."""

LARGEST = 1e9
"""Largest mean, deviation and 1 / deviation: with larger ones, a network's values overflow."""

FORMS = f"{'|'.join(NAMED)}|MEAN,STD"


def parse(text: str) -> MeanStd:
    """The normalisation that a name, or ``0.1307,0.3081``, means.

    Raises:
        UsageError: it is neither, or :func:`checked` refuses the numbers.
    """
    known = NAMED.get(text.strip().lower())
    if known is not None:
        return known
    try:
        mean, std = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            f"'{text}' is not a normalisation",
            f"Give {', '.join(NAMED)}, or a mean and a standard deviation, as in 0.1307,0.3081.",
        ) from None
    return checked(mean, std)


def checked(mean: float, std: float) -> MeanStd:
    """The two numbers, if images can be normalised with them.

    Raises:
        UsageError: one is not finite or beyond what float32 can scale by, or the standard
            deviation is not above 0.
    """
    if not (abs(mean) <= LARGEST and 1 / LARGEST <= std <= LARGEST):
        raise UsageError(
            f"images cannot be normalised with mean {mean:g} and standard deviation {std:g}",
            f"Both must be finite, the standard deviation above 0: {1 / LARGEST:g} to {LARGEST:g}.",
        )
    return MeanStd(mean, std)


def spelled(mean: float, std: float) -> str:
    """The shortest text that :func:`parse` reads as these numbers."""
    named = next((name for name, pair in NAMED.items() if pair == (mean, std)), None)
    return named or f"{mean:.6g},{std:.6g}"


def in_words(mean: float, std: float) -> str:
    """The two numbers as a part of a sentence."""
    alone = " (ToTensor alone)" if (mean, std) == NAMED["none"] else ""
    return f"mean {mean:.6g} and standard deviation {std:.6g}{alone}"


def from_metadata(metadata: Mapping[str, str]) -> MeanStd | None:
    """The normalisation in the metadata of a file of this program; None for any other file."""
    if not metadata.get("producer", "").startswith("mnist_cli"):
        return None  # another program may mean grey levels from 0 to 255
    try:
        return checked(float(metadata["mean"]), float(metadata["std"]))
    except (KeyError, ValueError, UsageError):
        return None
