"""What a pickle may name, what it stands for, and what small things may be huge in use."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import pickletools
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mnist_cli.checkpoints import pickles
from mnist_cli.checkpoints.contents import MAX_DEPTH, Unacceptable, Unread, judge_contents
from mnist_cli.checkpoints.old_files import no_storage
from mnist_cli.checkpoints.pickles import read_pickle


def read(program: bytes) -> Any:
    return read_pickle(io.BytesIO(program), no_storage)


def refused(program: bytes) -> str:
    with pytest.raises(Unacceptable) as caught:
        read(program)
    return str(caught.value)


class OwnDict(dict[str, int]):
    """A dict whose items are attributes too, as many packages have one."""

    def __init__(self, **items: int) -> None:
        super().__init__(**items)
        self.__dict__ = self  # type: ignore[assignment]


SHARED = [1, 2]
PLAIN: dict[str, Any] = {
    "numbers": [0, 1, -1, 255, 65536, 2**31, -(2**40), 10**30, 2.5, float("inf"), True, None],
    "texts": ["", "x", "é" * 300, "\N{GRINNING FACE}", "line\nbreak", "\udc80"],
    "bytes": [b"", b"x", b"\x00\xff" * 200],
    "containers": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {"a": {"b": [1]}}, {1, 2}],
    "long containers": [list(range(3000)), {str(n): n for n in range(3000)}],
    "frozen": frozenset({1, "a"}),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "complex": 1 + 2j,
    "shared": [SHARED, SHARED],
    "keys": {None: 1, True: 2, 2.5: 3, b"x": 4, (1, "a"): 5},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("case", PLAIN)
def test_plain_values_are_what_python_reads(case: str, protocol: int) -> None:
    program = pickle.dumps(PLAIN[case], protocol)
    found = read(program)
    assert found == pickle.loads(program)
    assert type(found) is type(PLAIN[case])


def test_one_object_in_two_places_stays_one() -> None:
    first, second = read(pickle.dumps([SHARED, SHARED]))
    assert first is second


HARMLESS: dict[str, tuple[Any, Any]] = {
    "a namespace": (argparse.Namespace(lr=0.1, name="x"), {"lr": 0.1, "name": "x"}),
    "a simple namespace": (types.SimpleNamespace(a=1), {"a": 1}),
    "a path": (pathlib.PurePosixPath("/data/mnist"), "/data/mnist"),
    "a path of Windows": (pathlib.PureWindowsPath("C:/x/y"), "C:\\x\\y"),
    "a default dict": (defaultdict(list, a=[1]), {"a": [1]}),
    "a counter": (Counter("aab"), {"a": 2, "b": 1}),
    "a class of dicts": (OwnDict(a=1, b=2), {"a": 1, "b": 2}),
    "one dict twice": ([OwnDict(a=1)] * 2, [{"a": 1}] * 2),
    "a queue": (collections.deque([1, 2], 5), [1, 2]),
    "a bytearray": (bytearray(b"ab"), b"ab"),
    "an empty bytearray": (bytearray(), b""),
    "a float of numpy": (np.float64(0.5), 0.5),
    "a float32 of numpy": (np.float32(0.5), 0.5),
    "an integer of numpy": (np.int64(7), 7),
    "a bool of numpy": (np.bool_(True), True),
    "a text of numpy": (np.str_("ab"), "ab"),
    "a size": (torch.Size([1, 2]), torch.Size([1, 2])),
    "a dtype": (torch.bfloat16, torch.bfloat16),
    "a device": (torch.device("cuda", 1), "cuda:1"),
}
"""An object of a class, and the plain value that is read instead."""


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("case", HARMLESS)
def test_a_harmless_object_is_a_plain_value(case: str, protocol: int) -> None:
    value, plain = HARMLESS[case]
    assert read(pickle.dumps(value, protocol)) == plain


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.array(5, dtype=np.uint8),
    np.zeros((0, 3), np.int64),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.arange(10, dtype=np.float16)[::2],
]


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_array_is_a_tensor(array: Any, protocol: int, package: str) -> None:
    """Twice in the pickle, before and after it is complete; numpy 1 and 2 name packages unlike."""
    program = pickle.dumps([array, array], protocol)
    if protocol == 2:  # later ones count the length of a name
        for known in (b"numpy.core", b"numpy._core"):
            program = program.replace(b"c" + known, b"c" + package.encode())
    first, second = read(program)
    assert torch.equal(first, torch.from_numpy(array.astype(array.dtype.newbyteorder("="))))
    assert second is first


class Own:
    """A class of the user's, with a state, as dict and list too."""

    def __init__(self) -> None:
        self.state = {"a": [1, 2]}


class OwnList(list[int]):
    pass


