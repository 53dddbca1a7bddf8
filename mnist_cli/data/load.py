"""From a data set's name to its two splits: what is on disk, what is fetched, what is bundled.

``auto`` means MNIST, and only where MNIST is neither on disk nor downloadable the bundled digits;
a data set that was named never falls back. A path means data of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from mnist_cli import catalogue
from mnist_cli.catalogue.spec import DatasetSpec, SplitName
from mnist_cli.config import names as places
from mnist_cli.data import idx, store
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.errors import DataError, OutputError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class LoadedData:
    """A data set, on the CPU: the test images, and the training images once they are asked for.

    Reading 60,000 training images takes as long as evaluating the 10,000 of the test set.
    ``fallback`` says why the bundled digits stand in for MNIST; empty where nothing stands in.
    ``remarks`` are what was done to data of the user's own to bring them into the form of these,
    ``files`` by split the file of each image, where each has one.
    """

    spec: DatasetSpec
    read_train: Callable[[], Split]
    test: Split
    fallback: str = ""
    remarks: tuple[str, ...] = ()
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def train(self) -> Split:
        """The training images.

        Raises:
            DataError: they are damaged, and have not been asked for before.
        """
        return self.read_train()

    @cached_property
    def fingerprint(self) -> str:
        """``sha256:…`` over the training images and labels."""
        return idx.fingerprint(self.train.images.squeeze(1).numpy(), self.train.labels.numpy())

    @property
    def normalisation(self) -> Normalisation:
        """The training set's mean and deviation."""
        return Normalisation(self.spec.mean, self.spec.std)

    def split(self, name: str) -> Split:
        """The split ``train`` or ``test``."""
        return {"train": self.train, "test": self.test}[name]


def load(
    name: str,
    root: Path,
    *,
    download: bool = True,
    say: Progress | None = None,
    whole: bool = True,
) -> LoadedData:
    """Load a data set, fetching it first where it is not under ``root``.

    Args:
        name: a data set of the catalogue, ``auto``, or a path to data of the user's own.
        root: the data directory.
        download: whether files that are missing may be fetched.
        say: told, in a line, of what takes long.
        whole: read the training images now, and find out now whether they are sound.

    Raises:
        DataError: it is not available, or is damaged.
    """
    name = str(places.absolute_dataset(name, Path()))
    if places.is_own_data(name):
        return _own(Path(name), say)

    def opened(name: str, fallback: str = "") -> LoadedData:
        data = _open(catalogue.get(name), root, download, say, fallback)
        if whole:
            data.train  # noqa: B018
        return data

    if name != "auto":
        return opened(name)
    try:
        return opened("mnist")
    except (DataError, OutputError) as error:
        if not store.locate(catalogue.get("mnist"), root).missing:
            raise
        fallback = error.message
    return opened("digits", fallback)


def _open(
    spec: DatasetSpec, root: Path, download: bool, say: Progress | None, fallback: str
) -> LoadedData:
    if download and not spec.bundled and store.locate(spec, root).missing:
        from mnist_cli.data.fetch import fetch

        if say:
            say(f"fetching {spec.title} into {root}")
        fetch(spec, root)
    return LoadedData(
        spec, partial(_read, spec, "train", root), _read(spec, "test", root), fallback
    )


def _own(path: Path, say: Progress | None) -> LoadedData:
    """Read whole, since its figures are those of all its training images."""
    from mnist_cli.data import own

    data = own.read(path, say)
    if say:
        for remark in data.remarks:
            say(f"{data.spec.title}: {remark}")
    train = Split.of("train", data.train.images, data.train.labels)
    test = Split.of("test", data.test.images, data.test.labels)
    return LoadedData(data.spec, lambda: train, test, remarks=data.remarks, files=data.files())


def _read(spec: DatasetSpec, split: SplitName, root: Path) -> Split:
    arrays = store.read(spec, split, root)
    return Split.of(split, arrays.images, arrays.labels)
