"""Loads the two splits of a data set by its name: from disk, downloaded, or bundled.

``auto`` is MNIST, and falls back to the bundled digits only if MNIST is neither on disk nor
downloadable. A data set named explicitly never falls back. A path means the user's own data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mnist_cli import catalogue
from mnist_cli.catalogue.spec import DatasetSpec, SplitName
from mnist_cli.data import idx, store
from mnist_cli.data.own_data import OwnData, path_of, read_own
from mnist_cli.errors import DataError, OutputError

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.data.samples import Samples
    from mnist_cli.data.split import Normalisation, Split, TrainVal

Progress = Callable[[str], None]
Make = Callable[[str, "npt.NDArray[np.uint8]", "npt.NDArray[np.int64]"], Any]


@dataclass(frozen=True)
class LoadedData:
    """A data set on the CPU. The training images are read at their first use.

    Reading 60,000 training images takes as long as evaluating 10,000 test images.

    Attributes:
        spec: the data set.
        read_train: reads the training images.
        test: the test images.
        fallback: why the bundled digits replace MNIST; "" if they do not.
        remarks: how the user's own data were brought into MNIST's form.
        files: by split, the file of each image, if each has one.
        val: the validation images; None to cut them from the training images.
    """

    spec: DatasetSpec
    read_train: Callable[[], Split]
    test: Split
    fallback: str = ""
    remarks: tuple[str, ...] = ()
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    val: Split | None = None

    @cached_property
    def train(self) -> Split:
        """The training images.

        Raises:
            DataError: they are damaged; raised only at the first use.
        """
        return self.read_train()

    def cut(self, config: TrainConfig) -> TrainVal:
        """The images on which a run of this configuration trains, and on which it validates.

        Raises:
            UsageError: the configuration asks for more images than there are.
        """
        from mnist_cli.data.split import cut_validation

        return cut_validation(
            self.train,
            val_size=config.val_size,
            train_size=config.train_size,
            prefer_hard=config.prefer_hard,
            seed=config.seed,
            own_val=self.val,
        )

    @cached_property
    def fingerprint(self) -> str:
        """``sha256:…`` over the training images and labels, and the separate validation images."""
        splits = [self.train] + ([] if self.val is None else [self.val])
        parts = [(one.images.squeeze(1).numpy(), one.labels.numpy()) for one in splits]
        return idx.fingerprint(*(array for part in parts for array in part))

    @property
    def normalisation(self) -> Normalisation:
        """The training set's mean and standard deviation."""
        from mnist_cli.data.split import Normalisation

        return Normalisation(self.spec.mean, self.spec.std)

    def split(self, name: str) -> Split:
        """The split ``train`` or ``test``."""
        return self.train if name == "train" else self.test


def load(
    name: str,
    root: Path,
    *,
    download: bool = True,
    say: Progress | None = None,
    whole: bool = True,
) -> LoadedData:
    """Load a data set, and download it first if it is not under ``root``.

    Args:
        name: a data set of the catalogue, ``auto``, or a path to data of the user's own.
        root: the data directory.
        download: whether missing files may be downloaded.
        say: called with a line of text before each slow step.
        whole: read and check the training images now.

    Raises:
        DataError: the data set is not available, or is damaged.
        UsageError: no data set has this name.
    """
    from mnist_cli.data.split import Split

    return _load(name, root, Split.of, download=download, say=say, whole=whole)


def load_samples(
    name: str, root: Path, say: Progress | None
) -> tuple[Mapping[str, Samples], LoadedData]:
    """Load a data set as :func:`load` does, but as arrays, without torch.

    Returns:
        The splits ``train`` and ``test``, and the loaded data set, for its other attributes.
    """
    from mnist_cli.data.samples import Samples

    data = _load(name, root, Samples.of, download=True, say=say, whole=True)
    return {one: cast("Samples", data.split(one)) for one in ("train", "test")}, data


def _load(
    name: str, root: Path, make: Make, *, download: bool, say: Progress | None, whole: bool
) -> LoadedData:
    own = path_of(name)
    if own is not None:
        return _own(read_own(own, say), make, say)

    def opened(name: str, fallback: str = "") -> LoadedData:
        spec = catalogue.get(name)
        if download:
            _fetch_missing(spec, root, say)
        read = partial(_read, make, spec, root)
        data = LoadedData(spec, partial(read, "train"), read("test"), fallback)
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


def _fetch_missing(spec: DatasetSpec, root: Path, say: Progress | None) -> None:
    if spec.bundled or not store.locate(spec, root).missing:
        return
    from mnist_cli.data.fetch import fetch

    if say:
        say(f"fetching {spec.title} into {root}")
    fetch(spec, root)


def _own(data: OwnData, make: Make, say: Progress | None) -> LoadedData:
    """The user's own data; both splits are read, since the mean needs all training images."""
    if say:
        for remark in (data.in_words(), *data.remarks):
            say(f"{data.spec.title}: {remark}")
    train = make("train", data.train.images, data.train.labels)
    test = make("test", data.test.images, data.test.labels)
    val = None if data.val is None else make("val", data.val.images, data.val.labels)
    return LoadedData(
        data.spec, lambda: train, test, remarks=data.remarks, files=data.files(), val=val
    )


def _read(make: Make, spec: DatasetSpec, root: Path, split: SplitName) -> Any:
    arrays = store.read(spec, split, root)
    return make(split, arrays.images, arrays.labels)
