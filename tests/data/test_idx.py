from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from mnist_cli.data import idx
from mnist_cli.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
SMALL = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def by_hand(array: np.ndarray, code: int = 0x08) -> bytes:
    """The format, independently of the program's writer."""
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


# Without the time, so that parallel workers name these cases alike.
packed = partial(gzip.compress, mtime=0)


def failure(path: Path, content: bytes, **options) -> str:
    """Write ``content``, read it, and give the message of the failure that must follow."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read_idx(path, **options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some-idx"


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_reads_what_torchvision_reads(file: Path, kind: str, shape, pack) -> None:
    array = (np.random.default_rng(1).normal(size=shape) * 90).astype(kind)
    content = by_hand(array, CODES[kind])
    file.write_bytes(content)
    theirs = read_sn3_pascalvincent_tensor(str(file)).numpy()
    file.write_bytes(pack(content))
    ours = idx.read_idx(file)
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)
    assert ours.dtype.isnative
    assert ours.flags.writeable


@pytest.mark.parametrize("name", ["labels", "labels.gz"])
@pytest.mark.parametrize("kind", CODES)
def test_writes_what_torchvision_reads(tmp_path: Path, kind: str, name: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(kind)
    path = tmp_path / name
    idx.write_idx(path, array)
    if path.suffix == ".gz":
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert np.array_equal(read_sn3_pascalvincent_tensor(str(path)).numpy(), array)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    idx.write_idx(tmp_path / "a.gz", SMALL)
    idx.write_idx(tmp_path / "b.gz", SMALL)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize(
    "array", [np.zeros(3, dtype=np.int64), np.zeros((1,) * 5, dtype=np.uint8), np.zeros((0, 3))]
)
def test_writing_refuses_what_the_format_cannot_hold(file: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError):
        idx.write_idx(file, array)
    assert not file.exists()


def test_checksums_are_those_of_file_and_content(file: Path) -> None:
    content = by_hand(SMALL)
    file.write_bytes(gzip.compress(content))
    loaded = idx.load(file)
    assert loaded.compressed
    assert loaded.stored_md5 == hashlib.md5(file.read_bytes()).hexdigest()
    assert loaded.raw_md5() == hashlib.md5(content).hexdigest()
    assert loaded.raw.tobytes() == content


def test_a_gzip_is_told_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    """Some browsers decompress a download and leave its name as it was."""
    path = tmp_path / "images.gz"
    path.write_bytes(by_hand(SMALL))
    assert np.array_equal(idx.read_idx(path), SMALL)


def test_several_gzip_members_are_one_file(file: Path) -> None:
    content = by_hand(SMALL)
    parts = [content[:3], b"", content[3:10], content[10:], b""]
    file.write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert np.array_equal(idx.read_idx(file), SMALL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated: empty"),
        (b"\0\0", "truncated within its header"),
        (b"\0\0\x08\x03\0\0", "truncated within its header"),
        (b"\1\0\x08\x01\0\0\0\1x", "begins with 01 00 08 01"),
        (b"\0\0\x07\x01\0\0\0\1x", "no type 0x07"),
        (b"\0\0\x08\x00", "0 dimensions"),
        (b"\0\0\x08\x05" + b"\0\0\0\1" * 5 + b"x", "5 dimensions"),
        (b"\0\0\x08\x02\0\0\0\0\0\0\0\5", "empty IDX file, of shape (0, 5)"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "more than the"),
        (b"\0\0\x08\x01\0\0\0\4xyz", "truncated: its header announces 12 bytes"),
        (b"\0\0\x08\x01\0\0\0\2xyz", "trailing bytes: its header announces 10 bytes"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\3\4 and so on", "zip archive"),
    ],
)
def test_what_is_wrong_is_named(file: Path, content: bytes, words: str) -> None:
    assert words in failure(file, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(b""), "truncated: empty"),
        (packed(by_hand(SMALL)[:-1]), "truncated: 39 of 40 bytes"),
        (packed(by_hand(SMALL) + b"x"), "trailing bytes after the 40"),
        (packed(by_hand(SMALL)) + b"garbage", "trailing bytes after the end of the gzip"),
        (packed(by_hand(SMALL)) + bytes(512), "trailing bytes after the end of the gzip"),
        (packed(by_hand(SMALL)) + b"\x1f", "trailing bytes after the end of the gzip"),
        (packed(by_hand(SMALL))[:-5], "cut off"),
        (packed(by_hand(SMALL))[:12], "cut off"),
        (packed(by_hand(SMALL))[:-8] + bytes(8), "damaged"),
        (b"\x1f\x8b" + b"\xff" * 40, "damaged"),
    ],
)
def test_what_is_wrong_in_a_gzip_is_named(file: Path, content: bytes, words: str) -> None:
    assert words in failure(file, content)


def test_a_flipped_bit_in_a_gzip_never_changes_what_is_read(file: Path) -> None:
    """Some bits mean nothing (time, system, padding): then the content is the same."""
    content = gzip.compress(by_hand(SMALL), mtime=0)
    refused = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        file.write_bytes(flipped)
        try:
            assert np.array_equal(idx.read_idx(file), SMALL)
        except DataError:
            refused += 1
    assert refused > len(content) - 12


def test_limit_is_kept(file: Path) -> None:
    content = by_hand(SMALL)
    assert "more than the 39 allowed" in failure(file, content, limit=39)
    file.write_bytes(content)
    assert idx.read_idx(file, limit=40).size == SMALL.size


def peak_of_failing(path: Path) -> int:
    """The most memory that the refusal of ``path`` takes, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            idx.read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def deflated_zeros(start: bytes, count: int) -> bytes:
    engine = zlib.compressobj(9, wbits=31)
    chunk = bytes(1 << 20)
    parts = [engine.compress(start)]
    parts += [engine.compress(chunk) for _ in range(count >> 20)]
    return b"".join([*parts, engine.flush()])


