"""The strict reader of a gradient graph's JSON form.

Every complaint is a :class:`DataError` that names the field and what stands there instead.
Knows nothing of torch, nor of where the text came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mnist_cli.autograd.document import RESERVED, STATS_FLOATS
from mnist_cli.autograd.graph import (
    FORMAT,
    VERSION,
    Comparison,
    Edge,
    GradGraph,
    Node,
    Parameter,
    Saved,
    Stats,
    TensorMeta,
    Verdict,
)
from mnist_cli.errors import DataError

T = TypeVar("T")

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def loads(text: str) -> GradGraph:
    """Read the text of a document; raises :class:`DataError` where it is none."""
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not a gradient graph: broken JSON ({error})",
            "The file may have been cut short: dump the graph again.",
        ) from error
    return from_dict(data)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def from_dict(data: object) -> GradGraph:
    """Read a document; raises :class:`DataError` that names the field which is wrong."""
    document = _Fields(data, "the document")
    _check_format(document)
    graph = GradGraph(
        nodes=tuple(_read_rows(document, "nodes", _read_node)),
        parameters=tuple(_read_rows(document, "parameters", _read_parameter)),
        root=document.take("root", _read_int),
        context={k: v for k, v in document.data.items() if k not in RESERVED},
        replay=document.take("replay", _optional(_read_verdict), None),
        unreadable=document.take("unreadable", _list_of(_read_str), ()),
    )
    _check_references(graph)
    return graph


def _wrong(where: str, what: str) -> DataError:
    return DataError(
        f"not a gradient graph: {where} {what}",
        "Dump the graph again with this program; documents are not meant to be edited by hand.",
    )


_REQUIRED: Any = object()


class _Fields:
    """One JSON object being read: knows where it stands, so that a complaint can say."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise _wrong(where, f"is {_kind(data)} where an object belongs")
        self.data: dict[str, Any] = data
        self.where = where

    def take(self, key: str, read: Callable[[object, str], T], default: Any = _REQUIRED) -> T:
        if key in self.data:
            return read(self.data[key], f"{self.where}, {key!r},")
        if default is _REQUIRED:
            raise _wrong(self.where, f"has no {key!r}")
        result: T = default
        return result


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a truth value", int: "a whole number", float: "a number", str: "a string"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


def _check_format(document: _Fields) -> None:
    if document.data.get("format") != FORMAT:
        found = document.data.get("format")
        raise _wrong("its 'format'", f"is {found!r} where {FORMAT!r} belongs")
    version = document.data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise DataError(
            f"a gradient graph of another version: {version!r}, where this program reads {VERSION}",
            "Dump the graph again, or read it with the release that wrote it.",
        )


def _check_references(graph: GradGraph) -> None:
    count = len(graph.nodes)
    for position, node in enumerate(graph.nodes):
        if node.id != position:
            raise _wrong(f"node number {position}", f"has id {node.id}: ids count up from 0")
    for node, position, edge in graph.edges():
        if not 0 <= edge.node < count:
            raise _wrong(f"node {node.id}, edge {position},", f"leads to no node: {edge.node}")
        inputs = len(graph.nodes[edge.node].outputs)
        if inputs and not 0 <= edge.input_nr < inputs:
            what = f"leads to input {edge.input_nr} of node {edge.node}, which has {inputs}"
            raise _wrong(f"node {node.id}, edge {position},", what)
    for parameter in graph.parameters:
        if parameter.node is not None and not 0 <= parameter.node < count:
            raise _wrong(f"parameter {parameter.name!r}", f"is at no node: {parameter.node}")
    if not (0 <= graph.root < count or graph.root == count == 0):
        raise _wrong("'root'", f"is no node: {graph.root}")


