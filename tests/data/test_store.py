from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import NAMES, Made, idx_bytes, lay, make, md5

from mnist_cli import catalogue
from mnist_cli.data import store
from mnist_cli.errors import DataError


def dotted(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("-idx", ".idx"): content for name, content in files.items()}


def checksums(made: Made, root: Path) -> set[str]:
    return {report.checksum for report in store.verify(made.spec, root)}


def is_whole(made: Made, root: Path) -> bool:
    for split in ("train", "test"):
        arrays = store.read(made.spec, split, root)
        if not np.array_equal(arrays.images, made.arrays[split, "images"]):
            return False
        if not np.array_equal(arrays.labels, made.arrays[split, "labels"]):
            return False
    return True


@pytest.mark.parametrize("under", [".", "raw", "MNIST", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dots", [False, True])
def test_every_layout_is_found(
    made: Made, tmp_path: Path, under: str, packed: bool, dots: bool
) -> None:
    files = made.archives if packed else made.raw
    lay(tmp_path / under, dotted(files) if dots else files)
    assert not store.locate(made.spec, tmp_path).missing
    assert is_whole(made, tmp_path)
    assert checksums(made, tmp_path) == {"ok"}


def test_types_are_what_training_takes(made: Made, tmp_path: Path) -> None:
    arrays = store.read(made.spec, "train", lay(tmp_path, made.raw))
    assert (arrays.images.dtype, arrays.labels.dtype) == (np.uint8, np.int64)
    assert arrays.images.flags.c_contiguous
    assert arrays.images.flags.writeable


def test_torchvisions_folder_comes_before_a_flat_one(made: Made, tmp_path: Path) -> None:
    lay(tmp_path, make(seed=1).raw)
    lay(tmp_path / "MNIST" / "raw", made.raw)
    assert is_whole(made, tmp_path)


def test_missing_files_are_named_with_where_and_the_ways_out(made: Made, tmp_path: Path) -> None:
    names = [name for name in made.raw if name != "train-labels-idx1-ubyte"]
    lay(tmp_path, {name: made.raw[name] for name in names})
    with pytest.raises(DataError) as caught:
        store.read(made.spec, "train", tmp_path)
    assert "train-labels-idx1-ubyte" in caught.value.message
    assert "train-images-idx3-ubyte" not in caught.value.message
    assert str(tmp_path / "MNIST" / "raw") in caught.value.message
    assert "mnist data fetch made" in caught.value.hint
    assert "MNIST_DATA_DIR" in caught.value.hint
    assert len(store.read(made.spec, "test", tmp_path)) == made.spec.test_count
    with pytest.raises(DataError, match=r"the directory .* does not exist"):
        store.read(made.spec, "train", tmp_path / "none")


@pytest.mark.parametrize("packed", [False, True])
def test_a_tampered_file_of_the_right_size_is_refused(
    made: Made, tmp_path: Path, packed: bool
) -> None:
    name = "train-images-idx3-ubyte"
    tampered = bytearray(made.raw[name])
    tampered[1000] ^= 1
    content = gzip.compress(tampered) if packed else bytes(tampered)
    lay(tmp_path, made.raw | {name: content})
    with pytest.raises(DataError) as caught:
        store.read(made.spec, "train", tmp_path)
    assert f"md5 {md5(content)}, expected" in caught.value.message
    assert "mnist data fetch made" in caught.value.hint


def test_genuine_bytes_packed_anew_are_genuine(made: Made, tmp_path: Path) -> None:
    lay(tmp_path, {f"{name}.gz": gzip.compress(raw, 1) for name, raw in made.raw.items()})
    assert is_whole(made, tmp_path)
    assert checksums(made, tmp_path) == {"ok"}


def test_without_a_known_checksum_the_archive_is_preferred(made: Made, tmp_path: Path) -> None:
    made = made.without_md5()
    lay(tmp_path, make(seed=1).raw | made.archives)
    assert is_whole(made, tmp_path)


def test_recorded_checksums_are_compared(made: Made, tmp_path: Path) -> None:
    made = made.without_md5()
    lay(tmp_path, made.raw)
    assert is_whole(made, tmp_path)
    assert checksums(made, tmp_path) == {"unknown"}
    for name, content in made.raw.items():  # each record keeps those before
        record = store.record_checksums(tmp_path, {name: md5(content)})
        (tmp_path / store.CHECKSUMS).write_text(record)
    assert checksums(made, tmp_path) == {"ok"}
    lay(tmp_path, make(seed=1).raw)
    with pytest.raises(DataError, match="is not the Made-up file"):
        store.read(made.spec, "train", tmp_path)


@pytest.mark.parametrize("record", ["[]", '{"format": 1, "md5": 3}', "\xff", "[" * 9999])
def test_a_broken_record_is_ignored(made: Made, tmp_path: Path, record: str) -> None:
    made = made.without_md5()
    lay(tmp_path, made.raw)
    (tmp_path / store.CHECKSUMS).write_bytes(record.encode("latin-1"))
    assert checksums(made, tmp_path) == {"unknown"}


def with_file(made: Made, name: str, content: bytes) -> Made:
    """The same set with another file in it, of which no checksum is known."""
    files = tuple(
        replace(f, bytes=len(content), md5=None, archive_md5=None) if f.name == name else f
        for f in made.spec.files
    )
    return replace(made, spec=replace(made.spec, files=files), raw={**made.raw, name: content})


@pytest.mark.parametrize(
    ("kind", "array", "code", "words"),
    [
        (
            *("images", np.zeros((39, 28, 28), np.uint8), 0x08),
            "(39, 28, 28); Made-up's train images are uint8 of shape (40, 28, 28)",
        ),
        ("images", np.zeros((40, 784), np.uint8), 0x08, "(40, 784)"),
        ("images", np.zeros((40, 28, 28), np.int8), 0x09, "int8"),
        ("labels", np.zeros(39, np.uint8), 0x08, "train labels are integers of shape (40,)"),
        ("labels", np.zeros((40, 1), np.uint8), 0x08, "(40, 1)"),
        ("labels", np.zeros(40, ">f4"), 0x0D, "float32"),
        ("labels", np.arange(40, dtype=np.uint8), 0x08, "label 10 at position 10"),
        ("labels", np.full(40, -1, np.int8), 0x09, "label -1 at position 0"),
    ],
)
def test_what_does_not_fit_is_refused(made, tmp_path, kind, array, code, words) -> None:
    made = with_file(made, NAMES["train", kind], idx_bytes(array, code))
    with pytest.raises(DataError) as caught:
        store.read(made.spec, "train", lay(tmp_path, made.raw))
    assert words in caught.value.message


EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(NAMES.values())), packed=st.booleans(), edits=EDITS)
def test_any_bytes_are_refused_or_other_pixels_and_labels(
    tmp_path_factory: pytest.TempPathFactory, name: str, packed: bool, edits: list
) -> None:
    """Without a checksum other values are as good as the true ones; their shapes are not."""
    made = make()
    files = tuple(replace(file, md5=None, archive_md5=None) for file in made.spec.files)
    spec = replace(made.spec, files=files)
    content = gzip.compress(made.raw[name], mtime=0) if packed else made.raw[name]
    for at, new, length in edits:
        content = content[:at] + new + content[at + length :]
    folder = lay(tmp_path_factory.getbasetemp() / "fuzzed", made.raw | {name: content})
    split = next(of for (of, _), file in NAMES.items() if file == name)
    try:
        arrays = store.read(spec, split, folder)
    except DataError:
        assert any(report.problem for report in store.verify(spec, folder))
        return
    assert arrays.images.shape == made.arrays[split, "images"].shape
    assert arrays.images.dtype == np.uint8
    assert arrays.labels.shape == made.arrays[split, "labels"].shape
    assert 0 <= arrays.labels.min() <= arrays.labels.max() <= 9