LEFT_OUT: dict[str, tuple[Callable[[], Any], str]] = {
    "an object": (Own, f"{__name__}.Own"),
    "a list": (lambda: OwnList([1]), f"{__name__}.OwnList"),
    "a class": (lambda: Own, f"{__name__}.Own"),
    "an optimiser's class": (lambda: torch.optim.SGD, "torch.optim.sgd.SGD"),
    "a date": (lambda: datetime.datetime(2020, 1, 1), "datetime.datetime"),
    "a network": (lambda: torch.nn.Dropout(), "torch.nn.modules.dropout.Dropout"),
    "an array of objects": (lambda: np.array([None, {}]), "numpy.ndarray"),
    "an array of texts": (lambda: np.array(["a", "bc"]), "numpy.ndarray"),
    "a storage": (lambda: torch.ones(2).untyped_storage(), "tensor in a file of its own"),
    "a masked array": (lambda: np.ma.masked_array([1.0], [True]), "numpy.ma.core._mareconstruct"),
}
"""An object that is left out, and its name."""


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("case", LEFT_OUT)
def test_an_object_of_another_class_is_left_out_and_named(case: str, protocol: int) -> None:
    make, name = LEFT_OUT[case]
    document = read(pickle.dumps({"a": 1, "more": [make()]}, protocol))
    assert document["a"] == 1
    (found,) = judge_contents(document, 0)
    assert (found.place, found.name) == ("more.0", name)


HOSTILE = {
    "a global": b"cos\nsystem\n.",
    "a global in two parts": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93.",
    "parts from the memo": b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93.",
    "parts from a list": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
    "by its old name": b"c__builtin__\neval\n(S'1'\ntR.",
    "an instance": b"(S'ls'\nios\nsystem\n.",
    "an object": b"(cos\nsystem\nS'ls'\no.",
    "a new object": b"\x80\x02csubprocess\nPopen\n(X\x02\x00\x00\x00lst\x81.",
    "with names": b"\x80\x04csubprocess\nPopen\n)}\x92.",
    "inside torch": b"ctorch\nload\n(S'x'\ntR.",
    "inside torch, dotted": b"\x80\x04\x8c\x13torch.serialization\x8c\tos.system\x93.",
    "inside numpy": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
    "a type of a harmless module": b"cbuiltins\ngetattr\n.",
    "dotted from a harmless one": b"\x80\x04\x8c\x08builtins\x8c\x0cset.__class__\x93.",
    "codes of a registry": b"\x80\x02\x82\x01.",
    "codes of two bytes": b"\x80\x02\x83\x01\x00.",
    "codes of four bytes": b"\x80\x02\x84\x01\x00\x00\x00.",
    "a callback of a partial": b"cfunctools\npartial\ncos\nsystem\nS'ls'\n\x86R)R.",
    "a factory of a default dict": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R.",
    "a type of a tensor": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNS'ls'\n\x85}tR.",
    "a class of a namespace": b"cargparse\nNamespace\n)\x81}S'__class__'\ncos\nsystem\nsb.",
    "a state of a namespace": b"cargparse\nNamespace\n)\x81}S'__setstate__'\ncos\nsystem\nsbS'ls'\nb.",
    "a persistent identity": b"(S'storage'\ncos\nsystem\nS'0'\nNK\x01NtQ.",
    "a buffer": b"\x80\x05\x97.",
}
"""Pickles that Python would run, or look up in this process."""


@pytest.mark.parametrize("case", HOSTILE)
def test_what_could_run_code_is_refused(case: str) -> None:
    words = refused(HOSTILE[case])
    assert "could run code" in words or "which is not read" in words or "(not a pickle)" in words


def test_a_call_through_a_value_is_refused() -> None:
    """What is called must be a name; nothing of ours can be reached by another way."""
    for callee in (b"N", b"]", b"ctorch\nfloat32\n", b"X\x01\x00\x00\x00a"):
        assert "not a pickle" in refused(b"\x80\x02" + callee + b")R.")


def test_a_state_never_reaches_a_class() -> None:
    """BUILD sets attributes: of a namespace's copy only, whatever they are called."""
    state = pickle.dumps({"__class__": 1, "__dict__": 2, "keys": 3}, 2)[2:-1]
    found = read(b"\x80\x02cargparse\nNamespace\n)\x81" + state + b"b.")
    assert list(found.keys()) == ["__class__", "__dict__", "keys"]
    ordered = read(b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.")
    assert list(ordered.items()) == []


@pytest.mark.parametrize("name", ["a.\x1b[2J", "a\x9b.b", "a." + "x" * 10_000])
def test_a_name_is_made_safe_for_a_terminal(name: str) -> None:
    module, leaf = name.split(".")
    (found,) = judge_contents(read(pickle.dumps(0)[:0] + _global(module, leaf)), 0)
    assert found.name.isprintable()
    assert len(found.name) <= 80


def _global(module: str, leaf: str) -> bytes:
    parts = [text.encode() for text in (module, leaf)]
    return (
        b"\x80\x04"
        + b"".join(b"X%b%b" % (len(p).to_bytes(4, "little"), p) for p in parts)
        + b"\x93."
    )


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02",
        b"garbage",
        b"\x80\x02cno newline",
        b"\x80\x02K\x01K\x02.",
        b"\x80\x02(K\x01.",
        b"\x80\x02h\x05.",
        b"\x80\x020.",
        b"\x80\x02t.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x04B\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        b"\x80\x02K\x01K\x02a.",
        b"L" + b"9" * 5000 + b"L\n.",
    ],
)
def test_what_is_no_pickle(program: bytes) -> None:
    assert refused(program) in (pickles.NOT_A_PICKLE, pickles.TOO_LONG)


