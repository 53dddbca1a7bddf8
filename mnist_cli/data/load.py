"""From a data set's name to its two splits: what is on disk, what is fetched, what is bundled.

``auto`` means MNIST, and only where MNIST is neither on disk nor to be had the bundled digits;
a data set that was named never falls back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.data import catalogue, store
from mnist_cli.data.spec import DatasetSpec
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import DataError, OutputError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class LoadedData:
    """A data set in memory, on the CPU.

    ``fallback`` says why the bundled digits stand in for MNIST; empty where nothing stands in.
    """

    spec: DatasetSpec
    train: Split
    test: Split
    fingerprint: str
    fallback: str = ""

    @property
    def normalisation(self) -> Normalisation:
        """The training set's mean and deviation."""
        return Normalisation(self.spec.mean, self.spec.std)

    def split(self, name: str) -> Split:
        """The split ``train`` or ``test``."""
        return {"train": self.train, "test": self.test}[name]


def load(
    name: str, root: Path, *, download: bool = True, say: Progress | None = None
) -> LoadedData:
    """Load a data set, fetching it first where it is not under ``root``.

    Args:
        name: a data set of the catalogue, or ``auto``.
        root: the data directory.
        download: whether files that are missing may be fetched.
        say: told, in a line, of what takes long.

    Raises:
        DataError: it cannot be had, or is damaged.
    """
    if name != "auto":
        return _load(catalogue.get(name), root, download, say)
    try:
        return _load(catalogue.get("mnist"), root, download, say)
    except (DataError, OutputError) as error:
        if not store.locate(catalogue.get("mnist"), root).missing:
            raise
        fallback = error.message
    return _load(catalogue.get("digits"), root, download, say, fallback)


def _load(
    spec: DatasetSpec, root: Path, download: bool, say: Progress | None, fallback: str = ""
) -> LoadedData:
    if download and not spec.bundled and store.locate(spec, root).missing:
        from mnist_cli.data.fetch import fetch

        if say:
            say(f"fetching {spec.title} into {root}")
        fetch(spec, root)
    train, test = store.read(spec, "train", root), store.read(spec, "test", root)
    return LoadedData(
        spec=spec,
        train=Split.of("train", train.images, train.labels),
        test=Split.of("test", test.images, test.labels),
        fingerprint=train.fingerprint,
        fallback=fallback,
    )