def test_another_data_sets_files_are_recognised(made: Made, tmp_path, monkeypatch) -> None:
    """Raw files of which only the other set's checksum is known, as MNIST's for KMNIST."""
    monkeypatch.setattr(catalogue, "_CATALOGUE", {"made": made.spec})
    other = replace(make(seed=1).without_md5().spec, name="other", title="Other", folder="Other")
    lay(tmp_path, made.raw)
    with pytest.raises(DataError, match=r"is not the Other file.*it is Made-up's"):
        store.read(other, "train", tmp_path)


def test_transposed_images_are_turned_upright(made: Made, tmp_path: Path) -> None:
    lay(tmp_path, made.raw)
    images = store.read(replace(made.spec, transposed=True), "train", tmp_path).images
    assert np.array_equal(images[3], made.arrays["train", "images"][3].T)
    assert images.flags.c_contiguous


def test_of_several_label_columns_the_first_is_the_class(made: Made, tmp_path: Path) -> None:
    columns = np.random.default_rng(2).integers(0, 10**6, (40, 8)).astype(">i4")
    columns[:, 0] = made.arrays["train", "labels"]
    name = NAMES["train", "labels"]
    made = with_file(made, name, idx_bytes(columns, 0x0C))
    spec = replace(made.spec, label_columns=8)
    labels = store.read(spec, "train", lay(tmp_path, made.raw)).labels
    assert np.array_equal(labels, made.arrays["train", "labels"])


