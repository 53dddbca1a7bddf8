from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torchvision.datasets as tv

from mnist_cli import catalogue
from mnist_cli.catalogue.spec import DatasetSpec
from mnist_cli.data import store
from mnist_cli.errors import UsageError

TORCHVISION = {
    "mnist": tv.MNIST,
    "fashion-mnist": tv.FashionMNIST,
    "kmnist": tv.KMNIST,
    "qmnist": tv.QMNIST,
    "emnist-digits": tv.EMNIST,
}
REMOTE = [catalogue.get(name) for name in TORCHVISION]


def every(specs: list[DatasetSpec]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.name)


@every([spec for spec in REMOTE if spec.name in ("mnist", "fashion-mnist", "kmnist")])
def test_archives_are_torchvisions(spec: DatasetSpec) -> None:
    assert [(f.archive, f.archive_md5) for f in spec.files] == TORCHVISION[spec.name].resources


def test_qmnists_and_emnists_archives_are_torchvisions() -> None:
    spec = catalogue.get("qmnist")
    resources = tv.QMNIST.resources["train"] + tv.QMNIST.resources["test"]
    assert [(spec.mirrors[0] + f.archive, f.archive_md5) for f in spec.files] == resources
    spec = catalogue.get("emnist-digits")
    assert spec.bundle is not None
    assert spec.mirrors[0] + spec.bundle.name == tv.EMNIST.url
    assert spec.bundle.md5 == tv.EMNIST.md5


@every(REMOTE)
def test_folder_and_file_names_are_where_torchvision_looks(spec: DatasetSpec) -> None:
    made = TORCHVISION[spec.name].__new__(TORCHVISION[spec.name])
    made.root, made.split = "root", "digits"
    assert store.raw_folder(spec, Path(made.root)).as_posix() == made.raw_folder
    for train, what in ((True, "train"), (False, "test")):
        made.train, made.what = train, what
        if hasattr(made, "images_file"):
            raw = store.raw_folder(spec, Path(made.root))
            assert (raw / spec.file(what, "images").name).as_posix() == made.images_file
            assert (raw / spec.file(what, "labels").name).as_posix() == made.labels_file


@every(REMOTE)
def test_class_names_are_torchvisions(spec: DatasetSpec) -> None:
    cls = TORCHVISION[spec.name]
    theirs = cls.classes_split_dict["digits"] if cls is tv.EMNIST else cls.classes
    # Torchvision calls the digits "0 - zero" and so on.
    assert [re.sub(r" - .*", "", name) for name in theirs] == list(spec.classes)


@every(REMOTE)
def test_mirrors_are_https_and_include_torchvisions_host(spec: DatasetSpec) -> None:
    assert all(urlsplit(m).scheme == "https" and m.endswith("/") for m in spec.mirrors)
    cls = TORCHVISION[spec.name]
    theirs = {
        tv.QMNIST: [tv.QMNIST.resources["train"][0][0]],
        tv.EMNIST: [tv.EMNIST.url],
    }.get(cls, cls.mirrors)
    # An S3 bucket's website endpoint, which has no https, and its REST endpoint are one.
    ours = {urlsplit(m).hostname.replace(".s3.", ".s3-website.") for m in spec.mirrors}
    hosts = {urlsplit(m).hostname for m in theirs}
    assert ours & (hosts | {host.replace(".s3.", ".s3-website.") for host in hosts})


def test_file_sizes_follow_from_the_counts() -> None:
    spec = catalogue.get("qmnist")
    assert spec.file("train", "images").bytes == 16 + 60_000 * 28 * 28
    assert spec.file("test", "labels").bytes == 12 + 60_000 * 8 * 4


@pytest.mark.mnist
def test_mnist_sizes_and_normalisation_are_the_files(mnist_dir) -> None:
    spec = catalogue.get("mnist")
    pixels = store.read(spec, "train", mnist_dir).images / np.float32(255)
    assert spec.mean == pytest.approx(pixels.mean(dtype=np.float64), abs=5e-5)
    assert spec.std == pytest.approx(pixels.std(dtype=np.float64), abs=5e-5)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("mnist", "mnist"), ("FashionMNIST", "fashion-mnist"), ("emnist_digits", "emnist-digits")],
)
def test_spellings(spelling: str, name: str) -> None:
    assert catalogue.get(spelling).name == name


@pytest.mark.parametrize(
    ("name", "guess"),
    [("fashon-mnist", "Did you mean 'fashion-mnist'?"), ("cifar-10", ""), ("", "")],
)
def test_an_unknown_name_lists_all_and_guesses_if_one_is_near(name: str, guess: str) -> None:
    with pytest.raises(UsageError) as caught:
        catalogue.get(name)
    assert f"'{name}'" in caught.value.message
    assert guess in caught.value.hint
    assert ("Did you mean" in caught.value.hint) == bool(guess)
    assert all(known in caught.value.hint for known in (*TORCHVISION, "digits"))


def test_owner_knows_archives_and_extracted_files() -> None:
    spec = catalogue.get("mnist")
    assert catalogue.owner(spec.files[0].md5) is spec
    assert catalogue.owner(catalogue.get("kmnist").files[2].archive_md5).name == "kmnist"
    assert catalogue.owner("0" * 32) is None
