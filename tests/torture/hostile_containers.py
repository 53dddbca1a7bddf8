"""Small checkpoints that are huge in use in other containers: old files, tars, safetensors."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterator
from typing import Any

import torch
from checkpoint_files import saved_long_ago, tar_of

from mnist_cli.checkpoints.archive import MAX_BYTES
from mnist_cli.checkpoints.old_files import MAGIC, MAX_TAR
from mnist_cli.checkpoints.pickles import MAX_CALLS, MAX_PICKLE


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def stream(*pickles: bytes, rest: bytes = b"") -> bytes:
    """The layout before torch 1.6: a number, a version, and what is given."""
    return pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + b"".join(pickles) + rest


def inside(program: bytes) -> bytes:
    """A whole pickle: a dict whose one value the program makes."""
    return b"\x80\x04}" + text("a") + program + b"s."


EMPTY, NO_KEYS = pickle.dumps({}, 2), pickle.dumps([], 2)


def tar(contents: bytes, storages: bytes = b"", tensors: bytes = b"") -> bytes:
    """The layout of torch 0.1."""
    none = pickle.dumps(0, 2)
    storages, tensors = storages or none + NO_KEYS, tensors or none
    return tar_of({"storages": storages, "tensors": tensors, "pickle": contents})


HUGE = b"\x8a\x05" + (10**10).to_bytes(5, "little")  # LONG1


def storage(count: bytes, view: bytes = b"N") -> bytes:
    """Opcodes of a storage of an old file."""
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + count + view + b"tQ"  # fmt: skip


def tensor(count: bytes, size: bytes) -> bytes:
    """Opcodes of a tensor with one axis."""
    return (
        b"ctorch._utils\n_rebuild_tensor\n(" + storage(count) + b"K\0" + size + b"\x85K\x01\x85tR"
    )


def array(shape: bytes) -> bytes:
    """Opcodes of an array of numpy with four bytes."""
    dtype = b"cnumpy\ndtype\n(" + text("f4") + b"\x89\x88tR"
    blank = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR"
    return blank + b"(K\x01" + shape + b"\x85" + dtype + b"\x89C\x04abcdtb"


def safetensors(header: Any, body: bytes = b"", claimed: int | None = None) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data) if claimed is None else claimed) + data + body


def entry(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def container_bombs(full: bool) -> Iterator[tuple[str, bytes]]:
    """Small files that claim to be huge, and files as large as may be, by name."""
    keys = pickle.dumps(["0"], 2)
    for name, program in {
        "a storage of 40 GB": storage(HUGE),
        "a tensor of 40 GB": tensor(b"K\x01", HUGE),
        "a view of 40 GB": storage(b"K\x01", b"(" + text("v") + b"K\0" + HUGE + b"t"),
        "an array of 40 GB": array(HUGE),
    }.items():
        yield f"{name} in an old file", stream(EMPTY, inside(program), keys, rest=bytes(64))
    claim = struct.pack("<q", 1 << 61)
    yield "2 to the 61 elements", stream(EMPTY, inside(storage(b"K\x01")), keys, rest=claim)
    kind = b"\x80\x02(K\x01" + text("cpu") + b"ctorch\nFloatStorage\nt."
    yield "2 to the 61 elements in a tar", tar(EMPTY, pickle.dumps(1, 2) + kind + claim)
    yield "a tar of 2 to the 40 tensors", tar(EMPTY, tensors=pickle.dumps(1 << 40, 2))
    yield "safetensors: a header of 2 to the 60", safetensors(b'{"a":1}', claimed=1 << 60)
    yield "safetensors: deep JSON", safetensors(b'{"a":' * (1 << 20 if full else 1 << 14))
    yield "safetensors: a shape of 2 to the 40", safetensors({"a": entry([1 << 40], 0, 4)}, b"abcd")
    yield (
        "safetensors: overlapping",
        safetensors({str(n): entry([1 << 18], 0, 1 << 20) for n in range(1000)}, bytes(1 << 20)),
    )
    size = MAX_BYTES - (1 << 20) if full else 8 << 20
    yield (
        "safetensors as large as may be",
        safetensors({"a": entry([size // 4], 0, size)}, bytes(size)),
    )
    yield "an old file as large as may be", saved_long_ago({"a": torch.zeros(size // 4)})
    yield (
        "a tar as large as may be",
        tar(b"B" + struct.pack("<I", 1 << 24), bytes(min(size, MAX_TAR))),
    )
    wide = "\N{GRINNING FACE}" + "a" * ((MAX_PICKLE if full else 1 << 20) - 100)
    yield "a text of four bytes a letter", inside(text(wide)[:1] + struct.pack("<I", len(wide.encode())) + wide.encode())  # fmt: skip
    calls = b"ccollections\nOrderedDict\nq\0(" + b"h\0)R" * (MAX_CALLS // 2) + b"l"
    yield "objects in an old file", stream(EMPTY, inside(calls), NO_KEYS)
