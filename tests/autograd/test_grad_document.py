"""The JSON form: round trips, the contract's layout, and a reader that names what is wrong."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_cli.autograd.document import dumps, loads
from mnist_cli.autograd.graph import (
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

FLOATS = st.floats(allow_nan=False)
NORMS = st.floats(min_value=0.0, allow_nan=False)
COUNTS = st.integers(0, 2**62)
SHAPES = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
WORDS = st.text(max_size=12)
STATS = st.builds(
    Stats, SHAPES, NORMS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, nan=COUNTS, inf=COUNTS
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS.filter(math.isfinite) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
COMPARISONS = st.lists(st.builds(Comparison, WORDS, st.booleans(), FLOATS, COUNTS), max_size=2)
VERDICTS = st.builds(
    Verdict,
    st.booleans(),
    COUNTS,
    COMPARISONS.map(tuple),
    COMPARISONS.map(tuple),
    st.lists(WORDS, max_size=2).map(tuple),
)


def _edges(first: int, count: int, parameter: str | None) -> st.SearchStrategy[Edge | None]:
    """Edges to later nodes alone: no gradient comes back to where it was. A parameter has none."""
    if first >= count or parameter is not None:
        return st.none()
    return st.none() | st.builds(Edge, st.integers(first, count - 1), st.just(0))


@st.composite
def graphs(draw: st.DrawFn) -> GradGraph:
    count = draw(st.integers(1, 5))
    one_saved = st.builds(Saved, WORDS, SHAPES, WORDS, COUNTS, COUNTS)
    saved = st.lists(one_saved, max_size=2).map(tuple)
    grads = st.lists(st.none() | STATS, max_size=2).map(tuple)
    leaves = [draw(st.none() | WORDS) for _ in range(count)]
    nodes = [
        Node(
            id=number,
            name=draw(WORDS),
            module=draw(WORDS),
            parameter=leaves[number],
            sequence=draw(st.none() | COUNTS),
            outputs=(draw(st.builds(TensorMeta, SHAPES, WORDS)),),
            next=draw(st.lists(_edges(number + 1, count, leaves[number]), max_size=3).map(tuple)),
            saved=draw(saved),
            attributes=draw(st.dictionaries(WORDS, PLAIN, max_size=3)),
            grad_in=draw(grads),
            grad_out=draw(grads),
        )
        for number in range(count)
    ]
    parameters = st.builds(
        Parameter,
        WORDS,
        st.none() | st.integers(0, count - 1),
        SHAPES,
        st.none() | STATS,
        st.none() | STATS,
        st.booleans(),
    )
    return GradGraph(
        nodes=tuple(nodes),
        parameters=tuple(draw(st.lists(parameters, max_size=3))),
        root=draw(st.integers(0, count - 1)),
        context={f"x{k}": v for k, v in draw(st.dictionaries(WORDS, PLAIN, max_size=3)).items()},
        replay=draw(st.none() | VERDICTS),
        unreadable=tuple(draw(st.lists(WORDS, max_size=2))),
    )


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_what_is_written_is_read_back(graph: GradGraph) -> None:
    text = dumps(graph)
    assert loads(text) == graph
    assert dumps(loads(text)) == text


def small() -> GradGraph:
    stats = Stats((2,), 1.5, 0.5, 0.25, -1.0, 1.0, 0.5, 0, 0)
    root = Node(
        0,
        "AddBackward0",
        "fc",
        None,
        0,
        (TensorMeta((2,), "float32"),),
        (Edge(1, 0), None),
        (Saved("self", (2,), "float32", 8, 0),),
        {"alpha": 1},
        (stats,),
        (stats, None),
    )
    gather = Node(1, "AccumulateGrad", "fc", "fc.bias", None, (TensorMeta((2,), "float32"),))
    return GradGraph(
        (root, gather),
        (Parameter("fc.bias", 1, (2,), stats),),
        context={"torch": "2.11", "loss": 0.5, "batch": [3, 14]},
        replay=Verdict(True, 1, (Comparison("fc.bias", True, 0.0, 0),)),
    )


def test_the_layout_of_the_contract() -> None:
    document = json.loads(dumps(small()))
    assert document["format"] == "mnist-cli/grad-graph"
    assert document["version"] == 1
    assert (document["torch"], document["loss"], document["batch"]) == ("2.11", 0.5, [3, 14])
    node = document["nodes"][0]
    assert node["outputs"] == [{"shape": [2], "dtype": "float32"}]
    assert node["next"] == [{"node": 1, "input_nr": 0}, None]
    assert node["saved"] == [
        {"slot": "self", "shape": [2], "dtype": "float32", "bytes": 8, "storage": 0}
    ]
    keys = {"shape", "norm", "mean", "std", "min", "max", "zeros", "nan", "inf"}
    assert set(node["grad_in"][0]) == keys
    assert document["parameters"][0]["name"] == "fc.bias"
    assert document["replay"]["parameters"] == [
        {"name": "fc.bias", "equal": True, "max_abs_diff": 0.0, "max_ulp": 0}
    ]


def test_figures_that_json_cannot_hold() -> None:
    graph = small()
    odd = Stats((1,), math.inf, math.nan, math.nan, -math.inf, math.inf, 0.0, 1, 2)
    graph = replace(graph, parameters=(replace(graph.parameters[0], grad=odd),))
    text = dumps(graph)
    assert '"norm": "Infinity"' in text
    assert '"min": "-Infinity"' in text
    back = loads(text).parameters[0].grad
    assert back is not None
    assert math.isnan(back.mean)
    assert (back.norm, back.min, back.nan, back.inf) == (math.inf, -math.inf, 1, 2)


def test_each_node_has_a_line_of_its_own() -> None:
    lines = dumps(small()).splitlines()
    assert sum(line.startswith('{"id": ') for line in lines) == 2


def test_the_documents_own_keys_are_not_for_the_context() -> None:
    with pytest.raises(ValueError, match="'nodes'"):
        dumps(small().with_context(nodes=3))


MISSING = object()
DAMAGE = [
    (("nodes", 0, "id"), MISSING, "nodes[0].id: Field required"),
    (("format",), "torch-graph", "format: should be 'mnist-cli/grad-graph'"),
    (("version",), 2, "has version 2; this"),
    (("nodes",), {}, "nodes: Input should be a valid array"),
    (("nodes", 0, "sequence"), 1.5, "nodes[0].sequence: Input should be a valid integer"),
    (("nodes", 1, "id"), 5, "nodes[1].id: is 5"),
    (("nodes", 0, "next", 0, "node"), 9, "nodes[0].next[0].node: no such node: 9"),
    (("nodes", 0, "next", 0, "node"), -1, "no such node: -1"),
    (("nodes", 0, "next", 0, "input_nr"), 3, "is 3, but the inputs of node 1 are 0 to 0"),
    (("nodes", 0, "outputs", 0, "shape"), [-2], "shape[0]: Input should be greater than"),
    (("nodes", 0, "grad_in", 0, "norm"), "big", "norm: Input should be a valid number"),
    (("nodes", 0, "grad_in", 0, "nan"), True, "nan: Input should be a valid integer"),
    (("nodes", 0, "saved", 0, "bytes"), "8", "saved[0].bytes: Input should be a valid integer"),
    (("parameters", 0, "node"), 4, "parameters[0].node: no such node: 4"),
    (("root",), 2, "root: no such node: 2"),
    (("nodes", 0, "next", 0, "node"), 0, "nodes[0]: its gradient leads back to itself"),
    (("nodes", 0, "sequence"), 10**400, "sequence: Input should be"),
    (("nodes", 0, "saved", 0, "bytes"), 2**64, "bytes: Input should be less than or equal"),
    (("nodes", 0, "parameter"), "fc.bias", "nodes[0].next: a parameter's node cannot"),
    (("nodes", 0, "grad_in", 0, "norm"), -1, "norm: Value error, a norm is not below 0"),
    (("nodes", 0, "grad_in", 0, "norm"), "-Infinity", "a norm is not below 0"),
    (("nodes", 0, "saved", 0, "storage"), -1, "storage: Input should be greater than"),
]


def damaged(where: tuple[str | int, ...], value: object) -> str:
    document = json.loads(dumps(small()))
    *way, last = where
    place = document
    for key in way:
        place = place[key]
    place[last] = value
    if value is MISSING:
        del place[last]
    return json.dumps(document)


@pytest.mark.parametrize(("where", "value", "message"), DAMAGE)
def test_an_error_names_the_place(
    where: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(DataError) as raised:
        loads(damaged(where, value))
    assert message in raised.value.message
    assert raised.value.hint
    assert raised.value.code == 3


def test_a_key_with_a_default_may_be_missing() -> None:
    assert loads(damaged(("nodes", 0, "module"), MISSING)).nodes[0].module == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", '{"format": NaN}', "\x00", "[" * 100_000, "9" * 5000]
)
def test_broken_json(text: str) -> None:
    with pytest.raises(DataError, match="broken JSON"):
        loads(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"nodes": []}'])
def test_json_without_a_graph(text: str) -> None:
    with pytest.raises(DataError, match="not a gradient graph"):
        loads(text)


def test_public_names_are_all_there() -> None:
    import mnist_cli.autograd as library

    for _, module, _ in pkgutil.iter_modules(library.__path__):
        importlib.import_module(f"{library.__name__}.{module}")
        assert module not in library.__all__, "a module's name would hide the function's"
    for name in library.__all__:
        assert callable(getattr(library, name))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = library.nonsense
