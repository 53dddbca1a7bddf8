"""The normalisation of a network's images, and its origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.normalisations import in_words
from mnist_cli.data.split import Normalisation
from mnist_cli.networks.stated import stated_normalisation

Origin = Literal["asked", "training", "file", "class", "dataset"]


@dataclass(frozen=True)
class PixelScale:
    """A normalisation and its origin.

    Attributes:
        values: mean and standard deviation.
        origin: ``asked`` for; from this program's ``training``; stated by the ``file``'s metadata
            or by the network's ``class``; or the ``dataset``'s, since nothing states one.
        name: of the class or the data set.
        known: the known normalisation of the training, if another one was requested.
    """

    values: Normalisation
    origin: Origin
    name: str = ""
    known: PixelScale | None = None

    @property
    def guessed(self) -> bool:
        """Whether no source states that the network was trained with it."""
        return self.origin == "dataset"

    @property
    def words(self) -> str:
        """The numbers and their origin, as a part of a sentence."""
        return f"{self.numbers} ({self.reason})"

    @property
    def numbers(self) -> str:
        """The numbers as a part of a sentence."""
        return in_words(self.values.mean, self.values.std)

    @property
    def reason(self) -> str:
        """The origin in words."""
        return {
            "asked": "as asked",
            "training": "as in training",
            "file": "as the file's metadata state",
            "class": f"as {self.name} states",
            "dataset": f"from {self.name}, since the file states none",
        }[self.origin]

    def contradiction(self, path: Path) -> str:
        """A warning if training is known to have used another normalisation; else empty."""
        if self.known is None or self.known.values == self.values:
            return ""
        return (
            f"images for {path} are normalised with {self.numbers}, as asked, instead of "
            f"{self.known.numbers}, {self.known.reason}"
        )

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for documents."""
        return {"mean": self.values.mean, "std": self.values.std, "reason": self.reason}


def known_scale(checkpoint: Checkpoint) -> PixelScale | None:
    """The normalisation of a checkpoint's training; None if nothing states it.

    Raises:
        UsageError: the normalisation in the class of a user's own network is invalid.
    """
    data, stated = checkpoint.data, checkpoint.stated
    if data is not None:
        return PixelScale(Normalisation(data.mean, data.std), "training")
    if stated is not None:
        return PixelScale(Normalisation(*stated), "file")
    by_class = stated_normalisation(checkpoint.model)
    if by_class is None:
        return None
    return PixelScale(Normalisation(*by_class), "class", checkpoint.model.class_name)