def test_verify_reports_every_copy(made: Made, tmp_path: Path) -> None:
    name = "t10k-images-idx3-ubyte"
    lay(tmp_path, made.raw | {name: made.raw[name][:-1]})
    lay(tmp_path / "MNIST" / "raw", made.archives)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(make(seed=1).raw["train-labels-idx1-ubyte"])
    reports = {
        report.path.relative_to(tmp_path).as_posix(): report
        for report in store.verify(made.spec, tmp_path)
    }
    assert len(reports) == 8
    assert all(reports[f"MNIST/raw/{archive}"].checksum == "ok" for archive in made.archives)
    good = reports["train-images-idx3-ubyte"]
    assert (good.checksum, good.readable, good.problem) == ("ok", True, "")
    assert good.bytes == len(made.raw["train-images-idx3-ubyte"])
    cut = reports[name]
    assert (cut.checksum, cut.readable) == ("unknown", False)
    assert "truncated" in cut.problem
    foreign = reports["train-labels-idx1-ubyte"]
    assert (foreign.checksum, foreign.readable) == ("bad", True)
    assert "expected" in foreign.problem


def test_verify_reports_what_does_not_fit(made: Made, tmp_path: Path) -> None:
    name = NAMES["train", "labels"]
    made = with_file(made, name, idx_bytes(np.full(40, 10, np.uint8)))
    lay(tmp_path, made.raw)
    problems = [report.problem for report in store.verify(made.spec, tmp_path) if report.problem]
    assert len(problems) == 1
    assert problems[0].endswith("is not one of the 10 classes")


def test_reading_imports_no_torch_and_opens_no_socket(made: Made, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "spec").write_bytes(pickle.dumps(made.spec))
    lay(tmp_path, made.raw)
    code = (
        "import pickle, socket, sys\n"
        "def closed(*_, **__): raise AssertionError('a socket')\n"
        "socket.socket = socket.getaddrinfo = closed\n"
        "from mnist_cli.data import store\n"
        "from pathlib import Path\n"
        "root = Path(sys.argv[1])\n"
        "spec = pickle.loads((root / 'spec').read_bytes())\n"
        "assert len(store.read(spec, 'train', root)) == 40\n"
        "assert not {'torch', 'torchvision', 'sklearn', 'filelock'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.mnist
def test_mnist_is_what_torchvision_reads(mnist_dir: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in mnist_dir.glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    for split in ("train", "test"):
        ours = store.read(catalogue.get("mnist"), split, mnist_dir)
        theirs = tv.MNIST(tmp_path, train=split == "train")
        assert np.array_equal(ours.images, theirs.data.numpy())
        assert np.array_equal(ours.labels, theirs.targets.numpy())


@pytest.mark.parametrize("packed", [False, True])
def test_a_glance_reads_the_labels_alone(made: Made, tmp_path: Path, packed: bool) -> None:
    lay(tmp_path, made.archives if packed else made.raw)
    assert store.glance(store.locate(made.spec, tmp_path)) == ""
    name = NAMES["test", "labels"]
    lay(tmp_path, {name: make(seed=1).raw[name]})
    assert f"{name} is not the Made-up file" in store.glance(store.locate(made.spec, tmp_path))
    lay(tmp_path, {name: b"\xff" * 9})
    assert f"{name}: not an IDX file" in store.glance(store.locate(made.spec, tmp_path))


def test_a_glance_notices_images_of_the_wrong_size(made: Made, tmp_path: Path) -> None:
    name = NAMES["train", "images"]
    lay(tmp_path, made.raw | {name: made.raw[name][:-1]})
    problem = store.glance(store.locate(made.spec, tmp_path))
    assert problem == f"{tmp_path / name} holds 31,375 bytes, not 31,376"


@pytest.mark.parametrize("packed", [False, True])
def test_reading_ahead_reads_the_same_once(made: Made, tmp_path: Path, packed: bool) -> None:
    lay(tmp_path, made.archives if packed else made.raw)
    store.begin_reading(made.spec, tmp_path)
    assert len(store._begun) == 1
    assert is_whole(made, tmp_path)
    assert not store._begun
    assert is_whole(made, tmp_path)


def test_what_is_wrong_is_said_when_it_is_read(made: Made, tmp_path: Path) -> None:
    lay(tmp_path, made.archives)
    damaged = tmp_path / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    store.begin_reading(made.spec, tmp_path)
    with pytest.raises(DataError, match="cut off"):
        store.read(made.spec, "train", tmp_path)
    store.begin_reading(catalogue.get("digits"), tmp_path)
    store.begin_reading(made.spec, tmp_path / "nowhere")
    assert not store._begun
