from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
import render_graphs

from mnist_cli.autograd.graph import Edge, GradGraph
from mnist_cli.autograd.render import tree

RANDOM = [render_graphs.random_graph(seed, 10 + 6 * seed) for seed in range(8)]


def body(text: str) -> list[str]:
    """The lines of the tree itself."""
    return text.split("\n\n")[1].splitlines()[1:]


@pytest.mark.parametrize("graph", RANDOM)
def test_each_node_is_shown_once_and_each_edge_has_a_line(graph: GradGraph) -> None:
    rows = body(tree.render(graph, width=200))
    shown = Counter(re.findall(r"[●■] (?:\[\d+\] )?#(\d+)", "\n".join(rows)))
    assert shown == Counter(str(n.id) for n in graph.nodes)
    # Every edge is a line: a shown node that hangs on its user, or a reference; what several
    # arms meet in is shown below them and referred to from each.
    assert len([r for r in rows if "↺" in r or "↓" in r]) >= graph.totals().edges - len(graph) + 1


@pytest.mark.parametrize("graph", RANDOM)
def test_a_reference_points_up_or_down_correctly(graph: GradGraph) -> None:
    rows = body(tree.render(graph, width=200))
    at = {
        int(m[1]): i
        for i, row in enumerate(rows)
        if (m := re.search(r"[●■] (?:\[\d+\] )?#(\d+)", row))
    }
    for i, row in enumerate(rows):
        if found := re.search(r"([↺↓]) (?:\[\d+\] )?#(\d+)", row):
            assert (at[int(found[2])] < i) == (found[1] == "↺")


def test_a_chain_of_any_length_goes_straight_down() -> None:
    rows = body(tree.render(render_graphs.chain(20_000)))
    assert len(rows) == 20_000
    assert all(row.startswith(("● #", "■ #")) for row in rows)


def test_the_trunk_of_a_residual_network_is_not_indented() -> None:
    rows = body(tree.render(render_graphs.network()))
    starts = {int(m[1]): row for row in rows if (m := re.search(r"[●■] (?:\[\d+\] )?#(\d+)", row))}
    assert all(starts[n].startswith("●") for n in (0, 1, 5, 9, 10))
    assert all(not starts[n].startswith("●") for n in (2, 3, 4, 6, 7, 8, 11, 12))


def test_inputs_without_gradient_and_numbers_of_results_are_shown() -> None:
    graph = render_graphs.graph([[1, None, 2], [2], [3], []], next={1: (Edge(2, 4),)})
    text = tree.render(graph)
    assert "├─· [1]" in text
    assert "#2:4 " in text


def test_header_counts_and_columns_hold_the_graph_s_figures() -> None:
    text = tree.render(render_graphs.replayed(render_graphs.network()))
    head = text.splitlines()[0]
    assert "13 nodes" in head
    assert "13 edges" in head
    assert "3 saved tensors, 60 B" in head
    assert "every gradient bit-equal" in text
    assert re.search(r"#4 AccumulateGrad head\.weight +2×3 +1\b", text)
    different = render_graphs.replayed(render_graphs.network(), exact=False)
    assert "1 of 5 parameters differ" in tree.render(different)


@pytest.mark.parametrize("width", [40, 72, 100])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_of_the_table_is_wider_than_asked(width: int, ascii_only: bool) -> None:
    for graph in (*RANDOM, render_graphs.hostile()):
        rows = body(tree.render(graph, width=width, ascii_only=ascii_only))
        assert max(map(len, rows)) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_header_and_the_key_break_between_words(width: int) -> None:
    """At 80 columns a terminal cut "kept for back/ward"."""
    graph = render_graphs.replayed(render_graphs.network()).with_context(
        model="conv4", dataset="Fashion-MNIST", device="cpu", precision="bf16",
        batch=list(range(128)), loss=2.3456, torch="2.14.1+cu130",
    )  # fmt: skip
    text = tree.render(graph, width=width)
    assert max(map(len, text.splitlines())) <= width
    whole = tree.render(graph, width=1000)
    assert text.split("\n\n")[0].replace("·", "").split() == (
        whole.split("\n\n")[0].replace("·", "").split()
    )
    for words in ("3 saved tensors, 60 B kept for backward", "128 examples", "needs no gradient"):
        assert words in (text if width > 40 else text.replace("\n", " "))


def test_ascii_only_means_ascii() -> None:
    text = tree.render(render_graphs.hostile(), ascii_only=True)
    assert text.isascii()
    assert "\\u540d" in tree.render(render_graphs.hostile(), ascii_only=True, width=200)


def test_names_cannot_command_the_terminal_or_break_a_line() -> None:
    plain, bad = tree.render(render_graphs.network()), tree.render(render_graphs.hostile())
    assert len(body(plain)) == len(body(bad))
    assert all(c == "\n" or c.isprintable() for c in bad)


def test_numbers_that_cannot_be_trusted_are_spans_of_their_own() -> None:
    graph = render_graphs.graph(
        [[1], []], grad_in={0: (render_graphs.stats(float("nan"), nan=3),), 1: ()}
    )
    spans = [span for line in tree.lines(graph) for span in line]
    assert [s.text for s in spans if s.role == "alarm"] == ["NaN"]
    assert {s.role for s in spans} <= set(tree.ROLES)


def test_graphs_without_figures_and_without_nodes() -> None:
    bare = render_graphs.graph([[1], []])
    bare = replace(bare, nodes=tuple(replace(n, grad_in=(), outputs=()) for n in bare.nodes))
    assert "#1 AccumulateGrad p1" in tree.render(replace(bare, parameters=()))
    assert "0 nodes" in tree.render(GradGraph(()))