@pytest.mark.parametrize(
    "start",
    [
        b"\0\0\x08\x03" + struct.pack(">III", 10, 28, 28),
        b"\0\0\x08\x01" + struct.pack(">I", 0xFFFFFFFF),
        b"",
    ],
    ids=["small header", "huge header", "no header"],
)
def test_a_gzip_bomb_costs_no_memory(file: Path, start: bytes) -> None:
    file.write_bytes(deflated_zeros(start, 256 << 20))
    assert file.stat().st_size < 1 << 20
    assert peak_of_failing(file) < 4 << 20


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_a_lying_header_costs_no_memory(file: Path, pack) -> None:
    """400 MB announced, within the limit, and a few bytes there."""
    file.write_bytes(pack(b"\0\0\x08\x01" + struct.pack(">I", 400 << 20) + b"abc"))
    assert peak_of_failing(file) < 4 << 20


def test_a_gzip_of_nothing_but_members_ends(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "_MAX_MEMBERS", 100)
    assert "more than 100 members" in failure(file, gzip.compress(b"") * 200)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        idx.read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="not a regular file"):
        idx.read_idx(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(DataError, match="not a regular file"):
        idx.read_idx(file)


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tracemalloc.start()
    try:
        array = idx.read_idx(path, limit=1 << 20)
        assert array.nbytes <= 1 << 20
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = [by_hand(SMALL), packed(by_hand(SMALL)), packed(by_hand(SMALL)[:20]) * 2]


@FUZZ
@given(content=st.binary(max_size=200))
def test_fuzz_random_bytes(tmp_path_factory, content: bytes) -> None:
    survives(tmp_path_factory.getbasetemp() / "fuzz", content)


@FUZZ
@given(start=st.sampled_from([b"\0\0", b"\0\0\x08", b"\x1f\x8b\x08"]), rest=st.binary(max_size=99))
def test_fuzz_random_bytes_after_a_good_start(tmp_path_factory, start: bytes, rest: bytes) -> None:
    survives(tmp_path_factory.getbasetemp() / "fuzz", start + rest)


@FUZZ
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=4), st.integers(0, 4))),
)
def test_fuzz_edited_files(tmp_path_factory, seed: bytes, edits) -> None:
    """Each edit replaces a few bytes by a few others, and so inserts, deletes or changes."""
    for position, new, length in edits:
        seed = seed[:position] + new + seed[position + length :]
    survives(tmp_path_factory.getbasetemp() / "fuzz", seed)


def test_fingerprint_tells_values_shapes_types_and_order_apart() -> None:
    variants = [
        [SMALL],
        [SMALL + 1],
        [SMALL.reshape(4, 3, 2)],
        [SMALL.astype(np.int8)],
        [SMALL, SMALL],
        [SMALL[::-1]],
        [SMALL.transpose(1, 0, 2)],
    ]
    assert len({idx.fingerprint(*arrays) for arrays in variants}) == len(variants)


def test_fingerprint_is_of_values_not_of_memory() -> None:
    numbers = np.arange(6, dtype="<i4")
    assert idx.fingerprint(numbers) == idx.fingerprint(numbers.astype(">i4"))
    assert idx.fingerprint(SMALL) == idx.fingerprint(np.asfortranarray(SMALL))


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, mnist_cli.data.idx; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.mnist
@pytest.mark.parametrize("split", ["train", "t10k"])
def test_mnist_itself(mnist_dir: Path, tmp_path: Path, split: str) -> None:
    packed = mnist_dir / f"{split}-images-idx3-ubyte.gz"
    raw = tmp_path / "raw"
    raw.write_bytes(gzip.decompress(packed.read_bytes()))
    theirs = read_sn3_pascalvincent_tensor(str(raw)).numpy()
    assert np.array_equal(idx.read_idx(packed), theirs)
    assert np.array_equal(idx.read_idx(raw), theirs)
