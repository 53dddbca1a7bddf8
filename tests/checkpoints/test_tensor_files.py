"""safetensors: read as the package reads them, and refused when damaged or hostile."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import load, refused

from mnist_cli.checkpoints import tensor_files

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32),
    *(torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
]
METADATA = {"producer": "someone", "mean": "0.5", "é": "\n\x1b[2J"}


def test_what_the_package_wrote_is_read_with_its_metadata(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    weights = {str(dtype): torch.arange(6).view(2, 3).to(dtype) for dtype in DTYPES}
    weights |= {"scalar": torch.tensor(5.0), "none": torch.zeros(0, 3), "x" * 300: torch.ones(1)}
    contents = load(tmp_path, safetensors.save(weights, metadata=METADATA))
    assert contents.container == "safetensors"
    assert contents.metadata == METADATA
    assert contents.document.keys() == weights.keys()
    for name, tensor in weights.items():
        found = contents.document[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert found.is_contiguous()
        assert found.reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


def file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = file({"a": entry([2], 0, 8), "b": entry([], 8, 12), "c": entry([0], 8, 8)}, bytes(12))


def test_offsets_in_any_order_and_empty_tensors(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).document["b"].shape == ()
    assert load(tmp_path, file({})).document == {}
    swapped = file({"b": entry([1], 4, 8), "a": entry([1], 0, 4)}, struct.pack("<2f", 1, 2))
    assert load(tmp_path, swapped).document["b"].tolist() == [2]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        refused(tmp_path, GOOD[:length])


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a header of 2 to the 60": (lambda: struct.pack("<Q", 1 << 60) + b'{"a":1}', "claims"),
    "a header longer than the limit": (
        lambda: file(b'{"' + b"a" * tensor_files.MAX_HEADER + b'":1}'),
        "claims",
    ),
    "no JSON": (lambda: file(b'{"a"'), "not JSON"),
    "no text": (lambda: file(b'{"\xff":1}'), "not JSON"),
    "deep JSON": (lambda: file(b'{"a":' * 100_000), "not JSON"),
    "deep lists": (lambda: file(b'{"a":' + b"[" * 500_000), "not JSON"),
    "a long number": (lambda: file(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
    "a name twice": (
        lambda: file(b'{"a":' + json.dumps(entry([1], 0, 4)).encode() + b',"a":1}', bytes(4)),
        "twice",
    ),
    "an entry of another kind": (lambda: file({"a": 1}), "no dtype"),
    "an entry without offsets": (lambda: file({"a": {"dtype": "F32", "shape": []}}), "no dtype"),
    "offsets that overlap": (
        lambda: file({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
        "overlap",
    ),
    "the same bytes twice": (
        lambda: file({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)),
        "overlap",
    ),
    "a gap": (lambda: file({"a": entry([1], 4, 8)}, bytes(8)), "gaps"),
    "bytes left over": (lambda: file({"a": entry([1], 0, 4)}, bytes(8)), "cut short"),
    "offsets behind the end": (lambda: file({"a": entry([2], 0, 8)}, bytes(4)), "cut short"),
    "offsets backwards": (lambda: file({"a": entry([1], 0, -4)}, b""), "overlap"),
    "offsets of texts": (lambda: file({"a": entry([1], "0", "4")}, bytes(4)), "no dtype"),
    "offsets of truths": (lambda: file({"a": entry([1], False, True, "U8")}, b"0"), "no dtype"),
    "offsets of fractions": (lambda: file({"a": entry([1], 0.0, 4.0)}, bytes(4)), "no dtype"),
    "a negative shape": (lambda: file({"a": entry([-1], 0, 4)}, bytes(4)), "impossible shape"),
    "two negative lengths": (lambda: file({"a": entry([-1, -1], 0, 4)}, bytes(4)), "impossible"),
    "a shape of truths": (lambda: file({"a": entry([True], 0, 4)}, bytes(4)), "impossible"),
    "a wide shape of none": (lambda: file({"a": entry([0, 1 << 63], 0, 0)}), "impossible"),
    "another size": (lambda: file({"a": entry([3], 0, 8)}, bytes(8)), "another size"),
    "a hundred axes": (lambda: file({"a": entry([1] * 100, 0, 4)}, bytes(4)), "axes"),
    "an unknown dtype": (lambda: file({"a": entry([1], 0, 4, "F4\x1b[2J")}, bytes(4)), "dtype F4"),
    "metadata of numbers": (lambda: file({"__metadata__": {"a": 1}}), "not texts"),
    "metadata of no table": (lambda: file({"__metadata__": [1]}), "not texts"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_that_lies_is_refused(tmp_path: Path, case: str) -> None:
    make, words = HOSTILE[case]
    assert words in refused(tmp_path, make()).message
