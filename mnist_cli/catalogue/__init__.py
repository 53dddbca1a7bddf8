"""The known data sets: their sources, and the checksums of their files.

A table and a lookup. It neither reads nor downloads, and imports nothing heavy, so that
``mnist --help`` and the configuration can ask it for names.

File names, archives' checksums and class names are torchvision's, so a folder made by either
program works with the other. A test compares them with :mod:`torchvision.datasets.mnist`. Mirrors
are https only: torchvision reaches Fashion-MNIST and KMNIST over plain http, this program over
https, on the same hosts.
"""

from __future__ import annotations

from mnist_cli.base.suggest import did_you_mean
from mnist_cli.catalogue.spec import Bundle, DatasetSpec, Kind, SourceFile, SplitName, idx_bytes
from mnist_cli.errors import UsageError

DIGITS = tuple("0123456789")


def names() -> tuple[str, ...]:
    """The names of all data sets, the default first."""
    return tuple(_CATALOGUE)


def get(name: str) -> DatasetSpec:
    """The data set ``name``, which may have torchvision's spelling (``FashionMNIST``).

    Raises:
        UsageError: no data set has this name; suggests the nearest and lists them all.
    """
    spec = find(name)
    if spec is not None:
        return spec
    raise UsageError(
        f"no such data set: {name!r}, and no folder of that name",
        f"{did_you_mean(_plain(name), _CATALOGUE)} "
        f"Choose one of {', '.join(names())}, or give the path of your own.",
    )


def find(name: str) -> DatasetSpec | None:
    """Like :func:`get`; None if no data set has this name."""
    wanted = _plain(name)
    for spec in _CATALOGUE.values():
        if wanted in (spec.name, spec.folder.lower()) and wanted:
            return spec
    return None


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def owner(md5: str) -> DatasetSpec | None:
    """The data set that a file with this checksum belongs to, archive or not."""
    for spec in _CATALOGUE.values():
        if any(md5 in (file.md5, file.archive_md5) for file in spec.files):
            return spec
    return None


_SPLIT_KINDS: tuple[tuple[SplitName, Kind], ...] = (
    ("train", "images"),
    ("train", "labels"),
    ("test", "images"),
    ("test", "labels"),
)


def _files(
    counts: tuple[int, int],
    file_names: tuple[str, str, str, str],
    archive_md5s: tuple[str, ...] = (),
    md5s: tuple[str, ...] = (),
    label_columns: int = 1,
) -> tuple[SourceFile, ...]:
    """Four files in the order of ``_SPLIT_KINDS``."""
    return tuple(
        SourceFile(
            split=split,
            kind=kind,
            name=file_names[i],
            bytes=idx_bytes(kind, counts[i // 2], label_columns),
            archive_md5=archive_md5s[i] if archive_md5s else None,
            md5=md5s[i] if md5s else None,
        )
        for i, (split, kind) in enumerate(_SPLIT_KINDS)
    )


_MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

_SPECS = (
    DatasetSpec(
        name="mnist",
        title="MNIST",
        classes=DIGITS,
        folder="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files=_files(
            (60_000, 10_000),
            _MNIST_NAMES,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        train_count=60_000,
        test_count=10_000,
        mean=0.1307,
        std=0.3081,
    ),
    DatasetSpec(
        name="fashion-mnist",
        title="Fashion-MNIST",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        folder="FashionMNIST",
        mirrors=(
            # The bucket behind torchvision's address, whose website endpoint has no https.
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files=_files(
            (60_000, 10_000),
            _MNIST_NAMES,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        train_count=60_000,
        test_count=10_000,
        mean=0.2860,
        std=0.3530,
    ),
    DatasetSpec(
        name="kmnist",
        title="Kuzushiji-MNIST",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folder="KMNIST",
        mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        files=_files(
            (60_000, 10_000),
            _MNIST_NAMES,
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        train_count=60_000,
        test_count=10_000,
        mean=0.1918,
        std=0.3483,
    ),
    DatasetSpec(
        name="qmnist",
        title="QMNIST",
        classes=DIGITS,
        folder="QMNIST",
        mirrors=("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        files=_files(
            (60_000, 60_000),
            (
                "qmnist-train-images-idx3-ubyte",
                "qmnist-train-labels-idx2-int",
                "qmnist-test-images-idx3-ubyte",
                "qmnist-test-labels-idx2-int",
            ),
            (
                "ed72d4157d28c017586c42bc6afe6370",
                "0058f8dd561b90ffdd0f734c6a30e5e4",
                "1394631089c404de565df7b7aeaf9412",
                "5b5b05890a5e13444e108efe57b788aa",
            ),
            label_columns=8,
        ),
        train_count=60_000,
        test_count=60_000,
        # Its training images rebuild MNIST's, whose figures these are.
        mean=0.1307,
        std=0.3081,
        label_columns=8,
    ),
    DatasetSpec(
        name="emnist-digits",
        title="EMNIST digits",
        classes=DIGITS,
        folder="EMNIST",
        mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
        files=_files(
            (240_000, 40_000),
            (
                "emnist-digits-train-images-idx3-ubyte",
                "emnist-digits-train-labels-idx1-ubyte",
                "emnist-digits-test-images-idx3-ubyte",
                "emnist-digits-test-labels-idx1-ubyte",
            ),
        ),
        train_count=240_000,
        test_count=40_000,
        mean=0.1733,
        std=0.3317,
        # About 535 MiB, of which the digits are a ninth.
        bundle=Bundle("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e", "gzip/", 600 * 2**20),
        transposed=True,
        fetch_seconds=3600.0,
    ),
    DatasetSpec(
        name="digits",
        title="scikit-learn's digits",
        classes=DIGITS,
        train_count=1_415,
        test_count=382,
        mean=0.1579,
        std=0.2929,
    ),
)

_CATALOGUE = {spec.name: spec for spec in _SPECS}
