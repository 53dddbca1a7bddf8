"""Files from before torch 1.6: read as torch reads them, and refused when damaged or hostile."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import load, refused, saved_long_ago, tar_of
from torch import nn

from mnist_cli.checkpoints.old_files import MAGIC
from mnist_cli.errors import CheckpointError

# --- files


def stream(program: bytes, *storages: tuple[str, int, bytes], keys: Any = None) -> bytes:
    """A file around the pickle of its contents, and (key, number of elements, bytes) each."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    listed = [key for key, _, _ in storages] if keys is None else keys
    head = [pickle.dumps(MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps(info, 2)]
    elements = [struct.pack("<q", count) + data for _, count, data in storages]
    return b"".join([*head, program, pickle.dumps(listed, 2), *elements])


BASE = torch.arange(12.0)
DOCUMENTS: dict[str, Any] = {
    "a state_dict": nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict(),
    "parameters": OrderedDict(a=nn.Parameter(torch.ones(2))),
    "every dtype": {
        str(dtype): torch.arange(3).to(dtype)
        for dtype in (
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
            *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        )
    },
    "views": {"all": BASE, "part": BASE[2:6], "columns": BASE.view(3, 4).t(), "steps": BASE[::3]},
    "nothing and one": {"none": torch.zeros(0, 3), "one": torch.tensor(7)},
    "no tensors": {"epoch": 3},
    "an optimiser": {
        "state": {0: {"step": 3, "momentum_buffer": torch.ones(2)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    },
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("case", DOCUMENTS)
def test_what_torch_wrote_is_what_it_reads(tmp_path: Path, case: str, protocol: int) -> None:
    data = saved_long_ago(DOCUMENTS[case], pickle_protocol=protocol)
    contents = load(tmp_path, data)
    assert contents.container == "stream"
    assert same(contents.document, torch.load(io.BytesIO(data), weights_only=protocol == 2))


def test_tensors_of_one_storage_share_their_memory(tmp_path: Path) -> None:
    document = load(tmp_path, saved_long_ago(DOCUMENTS["views"])).document
    document["all"][2] = 99
    assert document["part"][0] == 99


def test_weights_saved_on_a_gpu_are_on_the_cpu(tmp_path: Path) -> None:
    data = saved_long_ago({"a": BASE})
    moved = data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:3")
    assert moved != data
    for typed in (moved, moved.replace(b"ctorch\nFloatStorage", b"ctorch.cuda\nFloatStorage")):
        assert load(tmp_path, typed).document["a"].equal(BASE)


# --- older versions


TWO = ("s", 2, struct.pack("<2f", 1.5, -2.0))
FOUR = ("s", 4, struct.pack("<4f", 0, 1.5, -2.0, 9))
IN_STORAGE = b"((U\x07storagectorch\nFloatStorage\nU\x01sU\x03cpuK\x02NtQ"
"""As Python 2 wrote it: short strings of bytes."""
TENSOR = b"ctorch._utils\n_rebuild_tensor\n" + IN_STORAGE + b"K\0K\x02\x85K\x01\x85tR"
OLD: dict[str, bytes] = {
    "_rebuild_tensor": TENSOR,
    "a Variable": b"ctorch.autograd.variable\nVariable\n" + TENSOR + b"\x85R(\x89\x89Ntb",
    "a Parameter": b"ctorch.nn.parameter\nParameter\n" + TENSOR + b"\x85R(\x88\x89Ntb",
    "a Parameter with hooks": b"ctorch._utils\n_rebuild_parameter\n("
    + TENSOR
    + b"\x88ccollections\nOrderedDict\n]\x85RtR",
    "a tensor of torch 0.1": b"ctorch\nFloatTensor\n)R" + IN_STORAGE + b"K\0K\x02\x85K\x01\x85tb",
    "a tensor of torch 0.1, made anew": b"ctorch\nFloatTensor\n)\x81"
    + IN_STORAGE
    + b"K\0K\x02\x85K\x01\x85tb",
}


@pytest.mark.parametrize("case", OLD)
def test_tensors_as_older_versions_wrote_them(tmp_path: Path, case: str) -> None:
    """Within Python 2's OrderedDict, which is made from a list of pairs."""
    pairs = b"\x80\x02ccollections\nOrderedDict\n]]U\x01a" + OLD[case] + b"ea\x85R."
    pairs = pairs.replace(b"]]U\x01a", b"](](U\x01a").replace(b"ea\x85R.", b"ee\x85R.")
    document = load(tmp_path, stream(pairs, TWO)).document
    assert document["a"].tolist() == [1.5, -2.0]
    assert type(document["a"]) is torch.Tensor


def test_a_storage_that_is_a_part_of_another(tmp_path: Path) -> None:
    part = IN_STORAGE.replace(b"K\x02NtQ", b"K\x04(U\x01vK\x01K\x02ttQ")
    program = b"\x80\x02}U\x01a" + TENSOR.replace(IN_STORAGE, part) + b"s."
    data = stream(program, FOUR)
    document = load(tmp_path, data).document
    assert document["a"].tolist() == [1.5, -2.0]
    assert same(document, torch.load(io.BytesIO(data), weights_only=True))


def test_a_whole_module_is_named_and_not_built(tmp_path: Path) -> None:
    for document, words in (
        (nn.Linear(2, 2), "a whole pickled network, torch.nn.modules.linear.Linear"),
        ({"net": nn.Linear(2, 2), "a": BASE}, None),
    ):
        data = saved_long_ago(document)
        if words is None:
            contents = load(tmp_path, data)
            assert contents.document["a"].equal(BASE)
            (found,) = contents.left_out
            assert found.module
            assert found.place == "net"
        else:
            message = str(refused(tmp_path, data))
            assert words in message
            assert "torch.save(model.state_dict(), 'weights.pt')" in message


# --- damage


SMALL = saved_long_ago({"a": torch.arange(2.0)})


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(2, len(SMALL)):  # one byte says nothing
        assert "damaged" in str(refused(tmp_path, SMALL[:length]))


def test_bytes_changed_anywhere_are_refused_or_read(tmp_path: Path) -> None:
    """The layout has no checksums: a changed weight is read. Nothing else is raised."""
    for place in range(len(SMALL)):
        value = (0, 0x2E, 0xFF, SMALL[place] ^ 1)[place % 4]
        try:
            load(tmp_path, SMALL[:place] + bytes([value]) + SMALL[place + 1 :])
        except CheckpointError as error:
            assert error.hint  # noqa: PT017


def program(*, count: bytes = b"K\x02", size: bytes = b"K\x02", view: bytes = b"N") -> bytes:
    storage = IN_STORAGE.replace(b"K\x02NtQ", count + view + b"tQ")
    tensor = TENSOR.replace(IN_STORAGE, storage).replace(b"K\0K\x02\x85", b"K\0" + size + b"\x85")
    return b"\x80\x02}U\x01a" + tensor + b"s."


BIG = b"\x8a\x05" + (10**10).to_bytes(5, "little")
NEGATIVE = b"J\xff\xff\xff\xff"
GOOD = program()
LIES: dict[str, Callable[[], bytes]] = {
    "a storage of 40 GB": lambda: stream(program(count=BIG), TWO),
    "a storage of less than none": lambda: stream(program(count=NEGATIVE), TWO),
    "a storage of a text": lambda: stream(program(count=b"U\x012"), TWO),
    "a storage of a truth": lambda: stream(program(count=b"\x88"), TWO),
    "a storage longer than its tensors say": lambda: stream(GOOD, ("s", 3, bytes(12))),
    "an element count of 2 to the 62": lambda: stream(GOOD, ("s", 1 << 62, bytes(8))),
    "bytes that are missing": lambda: stream(GOOD, ("s", 2, bytes(7))),
    "a tensor longer than its storage": lambda: stream(program(size=b"K\x03"), TWO),
    "a tensor of 40 GB": lambda: stream(program(size=BIG), TWO),
    "a tensor of less than none": lambda: stream(program(size=NEGATIVE), TWO),
    "a view behind the end": lambda: stream(program(view=b"(U\x01vK\x01K\x02t"), TWO),
    "a view before the start": lambda: stream(program(view=b"(U\x01v" + NEGATIVE + b"K\x01t"), TWO),
    "no storage": lambda: stream(GOOD),
    "a storage twice": lambda: stream(GOOD, TWO, TWO),
    "another storage": lambda: stream(GOOD, ("t", 2, bytes(8))),
    "keys that are none": lambda: stream(GOOD, TWO, keys=5),
    "another version": lambda: stream(GOOD, TWO).replace(pickle.dumps(1001, 2), pickle.dumps(9, 2)),
    "an unknown type": lambda: stream(GOOD.replace(b"FloatStorage", b"OddStorage"), TWO),
    "a storage of another class": lambda: stream(
        GOOD.replace(b"torch\nFloatStorage", b"own\nFloats"), TWO
    ),
    "an identity of another kind": lambda: stream(
        GOOD.replace(b"U\x07storage", b"U\x07storagf"), TWO
    ),
    "an identity of a number": lambda: stream(b"\x80\x02K\x05Q."),
}


@pytest.mark.parametrize("case", LIES)
def test_sizes_that_lie_are_refused(tmp_path: Path, case: str) -> None:
    assert load(tmp_path, stream(GOOD, TWO)).document["a"].tolist() == [1.5, -2.0]
    assert "is refused" in str(refused(tmp_path, LIES[case]()))


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_the_file_is_judged(tmp_path: Path, place: int) -> None:
    """Also those that torch reads before and after the contents."""
    proof = tmp_path / "proof"
    evil = b"\x80\x02cposix\nmkdir\nX" + struct.pack("<I", len(str(proof))) + str(proof).encode()
    parts = [pickle.dumps(one, 2) for one in (MAGIC, 1001, {})]
    parts += [b"\x80\x02}.", pickle.dumps([], 2)]
    parts[place] = evil + b"\x85R."
    assert "posix.mkdir, which could run code" in str(refused(tmp_path, b"".join(parts)))
    assert not proof.exists()


# --- the tar of torch 0.1


STORAGES = (
    pickle.dumps(1, 2)
    + b"\x80\x02(K\x07U\x03cpuctorch\nFloatStorage\nt."
    + struct.pack("<q4f", 4, 0, 1.5, -2.0, 9)
    + pickle.dumps([(8, 7, 1, 2)], 2)
)
TENSORS = (
    pickle.dumps(2, 2)
    + b"\x80\x02(K\x09K\x07ctorch\nFloatTensor\nt."
    + struct.pack("<ii4qq", 2, 0, 1, 2, 2, 1, 1)
    + b"\x80\x02(K\x0aK\x08ctorch\nFloatTensor\nt."
    + struct.pack("<iiqqq", 1, 0, 2, 1, 0)
)
CONTENTS = b"\x80\x02}(U\x01aU\x019QU\x01bU\x0210Qu."
TAR = {
    "sys_info": pickle.dumps({}, 2),
    "pickle": CONTENTS,
    "tensors": TENSORS,
    "storages": STORAGES,
}


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torch's reader
def test_a_tar_of_torch_0_1_is_what_torch_reads(tmp_path: Path) -> None:
    contents = load(tmp_path, tar_of(TAR))
    assert contents.container == "tar"
    assert contents.document["a"].tolist() == [[1.5, -2.0]]
    assert contents.document["b"].tolist() == [1.5, -2.0]
    assert same(contents.document, torch.load(tmp_path / "a.pt", weights_only=False))


def test_a_tar_cut_short_or_with_false_sizes_is_refused(tmp_path: Path) -> None:
    needed = tar_of(TAR).index(STORAGES) + len(STORAGES)
    for length in range(0, needed, 37):
        refused(tmp_path, tar_of(TAR)[:length])
    for name, old, new in (
        ("storages", struct.pack("<q", 4), struct.pack("<q", 1 << 60)),
        ("storages", struct.pack("<q", 4), struct.pack("<q", -1)),
        ("tensors", struct.pack("<ii", 2, 0), struct.pack("<ii", 1 << 30, 0)),
        ("tensors", struct.pack("<ii", 2, 0), struct.pack("<ii", -1, 0)),
        ("tensors", struct.pack("<q", 2), struct.pack("<q", 1 << 40)),
        ("tensors", pickle.dumps(2, 2), pickle.dumps(1 << 40, 2)),
        ("pickle", b"U\x019Q", b"U\x015Q"),
        ("pickle", b"U\x019Q", b"NQ"),
        ("pickle", CONTENTS, b"cos\nsystem\n)R."),
        ("tensors", TENSORS, b"cos\nsystem\n)R."),
        ("storages", STORAGES, b"cos\nsystem\n)R."),
    ):
        assert "is refused" in str(
            refused(tmp_path, tar_of(TAR | {name: TAR[name].replace(old, new)}))
        )


def test_a_tar_of_other_files_is_named(tmp_path: Path) -> None:
    assert "a tar archive of other files" in str(refused(tmp_path, tar_of({"readme": b"hello"})))


def test_a_sparse_entry_of_a_tar_is_not_read(tmp_path: Path) -> None:
    """It could claim any size; here it replaces one that is needed."""
    data = bytearray(tar_of(TAR))
    start = data.index(b"storages\0")
    data[start + 156] = ord("S")
    data[start + 148 : start + 156] = b" " * 8
    checksum = sum(data[start : start + 512])
    data[start + 148 : start + 156] = b"%06o\0 " % checksum
    assert "is refused" in str(refused(tmp_path, bytes(data)))
