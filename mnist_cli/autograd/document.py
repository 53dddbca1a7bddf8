"""The JSON form of a gradient graph, written and strictly read.

Knows the document's layout and nothing of torch. The same graph gives the same bytes: keys
have a fixed order, and floats read back to the same bits. Values that JSON cannot hold (NaN,
the infinities) are written as strings.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mnist_cli.autograd.error_tree import DataError, DependencyError
from mnist_cli.autograd.graph import (
    FORMAT,
    VERSION,
    GradGraph,
    ModuleCall,
    Node,
    Parameter,
    Verdict,
    check_graphs,
)
from mnist_cli.autograd.order import dependencies

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_AGAIN = "Name a graph.json of this program; if it was edited or cut, dump the graph again."
RESERVED = ("format", "version", "root", "nodes", "parameters", "replay", "unreadable", "modules")
"""Keys of the document that no ``context`` may use."""


def dumps(graph: GradGraph) -> str:
    """The document as text, with one node, one parameter or one call of a module per line.

    So ``diff`` shows each difference between two dumps as a line. Python's encoder in C does the work;
    ``json.dumps(indent=…)`` would use the slow one in Python.

    Raises:
        ValueError: the graph's context uses a key of the document.
        TypeError: the context or an attribute is not a plain value.
    """
    return "".join(_pieces(graph))


def dump(graph: GradGraph, file: SupportsWrite) -> None:
    """Write the document of :func:`dumps` line by line: a large graph's text is never held whole.

    Args:
        graph: the graph.
        file: an open text file.

    Raises:
        ValueError: the graph's context uses a key of the document.
        TypeError: the context or an attribute is not a plain value.
    """
    for piece in _pieces(graph):
        file.write(piece)


class SupportsWrite(Protocol):
    """An open text file."""

    def write(self, text: str, /) -> object:
        """Append text."""


def _pieces(graph: GradGraph) -> Iterator[str]:
    """The text of the document in pieces of at most one row."""
    check_graphs(graph)
    taken = [key for key in graph.context if key in RESERVED]
    if taken:
        raise ValueError(f"a graph's context cannot hold the document's own key {taken[0]!r}")
    head = {"format": FORMAT, "version": VERSION, **plain(graph.context), "root": graph.root}
    tail = {"replay": plain(graph.replay)}
    if graph.unreadable:
        tail["unreadable"] = list(graph.unreadable)
    yield "{\n"
    yield from (f"{line},\n" for line in _members(head))
    yield from _rows("nodes", map(plain, graph.nodes))
    yield ",\n"
    yield from _rows("parameters", map(_parameter, graph.parameters))
    yield from (f",\n{line}" for line in _members(tail))
    if graph.modules:
        yield ",\n"
        yield from _rows("modules", map(plain, graph.modules))
    yield "\n}\n"


def plain(value: Any) -> Any:
    """A value in JSON's own types, as it stands in a document.

    Dataclasses become objects and tuples become lists; NaN and the infinities become strings.

    Raises:
        TypeError: JSON has no such value.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in _names(value.__class__)}
    raise TypeError(f"a gradient graph holds plain values, not {type(value).__name__}")


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _parameter(parameter: Parameter) -> dict[str, Any]:
    row: dict[str, Any] = plain(parameter)
    if not parameter.frozen:
        del row["frozen"]
    return row


def _members(values: Mapping[str, Any]) -> Iterable[str]:
    return (f"{_text(key)}: {_text(value)}" for key, value in values.items())


