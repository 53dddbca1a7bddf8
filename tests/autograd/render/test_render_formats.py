from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path

import chromium
import pytest
import render_graphs

from mnist_cli.autograd import draw
from mnist_cli.autograd.diagnosing import Diagnosis
from mnist_cli.autograd.document import loads
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import FORMATS, dot, html, labels, mermaid, style, svg
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.picture import Direction
from mnist_cli.errors import UsageError

GRAPHS = {
    "network": render_graphs.network(),
    "hostile": render_graphs.hostile(),
    "random": render_graphs.random_graph(3, 60),
    "empty": GradGraph(()),
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_every_format_is_text_and_the_same_twice(name: str, graph: GradGraph) -> None:
    text = FORMATS[name].render(graph)
    assert text.endswith("\n")
    assert text == FORMATS[name].render(graph)
    text.encode("utf-8")


def test_json_is_the_dump_itself() -> None:
    graph = GRAPHS["network"]
    assert loads(FORMATS["json"].render(graph)).nodes == graph.nodes


def test_visible_leaves_nothing_that_acts() -> None:
    text = labels.visible("".join(map(chr, range(0x250))) + "\u202e\u2066\u200b\ufeff\ud800")
    assert text.isprintable()
    assert labels.visible("conv1.weight 名前") == "conv1.weight 名前"


# ---- DOT


def graphviz(text: str, kind: str) -> str:
    program = shutil.which("dot")
    if program is None:
        pytest.skip("Graphviz is not installed")
    ran = subprocess.run(
        [program, f"-T{kind}"], input=text, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    return ran.stdout


def dot_json(text: str) -> dict:
    return json.loads(graphviz(text, "dot_json"))


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_graphviz_reads_the_same_graph(graph: GradGraph) -> None:
    read = dot_json(dot.render(graph))
    objects = {o["_gvid"]: o for o in read.get("objects", ())}
    drawn = {i: o for i, o in objects.items() if not o["name"].startswith("cluster_")}
    assert {o["name"] for o in drawn.values()} == {f"n{n.id}" for n in graph.nodes}
    edges = sorted(
        (objects[e["tail"]]["name"], objects[e["head"]]["name"]) for e in read.get("edges", ())
    )
    assert edges == sorted((f"n{n.id}", f"n{e.node}") for n, _, e in graph.edges())


def test_graphviz_shows_names_as_they_are() -> None:
    graph = GRAPHS["hostile"]
    root = ET.fromstring(graphviz(dot.render(graph), "svg"))
    drawn = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("class") == "node":
            drawn[group.findtext(f"{SVG}title")] = texts(group)
    for node in graph.nodes:
        name = labels.visible(node.parameter or node.name)
        shown = drawn[f"n{node.id}"][0].replace("\xa0", " ")
        assert " ".join(shown.split()) == " ".join(name.split())


def test_graphviz_draws_clusters_nested_like_the_modules() -> None:
    read = dot_json(dot.render(GRAPHS["network"]))
    titles = {o["label"] for o in read["objects"] if o["name"].startswith("cluster_")}
    assert titles == {"head", "block", "block.fc", "stem"}


# ---- the direction of DOT and Mermaid

AWAY = {"TB": (0, 1), "BT": (0, -1), "LR": (1, 0), "RL": (-1, 0)}
"""Which way an edge leads from its tail, on a screen whose y grows downwards: both languages."""
FORWARD = {"down": (0, 1), "right": (1, 0)}


@pytest.mark.parametrize("direction", FORWARD)
def test_edges_lead_against_the_forward_pass(direction: Direction) -> None:
    graph = GRAPHS["network"]
    rank = re.search(r"\brankdir=(\w+)", dot.render(graph, direction=direction))
    chart = re.match(r"flowchart (\w+)\n", mermaid.render(graph, direction=direction))
    assert rank is not None
    assert chart is not None
    x, y = FORWARD[direction]
    assert AWAY[rank[1]] == AWAY[chart[1]] == (-x, -y)


@pytest.mark.parametrize("direction", FORWARD)
def test_graphviz_places_the_root_where_the_forward_pass_ends(direction: Direction) -> None:
    graph = GRAPHS["network"]
    read = json.loads(graphviz(dot.render(graph, direction=direction), "json0"))
    names = {o["_gvid"]: o for o in read["objects"]}
    x, y = FORWARD[direction]
    assert len(read["edges"]) == graph.totals().edges
    for edge in read["edges"]:
        tail, head = (
            [float(number) for number in names[edge[end]]["pos"].split(",")]
            for end in ("tail", "head")
        )
        forward = (tail[0] - head[0]) * x - (tail[1] - head[1]) * y  # y grows upwards here
        assert forward > 0


def test_the_default_direction_is_down() -> None:
    for one in (dot, mermaid, svg, html):
        assert one.render(GRAPHS["network"]) == one.render(GRAPHS["network"], direction="down")


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_lists_the_options_that_have_an_effect(name: str) -> None:
    graph, one = GRAPHS["network"], FORMATS[name]
    changed = {
        option: one.render(graph, **{option: value}) != one.render(graph)
        for option, value in {
            "direction": "right",
            "order": [1, 0],
            "plan": layout(graph, direction="right"),
            "findings": [Diagnosis("vanishing", "fc", "It vanishes.")],
        }.items()
    }
    assert {option for option, differs in changed.items() if differs} == one.options


def test_draw_refuses_what_it_does_not_know() -> None:
    assert draw(GRAPHS["network"]) == html.render(GRAPHS["network"])
    with pytest.raises(UsageError, match="no format 'jpeg'"):
        draw(GRAPHS["network"], "jpeg")
    with pytest.raises(TypeError, match="direction"):
        draw(GRAPHS["network"], "json", direction="right")


# ---- Mermaid


def mermaid_script() -> Path:
    """mermaid.min.js, which MERMAID_JS names or `npm install mermaid` puts beside the tests."""
    named = os.environ.get("MERMAID_JS")
    near = Path(__file__).parents[3] / "node_modules/mermaid/dist/mermaid.min.js"
    found = Path(named) if named else near
    if not found.is_file():
        pytest.skip("Mermaid is not installed (name mermaid.min.js in MERMAID_JS)")
    return found


@pytest.mark.skipif(chromium.EXECUTABLE is None, reason="Chromium is not installed")
def test_mermaid_draws_every_node_and_label() -> None:
    script = mermaid_script()
    with chromium.Browser() as browser, tempfile.TemporaryDirectory() as folder:
        for name, graph in GRAPHS.items():
            page = Path(folder, f"{name}.html")
            text = mermaid.render(graph)
            page.write_text(
                f'<meta charset="utf-8"><pre id="source">{escape(text)}</pre><div id="out"></div>'
                f'<script src="{script.as_uri()}"></script>',
                encoding="utf-8",
            )
            browser.open(page)
            drawn = browser.evaluate(
                "mermaid.initialize({startOnLoad: false});"
                "mermaid.render('m', document.getElementById('source').textContent)"
                ".then(({svg}) => { document.getElementById('out').innerHTML = svg;"
                "return [...document.querySelectorAll('#out .node .nodeLabel')]"
                ".map((e) => e.innerText); })"
            )
            first = sorted(label.split("\n")[0].strip() for label in drawn)
            # The browser folds runs of spaces in a label.
            wanted = sorted(
                " ".join(labels.visible(n.parameter or n.name).replace("\\", "∖").split())
                for n in graph.nodes
            )
            assert first == wanted
            assert browser.evaluate("document.querySelectorAll('#out script').length") == 0
        assert browser.problems == []


def test_mermaid_says_when_its_limits_must_be_raised() -> None:
    assert "maxEdges" not in mermaid.render(GRAPHS["network"])
    assert mermaid.render(render_graphs.chain(900)).startswith("%% 899 edges")


def test_mermaid_text_holds_no_character_that_means_something() -> None:
    for name in render_graphs.HOSTILE:
        assert re.fullmatch(r"(?:[\w .,:+\-×·]|#\d+;)*", mermaid.escaped(name))


# ---- SVG


def texts(root: ET.Element) -> list[str]:
    return ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("direction", ["down", "right"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_svg_is_one_well_formed_document_that_loads_nothing(graph, direction) -> None:
    text = svg.render(graph, direction=direction)
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    names = {e.tag for e in root.iter()}
    assert not names & {f"{SVG}script", f"{SVG}foreignObject", f"{SVG}image", f"{SVG}a"}
    assert not [a for e in root.iter() for a in e.attrib if a.startswith("on") or "href" in a]
    assert "@import" not in text
    assert "url(" not in text


def test_svg_has_a_box_for_every_node_and_a_wire_for_every_edge() -> None:
    graph = GRAPHS["random"]
    root = ET.fromstring(svg.render(graph))
    kinds = [set(e.get("class", "").split()) for e in root.iter(f"{SVG}g") if e.get("data-box")]
    assert sum("operation" in k or "parameter" in k for k in kinds) == len(graph)
    wires = {e.get("data-wire") for e in root.iter(f"{SVG}g") if e.get("data-wire")}
    assert len(wires) == graph.totals().edges


def test_svg_names_a_folded_module_once() -> None:
    folded = render_graphs.graph([[1], [2], [3], []], name={1: "block"}, module={1: "block"})
    assert texts(ET.fromstring(svg.render(folded))).count("block") == 1
    inner = render_graphs.graph([[1], [2], [3], []], name={1: "SinBackward0"}, module={1: "block"})
    assert texts(ET.fromstring(svg.render(inner))).count("block") == 1


def test_svg_shows_hostile_names_as_text() -> None:
    graph = GRAPHS["hostile"]
    hints = [e.text or "" for e in ET.fromstring(svg.render(graph)).iter(f"{SVG}title")]
    for node in graph.nodes:
        assert any(f"#{node.id} {labels.visible(node.name)}" in hint for hint in hints)


def test_svg_marks_the_root_alarms_and_inputs_without_gradient() -> None:
    graph = render_graphs.graph(
        [[1, None], [2], []], grad_in={1: (render_graphs.stats(float("inf"), nan=2),)}
    )
    root = ET.fromstring(svg.render(graph))
    classes = {e.get("data-box"): e.get("class", "") for e in root.iter(f"{SVG}g")}
    assert "root" in classes["0"]
    assert "alarm" in classes["1"]
    assert "alarm" not in classes["2"]
    hints = [t.text for t in root.iter(f"{SVG}title")]
    assert "input 1 needs no gradient" in hints


def test_colours_follow_the_norm_and_tell_zero_and_nan_apart() -> None:
    scale = style.Scale(-3, 2)
    levels = [scale.level(10.0**power) for power in range(-3, 3)]
    assert levels == sorted(levels)
    assert levels[0] == "g0"
    assert levels[-1] == f"g{style.LEVELS - 1}"
    others = {scale.level(x) for x in (0.0, float("nan"), float("inf"), None)}
    assert others == {"zero", "bad", "unknown"}


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_texts_can_be_read_and_the_ramp_is_ordered_by_lightness(palette: dict[str, str]) -> None:
    pairs = [("ink", "card"), ("muted", "card"), ("muted", "paper"), ("ink", "paper"),
             ("parameter-ink", "parameter"), ("saved-ink", "saved")]  # fmt: skip
    for text, ground in pairs:
        assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    ramp = [contrast(palette[f"g{i}"], palette["paper"]) for i in range(style.LEVELS)]
    assert ramp == sorted(ramp)


# ---- HTML, as text; its behaviour is tested in a browser


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_html_holds_no_name_that_could_end_the_script(graph: GradGraph) -> None:
    page = html.render(graph)
    assert page.count("</script>") == 2
    assert page.count("<script") == 2
    data = re.search(r'id="graph-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert not set(data[1]) & set("<>&\u2028\u2029")
    assert len(json.loads(data[1])["nodes"]) == len(graph)


def test_html_allows_only_its_own_script_and_style() -> None:
    policy = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]*)"', html.render(GRAPHS["network"])
    )
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "unsafe" not in policy[1]
