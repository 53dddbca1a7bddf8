"""CSV, npz and Parquet files of strangers: exit 3, the file named, nothing run, memory bounded."""

from __future__ import annotations

import gzip
import importlib.util
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_files import Proof, npy_header
from readers import fuzz, good
from tally import Tally
from victim import ALLOWED, MEGABYTE, End, Victim

BOUND = 320 * MEGABYTE
"""Above the warm program: a line of 32 MiB and the values in it; a fraction of what bombs hold."""
ROW = b"7" + b",0" * 784 + b"\n"


def commands(file: Path, checkpoint: Path) -> list[list[object]]:
    """Every way in for a data file."""
    return [
        ["data", "verify", file],
        ["data", "convert", file, "--out", "made"],
        ["train", "--dataset", file, "--config", "smoke", "--dry-run", "--quiet"],
        ["predict", file, "--checkpoint", checkpoint, "--csv"],
    ]


def attack(world: Victim, name: str, content: bytes, chosen: slice) -> list[End]:
    path = world.folder / name
    path.write_bytes(content)
    ends = world.run(*commands(path, good(world))[chosen])
    path.unlink()
    return ends


# --- text


@cache
def stream(start: bytes, part: bytes, megabytes: int) -> bytes:
    """A gzip of ``start``, and of ``part`` without end."""
    engine = zlib.compressobj(9, wbits=31)
    block = part * (MEGABYTE // len(part))
    parts = [engine.compress(start)]
    parts += [engine.compress(block) for _ in range(megabytes)]
    return b"".join([*parts, engine.flush()])


def texts(size: int) -> dict[str, bytes]:
    """CSV files that are huge when they are read; ``size`` in megabytes."""
    return {
        "a line without end": b"1," * (20 * MEGABYTE),
        "a number without end": b"7," + b"1" * (40 * MEGABYTE),
        "zeros in a gzip": stream(b"", bytes(1), size),
        "zeros after a row": stream(ROW, bytes(1), size),
        "a line without end in a gzip": stream(ROW, b"1,", size),
        "rows without end in a gzip": stream(ROW, ROW, size),
        "empty lines in a gzip": stream(ROW, b"\n", size),
        "a quote that never closes": b'7,"' + b"0," * 783 + b"\n" + ROW * 2000,
    }


# --- npz


def saved(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(level: int = 9, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def archives(folder: Path, size: int) -> dict[str, bytes]:
    """npz files with code, false headers and far more than their size; ``size`` in megabytes."""
    labels = np.arange(30) % 3
    proof = Proof(folder / "proof")
    zeros = bytes(size * MEGABYTE)
    count = len(zeros) // 784
    y = npy_header("(30,)") + labels.astype(np.uint8).tobytes()
    many = zipped(**{f"a{number}": b"" for number in range(3000)})
    whole = saved(x=np.zeros((30, 28, 28), np.uint8), y=labels)
    return {
        "objects as images": saved(x=np.array([proof] * 30, dtype=object), y=labels),
        "a pickle in an array's place": zipped(x=pickle.dumps(proof), y=y),
        "10^12 images": zipped(x=npy_header("(1000000000000, 28, 28)"), y=y),
        "10^12 labels": zipped(
            x=npy_header("(30, 28, 28)") + bytes(23_520), y=npy_header("(10**12,)")
        ),
        "labels of 8 TB": zipped(
            x=npy_header("(30, 28, 28)") + bytes(23_520), y=npy_header("(1000000000000,)", "'<f8'")
        ),
        "a bomb": zipped(x=npy_header(f"({count}, 28, 28)") + zeros[: count * 784], y=y),
        "a bomb in Fortran's order": zipped(
            x=npy_header(f"({count}, 28, 28)", fortran=True) + zeros[: count * 784], y=y
        ),
        "a bomb behind a small array": zipped(x=npy_header("(30, 28, 28)") + zeros, y=y),
        "a bomb as a header": zipped(
            x=b"\x93NUMPY\2\0" + struct.pack("<I", len(zeros)) + zeros, y=y
        ),
        "a call in the header": zipped(x=npy_header("__import__('os').mkdir('proof')"), y=y),
        "a directory of 1 GB": whole[:-10] + struct.pack("<I", 1 << 30) + whole[-6:],
        "3,000 entries": many,
    }


# --- Parquet


def tables(size: int) -> dict[str, bytes]:
    """Parquet files that are damaged, or huge when they are read; ``size`` in megabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def written(**columns: Any) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd", use_dictionary=["image"])
        return buffer.getvalue()

    large = pa.array([bytes(size * MEGABYTE)], pa.binary())
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 900, pa.int32()), large)
    labels = [number % 3 for number in range(900)]
    plain = written(image=pa.array([b"x"] * 900, pa.binary()), label=labels)
    return {
        "one large value in each row": written(image=repeated, label=labels),
        "values of a gigabyte": written(
            image=pa.array([bytes(size * MEGABYTE)] * 3), label=[0, 1, 2]
        ),
        "a million rows of nothing": written(
            image=pa.nulls(1_000_000, pa.binary()), label=[0] * 1_000_000
        ),
        "30,000 columns": written(**{f"p{number}": [0] for number in range(30_000)}),
        "a footer of 2 GB": plain[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
        "a footer of noise": plain[:-208] + bytes(range(200)) + plain[-8:],
    }


def check(tally: Tally, world: Victim, cases: dict[str, bytes], name: str, bound: int) -> int:
    """Each command, or one of them in turn, refuses each file; the most memory that one took."""
    peaks = [0]
    chosen_cases = list(cases.items())[:: tally.times(2, 1)]
    for number, (case, content) in enumerate(chosen_cases):
        chosen = slice(None) if tally.full else slice(number % 4, number % 4 + 1)
        for end in attack(world, name, content, chosen):
            survived = end.refused(3) and end.peak < bound
            tally.check(survived, f"{case}: {end.code} {end.peak >> 20} MB {end.message[-300:]}")
            peaks.append(end.peak)
        assert not (world.folder / "proof").exists(), case
        assert not (world.folder / "made").exists(), case
    tally.note(f"{max(peaks) / MEGABYTE:.0f} MB")
    return max(peaks)


def test_hostile_csv(tally: Tally, world: Victim) -> None:
    """CSV files with lines, numbers or rows without end, in a gzip or not."""
    check(tally, world, texts(tally.times(128, 1024)), "train.csv", BOUND)


def test_hostile_npz(tally: Tally, world: Victim) -> None:
    """npz files with objects, pickles, false headers, or gigabytes of zeros."""
    check(tally, world, archives(world.folder, tally.times(96, 800)), "mnist.npz", BOUND)


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")
def test_hostile_parquet(tally: Tally, world: Victim) -> None:
    """Parquet files that are damaged, or that claim or hold far more than their size."""
    check(tally, world, tables(tally.times(64, 300)), "train.parquet", ALLOWED)


EDITS = st.lists(
    st.tuples(st.integers(0, 60_000), st.binary(max_size=6), st.integers(0, 6)),
    min_size=1,
    max_size=4,
)


def test_fuzzed_tables(tally: Tally, world: Victim) -> None:
    """Bytes of CSV and npz files replaced, inserted or removed at random."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.arange(30) % 3
    text = io.BytesIO()
    table = np.insert(images.reshape(30, 784).astype(int), 0, labels, axis=1)
    np.savetxt(text, table, fmt="%d", delimiter=",")
    seeds: dict[str, Callable[[], bytes]] = {
        "a.csv": text.getvalue,
        "b.csv": lambda: gzip.compress(text.getvalue(), mtime=0),
        "c.npz": lambda: saved(x_train=images, y_train=labels),
    }

    @fuzz(tally.times(4, 300))
    @given(name=st.sampled_from(sorted(seeds)), edits=EDITS)
    def fuzzed(name: str, edits: list[tuple[int, bytes, int]]) -> None:
        content = seeds[name]()
        for at, new, length in edits:
            content = content[: at % len(content)] + new + content[at % len(content) + length :]
        path = world.folder / name
        path.write_bytes(content)
        (end,) = world.run(["data", "verify", path])
        # Other pixels are as good as the true ones, without a checksum.
        fine = end.refused(3) or (end.code == 0 and not end.seen)
        tally.check(fine and end.peak < ALLOWED, f"{name}: {end.code} {end.message[-300:]}")

    fuzzed()