def _rows(key: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f'"{key}": ['
    between = "\n"
    for row in rows:
        yield between + _text(row)
        between = ",\n"
    yield "\n]" if between != "\n" else "]"


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


@dataclass(frozen=True)
class _Document:
    """The part of a document that is not context."""

    nodes: tuple[Node, ...]
    parameters: tuple[Parameter, ...]
    root: int
    replay: Verdict | None = None
    unreadable: tuple[str, ...] = ()
    modules: tuple[ModuleCall, ...] = ()


@functools.cache
def _reader() -> TypeAdapter[_Document]:
    try:
        from pydantic import TypeAdapter
    except ModuleNotFoundError as error:
        raise DependencyError(
            "reading a dump needs the package pydantic, which is not installed",
            "Install it with: pip install pydantic",
        ) from error
    return TypeAdapter(_Document)


def loads(text: str) -> GradGraph:
    """Read the text of a document.

    Raises:
        DataError: it is not one; the message names the place.
        DependencyError: pydantic is not installed; only reading a dump needs it.
    """
    data = _parsed(text)
    _check_format(data)
    reader = _reader()
    from pydantic import ValidationError

    try:
        read = reader.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _wrong(f"{_place(first['loc'])}: {first['msg']}") from None
    graph = GradGraph(
        **vars(read),
        context={key: value for key, value in data.items() if key not in RESERVED},
    )
    _check_references(graph)
    return graph


def load(path: str | os.PathLike[str]) -> GradGraph:
    """Read a ``graph.json``.

    Raises:
        DataError: missing, broken, or of another version; names the file and the place in it.
    """
    try:
        return loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(
            f"cannot read the dump {path}: {error.strerror}", "Name a graph.json that you may read."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a gradient graph: not text", _AGAIN) from error
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not a gradient graph: broken JSON ({error})",
            "The file may have been cut short: dump the graph again.",
        ) from error
    if not isinstance(data, dict):
        raise _wrong("the document is not an object")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _wrong(what: str) -> DataError:
    return DataError(f"not a gradient graph: {what}", _AGAIN)


def _place(location: Iterable[int | str]) -> str:
    """``nodes[0].next[1].node`` for ``("nodes", 0, "next", 1, "node")``."""
    words = (f"[{word}]" if isinstance(word, int) else f".{word}" for word in location)
    return "".join(words).removeprefix(".") or "the document"


def _check_format(data: Mapping[str, Any]) -> None:
    found, version = data.get("format"), data.get("version")
    if found != FORMAT:
        raise _wrong(f"format: should be {FORMAT!r}, not {found!r}")
    if version != VERSION or isinstance(version, bool):
        raise DataError(
            f"the gradient graph has version {version!r}; this program reads version {VERSION}",
            "Dump the graph again, or read it with the release that wrote it.",
        )


def _check_references(graph: GradGraph) -> None:
    count = len(graph.nodes)
    for position, node in enumerate(graph.nodes):
        if node.id != position:
            raise _wrong(f"nodes[{position}].id: is {node.id}, but ids count up from 0")
        if node.parameter is not None and any(edge is not None for edge in node.next):
            raise _wrong(f"nodes[{position}].next: a parameter's node cannot have next nodes")
    for node, position, edge in graph.edges():
        where = f"nodes[{node.id}].next[{position}]"
        if not 0 <= edge.node < count:
            raise _wrong(f"{where}.node: no such node: {edge.node}")
        inputs = len(graph.nodes[edge.node].outputs)
        if inputs and not 0 <= edge.input_nr < inputs:
            what = f"is {edge.input_nr}, but the inputs of node {edge.node} are 0 to {inputs - 1}"
            raise _wrong(f"{where}.input_nr: {what}")
    for position, parameter in enumerate(graph.parameters):
        if parameter.node is not None and not 0 <= parameter.node < count:
            raise _wrong(f"parameters[{position}].node: no such node: {parameter.node}")
    if not (0 <= graph.root < count or graph.root == count == 0):
        raise _wrong(f"root: no such node: {graph.root}")
    _check_no_cycle(graph)
    _check_depths(graph)


def _check_no_cycle(graph: GradGraph) -> None:
    waiting = dependencies(graph)
    free = [number for number, count in enumerate(waiting) if count == 0]
    for number in free:
        for edge in graph.nodes[number].next:
            if edge is not None:
                waiting[edge.node] -= 1
                if waiting[edge.node] == 0:
                    free.append(edge.node)
    if len(free) < len(graph.nodes):
        inside = next(number for number, count in enumerate(waiting) if count)
        raise _wrong(f"nodes[{inside}]: its gradient leads back to itself, in a cycle")


def _check_depths(graph: GradGraph) -> None:
    deepest = 0
    for position, call in enumerate(graph.modules):
        if call.depth > deepest:
            raise _wrong(
                f"modules[{position}].depth: is {call.depth}, but may be at most {deepest}"
            )
        deepest = call.depth + 1
