"""Reads a pickle as data: no class or function that it names is imported, and none is called.

A pickle is a program for a small stack machine. Python's own machine imports and calls the names
in the program. This machine has a table of names (:mod:`mnist_cli.checkpoints.pickle_names`); for
each, a function of ours builds a plain value or a tensor. Other names of users or packages become
:class:`Unread`, and names that serve attacks are refused.

Memory is bounded by the number of operations, objects and bytes; no function of the table takes a
size to allocate. ``torch.load(weights_only=True)`` has no such bounds, allocates the size that a
storage claims before it looks for the bytes, and reads only protocol 2.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any

from mnist_cli.checkpoints.contents import Damaged, Unacceptable, Unread
from mnist_cli.checkpoints.pickle_names import Record, build, call, check_key, named
from mnist_cli.devices.memory import is_out_of_memory

MAX_OPERATIONS = 1 << 20  # the metrics of about 7,000 epochs
MAX_PICKLE = (
    1 << 24
)  # 16 MiB: numpy's arrays lie inside; as text, they may take four times the space
MAX_BITS = 2048  # of an integer: Python prints at most 4,300 digits
MAX_CALLS = 100_000  # each makes an object of up to a kilobyte
UNREADABLE = "it is damaged, or its format is unknown: its contents cannot be read"
NOT_A_PICKLE = f"{UNREADABLE} (not a pickle)"
TOO_LONG = f"its pickle has more than {MAX_PICKLE:,} bytes, or is damaged"

Persistent = Callable[[object], object]
"""Returns the object of a persistent id; raises Unacceptable for an unknown id."""

_CALLS = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "EMPTY_SET", "BINPERSID", "PERSID"}
_NOTHING = {"PROTO", "FRAME"}
_VALUES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    "BYTEARRAY8",
}
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False}


def read_pickle(stream: io.BytesIO, persistent: Persistent) -> Any:
    """Read the object of the pickle at the stream's position; the stream then stands after it.

    Args:
        stream: a file, or a part of one, in memory.
        persistent: returns the object of a persistent id.

    Raises:
        Unacceptable: the data are not a pickle, are too large, or could run code.
    """
    machine = _Machine(persistent)
    try:
        machine.run(_Bounded(stream))
        return machine.result()
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(NOT_A_PICKLE) from error
    except RuntimeError as error:  # torch's, for impossible shapes; Python's, for recursion
        if is_out_of_memory(error):
            raise
        raise Damaged(NOT_A_PICKLE) from error


class _Bounded:
    """A stream that reads at most :data:`MAX_PICKLE` bytes."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.stream, self.left = stream, MAX_PICKLE

    def read(self, count: int) -> bytes:
        return self._counted(count, self.stream.read)

    def readline(self) -> bytes:
        return self._counted(0, lambda _: self.stream.readline(self.left + 1))

    def _counted(self, count: int, read: Callable[[int], bytes]) -> bytes:
        data = read(count) if count <= self.left else b""
        self.left -= max(count, len(data))
        if self.left < 0:
            raise Damaged(TOO_LONG)
        return data


class _Machine:
    """The stack, the marks and the memo of a pickle that is being read."""

    def __init__(self, persistent: Persistent) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.places: dict[int, int] = {}
        self.calls = 0

    def run(self, program: Any) -> None:
        """Execute all operations."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(program)):
            if count > MAX_OPERATIONS:
                raise Unacceptable(f"its pickle has more than {MAX_OPERATIONS:,} operations")
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise ValueError("an integer is too large")
            self.step(operation.name, argument)

    def step(self, name: str, argument: Any) -> None:
        """Execute one operation."""
        self.calls += name in _CALLS
        if self.calls > MAX_CALLS:
            raise Unacceptable(f"it holds more than {MAX_CALLS:,} objects")
        if name in _VALUES:
            self.stack.append(_CONSTANTS.get(name, argument))
        elif name not in _NOTHING:
            operation = _OPERATIONS.get(name)
            if operation is None:
                raise Unacceptable(f"its pickle has the operation {name}, which is not read")
            operation(self, argument)

    def result(self) -> Any:
        """The object of the pickle, after its last operation."""
        if len(self.stack) != 1 or self.below:
            raise ValueError("the pickle ends in the middle")
        return self.stack[0]

    def above_mark(self) -> list[Any]:
        """The values since the last mark, which is removed."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def mark(self, _argument: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
        self.places[id(self.stack[-1])] = index

    def replace(self, value: Any) -> None:
        """Replace the topmost object, in the memo too."""
        old, self.stack[-1] = self.stack[-1], value
        place = self.places.get(id(old))
        if place is not None and self.memo[place] is old:
            self.memo[place] = value

    def collect(self, make: Callable[[list[Any]], Any]) -> None:
        values = self.above_mark()
        self.stack.append(make(values))

    def last(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise IndexError("too few values")
        del self.stack[-count:]
        self.stack.append(values)

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Unread):
            raise TypeError("not a list")

    def add(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(check_key, values))
        elif not isinstance(target, Unread):
            raise TypeError("not a set")

    def set_items(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], Unread):  # an object of a subclass of dict
            self.replace(Record())
        if not isinstance(self.stack[-1], dict):
            raise TypeError("not a dict")
        self.stack[-1].update(_pairs(values))

    def name(self, module: object, leaf: object) -> None:
        if not isinstance(module, str) or not isinstance(leaf, str):
            raise TypeError("a name that is not a text")
        self.stack.append(named(module, leaf))

    def stack_global(self, _argument: Any) -> None:
        leaf, module = self.stack.pop(), self.stack.pop()
        self.name(module, leaf)

    def reduce(self, _argument: Any) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = call(self.stack[-1], arguments)

    def new_with_names(self, _argument: Any) -> None:
        self.stack.pop()
        self.reduce(None)

    def obj(self, _argument: Any) -> None:
        made, *arguments = self.above_mark()
        self.stack.append(call(made, tuple(arguments)))

    def inst(self, argument: str) -> None:
        arguments = self.above_mark()
        self.name(*argument.split(" ", 1))
        self.stack[-1] = call(self.stack[-1], tuple(arguments))

    def build(self, _argument: Any) -> None:
        state = self.stack.pop()
        built = build(self.stack[-1], state)
        if built is not self.stack[-1]:
            self.replace(built)

    def persist(self, identity: object) -> None:
        self.stack.append(self.persistent(identity))


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return [(check_key(key), value) for key, value in zip(values[::2], values[1::2], strict=True)]


_OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "STOP": lambda machine, _: None,
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.above_mark(),
    "POP_MARK": lambda machine, _: machine.above_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "LIST": lambda machine, _: machine.collect(list),
    "TUPLE": lambda machine, _: machine.collect(tuple),
    "FROZENSET": lambda machine, _: machine.collect(lambda all: frozenset(map(check_key, all))),
    "DICT": lambda machine, _: machine.collect(lambda all: dict(_pairs(all))),
    "TUPLE1": lambda machine, _: machine.last(1),
    "TUPLE2": lambda machine, _: machine.last(2),
    "TUPLE3": lambda machine, _: machine.last(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.above_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_names,
    "OBJ": _Machine.obj,
    "INST": _Machine.inst,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persist,
    "BINPERSID": lambda machine, _: machine.persist(machine.stack.pop()),
}
