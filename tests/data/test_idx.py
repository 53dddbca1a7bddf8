"""IDX files: what torchvision reads, and what is wrong with any other file."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import idx_bytes
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from mnist_cli.data import idx
from mnist_cli.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}
SMALL = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = idx_bytes(SMALL)

# Without the time, so that parallel workers name these cases alike.
packed = partial(gzip.compress, mtime=0)
PACKED = packed(CONTENT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some-idx"


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("pack", [bytes, packed], ids=["raw", "gzip"])
def test_reads_what_torchvision_reads(file: Path, kind: str, shape, pack) -> None:
    array = (np.random.default_rng(1).normal(size=shape) * 90).astype(kind)
    content = idx_bytes(array, CODES[kind])
    file.write_bytes(content)
    theirs = read_sn3_pascalvincent_tensor(str(file)).numpy()
    file.write_bytes(pack(content))
    ours = idx.load(file).array
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)
    assert ours.dtype.isnative
    assert ours.flags.writeable


def test_checksums_are_those_of_file_and_content(file: Path) -> None:
    file.write_bytes(PACKED)
    loaded = idx.load(file)
    assert loaded.compressed
    assert loaded.stored_md5 == hashlib.md5(PACKED).hexdigest()
    assert loaded.raw_md5() == hashlib.md5(CONTENT).hexdigest()
    assert loaded.raw.tobytes() == CONTENT


def test_the_first_bytes_decide_whether_it_is_a_gzip(tmp_path: Path) -> None:
    """Some browsers decompress a download and leave its name as it was."""
    path = tmp_path / "images.gz"
    path.write_bytes(CONTENT)
    assert np.array_equal(idx.load(path).array, SMALL)


def test_several_gzip_members_are_one_file(file: Path) -> None:
    parts = [CONTENT[:3], b"", CONTENT[3:10], CONTENT[10:], b""]
    file.write_bytes(b"".join(packed(part) for part in parts))
    assert np.array_equal(idx.load(file).array, SMALL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated: empty"),
        (b"\0\0", "truncated within its header"),
        (b"\0\0\x08\x03\0\0", "truncated within its header"),
        (b"\1\0\x08\x01\0\0\0\1x", "begins with 01 00 08 01"),
        (b"\0\0\x07\x01\0\0\0\1x", "type 0x07 does not exist"),
        (b"\0\0\x08\x00", "0 dimensions"),
        (b"\0\0\x08\x05" + b"\0\0\0\1" * 5 + b"x", "5 dimensions"),
        (b"\0\0\x08\x02\0\0\0\0\0\0\0\5", "empty IDX file, of shape (0, 5)"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "more than the"),
        (b"\0\0\x08\x01\0\0\0\4xyz", "truncated: its header announces 12 bytes"),
        (b"\0\0\x08\x01\0\0\0\2xyz", "trailing bytes: its header announces 10 bytes"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\3\4 and so on", "zip archive"),
        (packed(b""), "truncated: empty"),
        (packed(CONTENT[:-1]), "truncated: its header announces 40 bytes"),
        (packed(CONTENT + b"x"), "trailing bytes: its header announces 40 bytes"),
        (PACKED + b"garbage", "damaged"),
        (PACKED + b"\x1f", "damaged"),
        (PACKED[:-5], "cut off"),
        (PACKED[:12], "cut off"),
        (PACKED[:-8] + bytes(8), "damaged"),
        (b"\x1f\x8b" + b"\xff" * 40, "damaged"),
    ],
)
def test_what_is_wrong_is_named(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.load(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [CONTENT, PACKED], ids=["raw", "gzip"])
def test_limit_is_kept(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match="more than the 39 allowed"):
        idx.load(file, limit=39)
    assert idx.load(file, limit=40).array.size == SMALL.size


def deflated_zeros(start: bytes) -> bytes:
    """A gzip of 256 MB in less than one."""
    engine = zlib.compressobj(9, wbits=31)
    parts = [engine.compress(start)]
    parts += [engine.compress(bytes(1 << 20)) for _ in range(256)]
    return b"".join([*parts, engine.flush()])


FALSE = b"\0\0\x08\x01" + struct.pack(">I", 400 << 20) + b"abc"
"""400 MB announced, within the limit, and a few bytes there."""


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (deflated_zeros(b"\0\0\x08\x03" + struct.pack(">III", 10, 28, 28)), 0),
        (deflated_zeros(b"\0\0\x08\x01" + struct.pack(">I", 0xFFFFFFFF)), 0),
        (deflated_zeros(b""), 0),
        (FALSE, 0),
        (packed(FALSE), 0),
        (b"", 1 << 40),
    ],
    ids=["small header", "huge header", "no header", "false header", "false in gzip", "huge file"],
)
def test_a_refusal_costs_no_memory(file: Path, content: bytes, size: int) -> None:
    file.write_bytes(content)
    os.truncate(file, size or len(content))
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            idx.load(file)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        idx.load(tmp_path / "none")
    with pytest.raises(DataError, match="not a regular file"):
        idx.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(DataError, match="not a regular file"):
        idx.load(file)


SEEDS = [CONTENT, PACKED, packed(CONTENT[:20]) * 2, b"\0\0\x08", b"\x1f\x8b\x08"]
EDITS = st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=99), st.integers(0, 4)))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_fuzz(tmp_path_factory, seed: bytes, edits) -> None:
    """Each edit replaces a few bytes by others, and so inserts, deletes or changes."""
    for position, new, length in edits:
        seed = seed[:position] + new + seed[position + length :]
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(seed)
    tracemalloc.start()
    try:
        assert idx.load(path, limit=1 << 20).array.nbytes <= 1 << 20
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20


def test_fingerprints_differ_by_values_shapes_types_and_order() -> None:
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