def _read_int(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(where, f"is {_kind(value)} where a whole number belongs")
    return value


def _read_count(value: object, where: str) -> int:
    count = _read_int(value, where)
    if count < 0:
        raise _wrong(where, f"is {count} where a count belongs")
    return count


def _read_str(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, f"is {_kind(value)} where a string belongs")
    return value


def _read_bool(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(where, f"is {_kind(value)} where true or false belongs")
    return value


def _read_float(value: object, where: str) -> float:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(where, f"is {_kind(value)} where a number belongs")
    try:
        return float(value)
    except OverflowError as error:
        raise _wrong(where, "is larger than any float") from error


def _read_mapping(value: object, where: str) -> dict[str, Any]:
    return _Fields(value, where).data


def _optional(read: Callable[[object, str], T]) -> Callable[[object, str], T | None]:
    return lambda value, where: None if value is None else read(value, where)


def _list_of(read: Callable[[object, str], T]) -> Callable[[object, str], tuple[T, ...]]:
    def read_list(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _wrong(where, f"is {_kind(value)} where a list belongs")
        return tuple(read(item, f"{where} item {i},") for i, item in enumerate(value))

    return read_list


def _read_rows(document: _Fields, key: str, read: Callable[[_Fields], T]) -> Iterable[T]:
    rows = document.take(key, _list_of(lambda value, _: value))
    singular = key.removesuffix("s")
    return (read(_Fields(row, f"{singular} {number}")) for number, row in enumerate(rows))


_read_shape = _list_of(_read_count)


def _read_meta(value: object, where: str) -> TensorMeta:
    row = _Fields(value, where)
    return TensorMeta(row.take("shape", _read_shape), row.take("dtype", _read_str))


def _read_edge(value: object, where: str) -> Edge:
    row = _Fields(value, where)
    return Edge(row.take("node", _read_int), row.take("input_nr", _read_int))


def _read_saved(value: object, where: str) -> Saved:
    row = _Fields(value, where)
    return Saved(
        slot=row.take("slot", _read_str),
        shape=row.take("shape", _read_shape),
        dtype=row.take("dtype", _read_str),
        bytes=row.take("bytes", _read_count),
        storage=row.take("storage", _read_int),
    )


def _read_stats(value: object, where: str) -> Stats:
    row = _Fields(value, where)
    return Stats(
        shape=row.take("shape", _read_shape),
        nan=row.take("nan", _read_count),
        inf=row.take("inf", _read_count),
        **{name: row.take(name, _read_float) for name in STATS_FLOATS},
    )


_read_all_stats = _list_of(_optional(_read_stats))


def _read_node(row: _Fields) -> Node:
    readers: dict[str, Callable[[object, str], Any]] = {
        "id": _read_int,
        "name": _read_str,
        "module": _read_str,
        "parameter": _optional(_read_str),
        "sequence": _optional(_read_int),
        "outputs": _list_of(_read_meta),
        "next": _list_of(_optional(_read_edge)),
        "saved": _list_of(_read_saved),
        "attributes": _read_mapping,
        "grad_in": _read_all_stats,
        "grad_out": _read_all_stats,
    }
    required = ("id", "name", "outputs", "next")
    values = {
        key: row.take(key, read)
        for key, read in readers.items()
        if key in row.data or key in required
    }
    return Node(**values)


def _read_parameter(row: _Fields) -> Parameter:
    return Parameter(
        name=row.take("name", _read_str),
        node=row.take("node", _optional(_read_int)),
        shape=row.take("shape", _read_shape),
        grad=row.take("grad", _optional(_read_stats), None),
        weight=row.take("weight", _optional(_read_stats), None),
        frozen=row.take("frozen", _read_bool, False),
    )


def _read_comparison(value: object, where: str) -> Comparison:
    row = _Fields(value, where)
    return Comparison(
        name=row.take("name", _read_str),
        equal=row.take("equal", _read_bool),
        max_abs_diff=row.take("max_abs_diff", _read_float),
        max_ulp=row.take("max_ulp", _read_count),
    )


def _read_verdict(value: object, where: str) -> Verdict:
    row = _Fields(value, where)
    return Verdict(
        exact=row.take("exact", _read_bool),
        calls=row.take("calls", _read_count),
        parameters=row.take("parameters", _list_of(_read_comparison)),
        nodes=row.take("nodes", _list_of(_read_comparison), ()),
        notes=row.take("notes", _list_of(_read_str), ()),
    )