def test_every_operation_of_pickles_is_read_or_refused() -> None:
    """A new Python's operations would be refused by their names."""
    known = pickles._OPERATIONS.keys() | pickles._VALUES | pickles._NOTHING
    refused_by_name = {operation.name for operation in pickletools.opcodes} - known
    assert refused_by_name == {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


BOMBS = {
    "an array of nothing, wide": b"cnumpy\nndarray\n.",
    "a bytearray": b"c__builtin__\nbytearray\n\x8a\x05"
    + (10**10).to_bytes(5, "little")
    + b"\x85R.",
    "a list of a count": b"c__builtin__\nlist\n\x8a\x05"
    + (10**10).to_bytes(5, "little")
    + b"\x85R.",
    "hex of hex": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    "a memo of a wide index": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a tensor of a size": b"ctorch\nTensor\n\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85R.",
}


@pytest.mark.parametrize("case", BOMBS)
def test_nothing_makes_more_than_the_file_holds(case: str) -> None:
    try:
        found = read(b"\x80\x02" + BOMBS[case])
    except Unacceptable:
        return
    assert found in ([], None) or isinstance(found, Unread)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
F4 = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4K\x00K\x01tR"


@pytest.mark.parametrize(
    "shape",
    [
        b"\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85",
        b"J\xff\xff\xff\xff\x85",
        b"K\x02K\x02\x86",
        b"\x88\x85",
    ],
)
def test_an_array_of_another_size_than_its_bytes_is_refused(shape: bytes) -> None:
    good = b"\x80\x03" + ARRAY + b"(K\x01K\x01\x85" + F4 + b"\x89C\x04\0\0\0\0tb."
    assert read(good).shape == (1,)
    assert "not a pickle" in refused(good.replace(b"(K\x01K\x01\x85", b"(K\x01" + shape))


@pytest.mark.parametrize("code", ["S0", "V8", "O", "f4,f4", "(1000000000,)f4", "U9999999", "M8"])
def test_a_dtype_of_no_plain_numbers_is_not_read(code: str) -> None:
    program = F4.replace(b"\x02\x00\x00\x00f4", len(code).to_bytes(4, "little") + code.encode())
    assert isinstance(read(b"\x80\x02" + program + b"."), Unread)


@pytest.mark.parametrize(
    "key", [b"]", b"}", b")\x85\x85", b"\x8a\x10" + b"\x7f" * 16, b"(" + b"N" * 50 + b"t"]
)
def test_a_key_that_takes_long_to_hash_is_refused(key: bytes) -> None:
    assert "not a pickle" in refused(b"\x80\x02}" + key + b"Ns.")


def test_operations_objects_and_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 1000)
    monkeypatch.setattr(pickles, "MAX_CALLS", 100)
    monkeypatch.setattr(pickles, "MAX_PICKLE", 5000)
    assert "1,000 operations" in refused(b"\x80\x02(" + b"N" * 1001 + b"l.")
    calls = b"ccollections\nOrderedDict\nq\0(" + b"h\0)R" * 101 + b"l."
    assert "100 objects" in refused(b"\x80\x02" + calls)
    assert "bytes" in refused(b"\x80\x03B" + (10_000).to_bytes(4, "little") + bytes(10_000) + b".")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_is_bounded() -> None:
    judge_contents(nested(MAX_DEPTH), 0)
    with pytest.raises(Unacceptable, match="nested"):
        judge_contents(nested(MAX_DEPTH + 1), 0)


def test_what_is_shared_counts_as_often_as_it_is_reached() -> None:
    line = ["x" * 1000] * 100
    judge_contents([line] * 10, 0)
    with pytest.raises(Unacceptable, match="too many"):
        judge_contents([line] * 100, 0)


def test_a_list_that_holds_itself_ends() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Unacceptable, match="nested"):
        judge_contents(circle, 0)


def test_tensors_are_as_large_as_what_they_hold() -> None:
    tensor = torch.zeros(1000)
    judge_contents([tensor, tensor[::2]], 10_000)
    with pytest.raises(Unacceptable, match="more than 10,000 bytes"):
        judge_contents([tensor] * 3, 10_000)
    with pytest.raises(Unacceptable, match="more elements than the file holds"):
        judge_contents({"a": torch.zeros(1).expand(2)}, 10_000)
