"""The page in a real browser: what a person does to it, and what it then shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromium
import pytest
import render_graphs
from render_graphs import HOSTILE

from mnist_cli.autograd.diagnosing import Diagnosis
from mnist_cli.autograd.graph import GradGraph, ModuleCall, TensorMeta
from mnist_cli.autograd.order import engine_order
from mnist_cli.autograd.render import html, labels

pytestmark = pytest.mark.skipif(chromium.EXECUTABLE is None, reason="Chromium is not installed")

NETWORK = render_graphs.replayed(render_graphs.network())


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    with chromium.Browser(1400, 900) as running:
        yield running


class Page:
    """A graph's page, opened."""

    def __init__(self, browser: chromium.Browser, folder: Path) -> None:
        self.browser, self.path = browser, folder / "graph.html"

    def open(self, graph: GradGraph, **options: Any) -> chromium.Browser:
        self.path.write_text(html.render(graph, **options), encoding="utf-8")
        self.browser.problems.clear()
        self.browser.open(self.path)
        return self.browser


@pytest.fixture
def page(browser: chromium.Browser, tmp_path: Path) -> Iterator[Page]:
    yield Page(browser, tmp_path)
    assert browser.problems == [], "errors in the console, dialogs or requests"


def visible_nodes(browser: chromium.Browser) -> list[int]:
    return browser.evaluate(
        "[...document.querySelectorAll('.box:not(.reference)')]"
        ".filter(e => e.getAttribute('display') !== 'none').map(e => +e.dataset.box)"
    )


def visible_folds(browser: chromium.Browser) -> list[str]:
    return browser.evaluate(
        "[...document.querySelectorAll('.fold')].filter(e => e.getAttribute('display') !== 'none')"
        ".map(e => e.querySelector('.name').textContent)"
    )


def shown(browser: chromium.Browser, selector: str) -> str:
    return browser.evaluate(f"document.querySelector('{selector}').innerText")


def chosen(browser: chromium.Browser, how: str = "chosen") -> list[int]:
    return browser.evaluate(
        f"[...document.querySelectorAll('.box.{how}')].map(e => +e.dataset.box)"
    )


def drawn_rects(browser: chromium.Browser) -> list[list[float]]:
    return browser.evaluate(
        "[...document.querySelectorAll('#view .card')]"
        ".filter(e => e.getClientRects().length && e.getBoundingClientRect().width)"
        ".map(e => { const r = e.getBoundingClientRect();"
        "return [r.left, r.top, r.right, r.bottom]; })"
    )


def zoom(browser: chromium.Browser) -> int:
    return int(shown(browser, "#zoom").rstrip("%"))


def test_click_shows_every_figure_of_a_node(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click('[data-box="1"]')
    assert chosen(browser) == [1]
    text = shown(browser, "#node")
    for piece in ("Step1Backward0", "head", "#0 Step0Backward0", "head.bias", "2×3 float32",
                  "mat1", "24 B", "memory shared with", "mat2", "36 B", "0.001"):  # fmt: skip
        assert piece in text, piece
    assert "step\n2 of 13" in text


def test_links_lead_along_the_edges(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click('[data-box="1"]')
    link = "[...document.querySelectorAll('#node .link')].find(e => e.textContent.includes('#5 '))"
    browser.evaluate(f"{link}.click()")
    assert chosen(browser) == [5]
    assert browser.evaluate("document.activeElement.dataset.box") == "5"


def test_search_finds_by_name_module_parameter_and_id(page: Page) -> None:
    browser = page.open(NETWORK)
    expected = {
        "STEP1": [1, 10],
        "block.fc": [7, 8],
        "stem.w": [11],
        "#9": [9],
        "nowhere": [],
    }
    for query, nodes in expected.items():
        browser.key("/")
        assert browser.evaluate("document.activeElement.id") == "search"
        browser.type(query)
        assert chosen(browser, "match") == nodes, query
        assert shown(browser, "#found") == (f"{len(nodes)} found" if nodes else "none")
        for step in range(len(nodes) + 1 if nodes else 0):
            browser.key("Enter")
            assert chosen(browser) == [nodes[step % len(nodes)]]
        browser.key("Escape")
        assert browser.evaluate("document.getElementById('search').value") == ""
        assert chosen(browser) == []


def test_search_buttons_go_both_ways_and_reveal_what_is_folded(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click("#fold-all")
    browser.click("#search")
    browser.type("step")
    assert browser.evaluate("document.querySelectorAll('.fold.match').length") == 3
    browser.click("#previous-match")
    assert chosen(browser) == [10]
    assert 10 in visible_nodes(browser)
    browser.click("#next-match")
    assert chosen(browser) == [0]


def test_a_module_folds_into_one_box_and_back(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click("#fit")
    before = drawn_rects(browser)
    browser.click('.toggle[aria-label^="block,"]')
    assert visible_folds(browser) == ["block"]
    assert set(range(13)) - set(visible_nodes(browser)) == {5, 6, 7, 8}
    hidden = browser.evaluate(
        "[...document.querySelectorAll('.wire')]"
        ".filter(e => e.getAttribute('display') === 'none').length"
    )
    assert hidden == 3, "5→6, 6→7, 7→8 lie inside"
    browser.key("Enter")
    assert visible_folds(browser) == []
    browser.click("#fit")
    assert len(drawn_rects(browser)) == len(before)


@pytest.mark.parametrize("direction", ["down", "right"])
@pytest.mark.parametrize("seed", range(4))
def test_no_fold_makes_boxes_overlap_or_leaves_a_wire_hanging(
    page: Page, seed: int, direction: str
) -> None:
    browser = page.open(render_graphs.random_graph(seed, 70), direction=direction)
    count = browser.evaluate("document.querySelectorAll('.frame').length")
    for pick in range(-1, count):
        # Fold all but one, so that every frame is seen open among folded ones.
        browser.click("#fold-all")
        browser.evaluate(
            f"document.querySelector('.fold[data-fold=\"{pick}\"]')"
            "?.dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        )
        rects = drawn_rects(browser)
        slack = 0.5
        for i, a in enumerate(rects):
            for b in rects[:i]:
                assert not (
                    a[0] + slack < b[2]
                    and b[0] + slack < a[2]
                    and a[1] + slack < b[3]
                    and b[1] + slack < a[3]
                )
        # A wire's box touches the cards at both its ends.
        loose = browser.evaluate(
            "[...document.querySelectorAll('#view .wire > path')].filter(p => {"
            "if (p.parentNode.getAttribute('display') === 'none') return false;"
            "const m = p.getScreenCTM(), on = (t) => p.getPointAtLength(t).matrixTransform(m);"
            "const cards = [...document.querySelectorAll('#view .card')]"
            ".map(e => e.getBoundingClientRect()).filter(r => r.width);"
            "return [on(0), on(p.getTotalLength())].some(q => !cards.some(r => q.x > r.left - 2 &&"
            "q.x < r.right + 2 && q.y > r.top - 2 && q.y < r.bottom + 2)); }).length"
        )
        assert loose == 0


def test_unfolding_everything_restores_the_picture(page: Page) -> None:
    browser = page.open(render_graphs.random_graph(5, 60))
    read = (
        "[...document.querySelectorAll('.box')].map(e => e.getAttribute('transform')).join() +"
        "[...document.querySelectorAll('.wire path')].map(e => e.getAttribute('d')).join()"
    )
    browser.click("#unfold-all")
    before = browser.evaluate(read)
    browser.click("#fold-all")
    assert browser.evaluate(read) != before
    browser.click("#unfold-all")
    assert browser.evaluate(read) == before


def test_slider_goes_through_the_steps_in_the_engine_s_order(page: Page) -> None:
    browser = page.open(NETWORK)
    order = engine_order(NETWORK)
    browser.evaluate("document.getElementById('slider').focus()")
    for step in range(1, len(order) + 1):
        browser.key("ArrowRight")
        node = NETWORK.nodes[order[step - 1]]
        assert chosen(browser, "now") == [node.id]
        ending = node.name if node.parameter is None else f"{node.parameter}, its gradient arrives"
        assert shown(browser, "#step") == f"step {step} of {len(order)}: #{node.id} {ending}"
        waiting = browser.evaluate("document.querySelectorAll('.box.waiting').length")
        assert waiting == len(order) - step
        flowing = browser.evaluate("document.querySelectorAll('.wire.flow').length")
        assert flowing == sum(e is not None for e in node.next)
    browser.key("Escape")
    ends = sum(node.parameter is not None for node in NETWORK.nodes)
    calls = len(order) - ends
    assert shown(browser, "#step") == f"13 steps: {calls} calls, {ends} gradients that arrive"
    assert browser.evaluate("document.querySelectorAll('.waiting, .now, .flow').length") == 0


def test_given_order_buttons_and_keys_of_the_replay(page: Page) -> None:
    order = list(range(13))
    browser = page.open(NETWORK, order=order)
    browser.click("#forth")
    browser.key("]")
    browser.key("]")
    assert shown(browser, "#step").startswith("step 3 of 13: #2 ")
    browser.click("#back")
    browser.key("[")
    assert shown(browser, "#step").startswith("step 1 of 13: #0 ")


def test_play_runs_to_the_end_and_stops(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.evaluate("document.getElementById('speed').value = '100'")
    browser.key(" ")
    done = browser.evaluate(
        "new Promise((resolve) => { const look = () =>"
        "document.getElementById('play').getAttribute('aria-pressed') === 'false'"
        "? resolve(document.getElementById('step').textContent) : setTimeout(look, 20); look(); })"
    )
    assert done.startswith("step 13 of 13")


def test_replay_lights_the_folded_box_of_a_hidden_node(page: Page) -> None:
    browser = page.open(NETWORK, order=[0, 1, 5, 6, 7])
    browser.click("#fold-all")
    for _ in range(4):
        browser.key("]")
    assert browser.evaluate("document.querySelector('.fold.now .name').textContent") == "block"


def test_arrow_keys_follow_the_edges(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.key("ArrowUp")
    assert chosen(browser) == [0]
    for key, node in [("ArrowUp", 1), ("ArrowUp", 2), ("ArrowRight", 5), ("ArrowUp", 6),
                      ("ArrowDown", 5), ("ArrowLeft", 2), ("ArrowDown", 1)]:  # fmt: skip
        browser.key(key)
        assert chosen(browser) == [node], key


def test_tab_walks_from_node_to_node(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click('[data-box="3"]')
    browser.key("Tab")
    assert chosen(browser) == [4]
    browser.key("Tab")
    assert chosen(browser) == [5]
    browser.key("f")
    assert visible_folds(browser) == ["block"]


def test_a_chosen_node_comes_out_from_under_the_map_and_the_legend(page: Page) -> None:
    browser = page.open(render_graphs.random_graph(5, 60))
    browser.click("#unfold-all")
    for cover in ("map", "legend"):
        browser.key("Escape")
        x, y = browser.middle('[data-box="1"]')
        over = browser.middle(f"#{cover}")
        browser.drag((x, y), (over[0] - x, over[1] - y))
        browser.key("/")
        browser.type("#1")
        browser.key("Enter")
        browser.middle('[data-box="1"]')


def test_zoom_by_keys_buttons_and_wheel_keeps_the_point_under_the_pointer(page: Page) -> None:
    browser = page.open(NETWORK)
    start = zoom(browser)
    browser.key("+")
    browser.click("#zoom-in")
    assert zoom(browser) > start * 1.4
    browser.key("-")
    browser.click("#zoom-out")
    assert zoom(browser) == start
    x, y = browser.middle('[data-box="1"]')
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    assert zoom(browser) > start
    assert browser.middle('[data-box="1"]') == pytest.approx((x, y), abs=1)
    browser.key("0")
    browser.key("0")
    left, top, right, bottom = browser.evaluate(
        "(() => { const r = document.getElementById('view').getBoundingClientRect(),"
        "s = document.getElementById('picture').getBoundingClientRect();"
        "return [r.left - s.left, r.top - s.top, s.right - r.right, s.bottom - r.bottom]; })()"
    )
    assert min(left, top, right, bottom) >= 0


def test_drag_pans_and_does_not_choose(page: Page) -> None:
    browser = page.open(NETWORK)
    start = browser.middle('[data-box="1"]')
    browser.drag(start, (60, -40))
    assert browser.middle('[data-box="1"]') == pytest.approx((start[0] + 60, start[1] - 40), abs=1)
    assert chosen(browser) == []


def test_table_of_parameters_sorts_and_leads_to_the_node(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click("#tab-parameters")
    names = "[...document.querySelectorAll('#parameters tbody td.name')].map(e => e.innerText)"
    assert browser.evaluate(names) == [p.name for p in NETWORK.parameters]
    text = shown(browser, "#parameters")
    for piece in ("‖grad‖", "ratio", "25.0%", "equal"):
        assert piece in text
    header = "[...document.querySelectorAll('#parameters th button')].find(e => e.innerText === "
    browser.evaluate(f"{header}'‖grad‖').click()")
    falling = sorted(NETWORK.parameters, key=lambda p: -p.grad.norm if p.grad else 0)
    assert browser.evaluate(names) == [p.name for p in falling]
    browser.evaluate(f"{header}'name').click()")
    assert browser.evaluate(names) == sorted(p.name for p in NETWORK.parameters)
    browser.evaluate("document.querySelector('#parameters .link').click()")
    first = min(NETWORK.parameters, key=lambda p: p.name)
    assert chosen(browser) == [first.node]


def test_hostile_names_are_only_text(page: Page) -> None:
    graph = render_graphs.hostile()
    browser = page.open(graph)
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert browser.evaluate("document.querySelectorAll('[onmouseover], b').length") == 0
    for node in (1, 4, 7, 10):
        browser.evaluate(
            f"document.querySelector('[data-box=\"{node}\"]')"
            ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        )
        text = " ".join(shown(browser, "#node").split())
        assert " ".join(labels.visible(graph.nodes[node].name).split()) in text
    browser.click("#fold-all")
    browser.click("#tab-parameters")
    assert len(visible_folds(browser)) > 0


def test_theme_and_help(page: Page) -> None:
    browser = page.open(NETWORK)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.evaluate(ground)
    browser.media(prefers_color_scheme="dark")
    dark = browser.evaluate(ground)
    assert dark != light
    browser.click("#theme")
    assert browser.evaluate(ground) == light
    browser.click("#theme")
    browser.media(media="print", prefers_color_scheme="dark")
    assert browser.evaluate(ground) == light
    browser.media()
    browser.key("?")
    assert browser.evaluate("document.getElementById('keys').open") is True
    browser.click("#close-keys")
    assert browser.evaluate("document.getElementById('keys').open") is False


def test_everything_that_can_be_pressed_has_a_name(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click("#fold-all")
    nameless = browser.evaluate(
        "[...document.querySelectorAll('button, input, select, [role=button], [role=img]')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim()"
        "|| e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert browser.evaluate("document.title") == "Backward graph of net"


def test_a_large_graph_opens_folded_and_an_empty_one_says_so(page: Page) -> None:
    large = render_graphs.random_graph(2, 400)
    browser = page.open(large)
    assert len(visible_nodes(browser)) < 150
    assert visible_folds(browser)
    browser = page.open(GradGraph(()))
    assert "no nodes" in shown(browser, "#empty")


def test_it_prints_the_whole_picture_and_the_table(page: Page) -> None:
    browser = page.open(NETWORK)
    browser.click("#fit")
    assert browser.pdf().startswith(b"%PDF")
    # After printing the view is as it was.
    assert browser.evaluate("document.getElementById('picture').hasAttribute('viewBox')") is False


def layered(blocks: int = 12) -> GradGraph:
    """A network of equal layers: a stem, ``body.0`` … ``body.11`` with two modules each, a head."""
    nexts: list[list[int | None]] = []
    paths: list[str] = []

    def step(module: str, *leaves: str) -> None:
        at = len(nexts)
        nexts.append([at + 1 + len(leaves), *range(at + 1, at + 1 + len(leaves))])
        paths.append(module)
        nexts.extend([] for _ in leaves)
        paths.extend(leaves)

    step("")
    step("head", "head.weight")
    for block in reversed(range(blocks)):
        for inner in ("up", "down"):
            for _ in range(4):
                step(f"body.{block}.{inner}", f"body.{block}.{inner}.w{len(nexts)}")
    step("stem", "stem.weight")
    step("stem", "stem.bias")
    nexts.append([])
    paths.append("stem.last")
    module = {i: path for i, path in enumerate(paths) if nexts[i]}
    names = {i: path for i, path in enumerate(paths) if not nexts[i]}
    kinds = dict.fromkeys(module, "AddmmBackward0")
    return render_graphs.graph(nexts, module=module, parameter=names, name=kinds)


LAYERED = layered()


def press(browser: chromium.Browser, words: str) -> None:
    """Fold or open the module whose button says so, wherever it is."""
    browser.evaluate(
        "[...document.querySelectorAll('.fold, .toggle')].find(e =>"
        f"e.getAttribute('aria-label').startsWith('{words},')"
        "&& e.getClientRects().length).dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )


def smallest_name(browser: chromium.Browser) -> float:
    """The height in pixels of the smallest name that is shown."""
    return browser.evaluate(
        "Math.min(...[...document.querySelectorAll('#view .name')]"
        ".filter(e => e.getClientRects().length).map(e =>"
        "parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))"
    )


def test_modules_open_one_level_at_a_time_and_repeated_layers_say_so(page: Page) -> None:
    browser = page.open(LAYERED)
    assert visible_folds(browser) == ["stem", "body", "head"]
    assert smallest_name(browser) >= 9.5
    press(browser, "body")
    assert visible_folds(browser) == ["stem", *(f"body.{i}" for i in range(12)), "head"]
    press(browser, "body.3")
    assert {"body.3.up", "body.3.down"} <= set(visible_folds(browser))
    assert shown(browser, "#crumbs") == "model › body › 3"
    words = "document.querySelector('.fold[aria-label^=\"body.4,\"]').textContent"
    assert "8 operations · 8 parameters" in browser.evaluate(words)
    assert "5 of 12 alike" in browser.evaluate(words)
    browser.evaluate("document.querySelectorAll('#crumbs .link')[1].click()")
    assert shown(browser, "#node h2") == "body"


def test_search_opens_every_module_around_what_it_finds(page: Page) -> None:
    browser = page.open(LAYERED)
    wanted = next(n.id for n in LAYERED.nodes if n.module == "body.7.down")
    browser.key("/")
    browser.type("body.7.down")
    browser.key("Enter")
    assert len(chosen(browser)) == 1
    assert LAYERED.nodes[chosen(browser)[0]].module == "body.7.down"
    assert chosen(browser)[0] == wanted
    assert wanted in visible_nodes(browser)
    assert "body.6" in visible_folds(browser)
    assert shown(browser, "#crumbs") == "model › body › 7 › down"


def test_fit_is_readable_and_a_second_one_shows_all(page: Page) -> None:
    # Whole, this one would be a little too small to read.
    browser = page.open(NETWORK)
    assert smallest_name(browser) >= 9.5
    browser.click("#fit")
    assert 6 < smallest_name(browser) < 9.5
    browser = page.open(LAYERED)
    browser.click("#unfold-all")
    assert smallest_name(browser) >= 9.5
    assert browser.evaluate("document.getElementById('map').hidden") is False
    browser.click("#fit")
    assert smallest_name(browser) < 9.5
    assert browser.evaluate("document.getElementById('map').hidden") is True
    browser.click("#fold-all")
    assert smallest_name(browser) >= 9.5


def test_minimap_shows_where_the_window_is_and_moves_it(page: Page) -> None:
    browser = page.open(LAYERED)
    browser.click("#unfold-all")
    window = "+document.querySelector('#minimap rect').getAttribute('y')"
    low = browser.evaluate(window)
    assert low > 0, "the loss is at the lower end"
    browser.key("Home")
    assert browser.evaluate(window) == 0
    x, y = browser.middle("#minimap")
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    browser.mouse("mouseReleased", x, y, button="left", clickCount=1)
    assert 0 < browser.evaluate(window) < low
    before = browser.evaluate(window)
    browser.key("PageDown")
    assert browser.evaluate(window) > before


def test_summary_has_counts_verdict_findings_and_norms(page: Page) -> None:
    finding = Diagnosis("vanishing", "block.fc.weight", "It vanishes.", 8)
    browser = page.open(render_graphs.replayed(NETWORK, exact=False), findings=(finding,))
    text = shown(browser, "#summary")
    for piece in ("13", "1 of 5 parameters differ", "It vanishes.", "block.fc", "0.5"):
        assert piece in text, piece
    browser.evaluate("document.querySelector('#summary .finding .link').click()")
    assert chosen(browser) == [8]
    rows = browser.evaluate(
        "[...document.querySelectorAll('#summary tbody tr')].map(r => [...r.cells].map(c => c.textContent.trim()))"
    )
    assert [row[0] for row in rows] == ["stem", "block", "head"]
    # The gradient enters the block along the one edge from the head's node 2: 1 → 5.
    arriving = NETWORK.nodes[1].grad_out[1]
    assert arriving is not None
    assert rows[1][1].strip() == labels.number(arriving.norm)


def test_unrecorded_graph_has_no_findings(page: Page) -> None:
    bare = replace(NETWORK, nodes=tuple(replace(n, grad_in=(), grad_out=()) for n in NETWORK.nodes))
    assert "No gradients were recorded" in shown(page.open(bare), "#summary")


def with_calls(graph: GradGraph) -> GradGraph:
    figures = replace(render_graphs.stats(1.0), mean=0.125, std=2.5, zeros=0.5, nan=3)
    meta = (TensorMeta((7, 9), "float32"),)
    modules = (
        ModuleCall("", "Net", 0, 0),
        ModuleCall("stem", "Linear", 0, 1, outputs=meta, parameters=12, saved_bytes=1024),
        ModuleCall("block", "Block", 0, 1, parameters=0, saved_bytes=1024),
        ModuleCall("block.fc", "Linear", 0, 2, meta, meta, 34, figures, 2048),
        ModuleCall("block.relu", "ReLU", 0, 2, meta, meta),
        ModuleCall("head", "Linear", 0, 1),
    )
    return replace(graph, modules=modules)


def module_cells(browser: chromium.Browser, path: str) -> list[str]:
    return browser.evaluate(
        "[...[...document.querySelectorAll('#modules tr')].find(r => r.querySelector('.link')"
        f"?.textContent === '{path}').cells].map(c => c.textContent.trim())"
    )


def test_graph_and_modules_are_shown_side_by_side_and_select_each_other(page: Page) -> None:
    browser = page.open(with_calls(NETWORK))
    assert browser.evaluate("document.getElementById('modules').getClientRects().length") == 0
    browser.click("#view-both")
    assert "3.0 KiB" in module_cells(browser, "block"), "with the 2 KiB of the module in it"
    browser.evaluate("[...document.querySelectorAll('#modules .opener')][2].click()")
    cells = " ".join(module_cells(browser, "fc"))
    for piece in ("Linear", "7×9", "0.125", "2.5", "50.0%", "3", "2.0 KiB", "34"):
        assert piece in cells, piece
    link = "[...document.querySelectorAll('#modules .link')].find(e => e.textContent === 'block')"
    browser.evaluate(f"{link}.click()")
    assert browser.evaluate("document.querySelectorAll('.frame.selected').length") == 1
    assert shown(browser, "#node h2") == "block"
    browser.evaluate(
        "document.querySelector('[data-box=\"10\"]')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert chosen(browser) == [10]
    assert shown(browser, "#modules tr.chosen .link") == "stem"
    browser.key("m")
    assert browser.evaluate("document.body.dataset.view") == "graph"


def test_hostile_module_names_are_only_text_in_the_tree(page: Page) -> None:
    graph = render_graphs.hostile()
    paths = [node.module for node in graph.nodes if node.module]
    calls = (ModuleCall("", HOSTILE[0], 0, 0), *(ModuleCall(p, HOSTILE[2], 0, 1) for p in paths))
    browser = page.open(replace(graph, modules=calls))
    browser.click("#view-modules")
    assert browser.evaluate("document.querySelectorAll('#modules b, #modules script').length") == 0
    assert HOSTILE[0] in shown(browser, "#modules")
    for i in range(len(calls)):
        browser.evaluate(f"document.querySelectorAll('#modules .link')[{i}].click()")
    assert labels.visible(paths[-1]) == shown(browser, "#node h2")


def test_a_graph_of_one_node(page: Page) -> None:
    browser = page.open(render_graphs.graph([[]]))
    browser.click("#fit")
    browser.click('[data-box="0"]')
    assert chosen(browser) == [0]
    for key in ("f", "m", "]", "[", "End", "Home", "ArrowUp", "Escape", "0"):
        browser.key(key)
    assert browser.evaluate("document.getElementById('map').hidden") is True


def test_a_graph_too_large_to_draw_is_still_whole_in_search_panel_and_replay(page: Page) -> None:
    graph = render_graphs.chain(5_000)
    browser = page.open(graph)
    assert len(visible_nodes(browser)) <= 110
    assert "5,000 nodes in 100 boxes" in shown(browser, "#summary")
    browser.click("#search")
    browser.type("#2500")
    browser.key("Enter")
    assert shown(browser, "#node h2") == "Step2500Backward0 #2500"
    assert browser.evaluate("document.querySelectorAll('.box.chosen').length") == 1
    browser.evaluate("document.querySelector('#node .link').click()")
    assert shown(browser, "#node h2") == "Step2499Backward0 #2499"
    browser.evaluate(
        "document.querySelector('.box.chosen').dispatchEvent("
        "new MouseEvent('click', {bubbles: true}))"
    )
    assert "50 nodes, drawn as one box" in shown(browser, "#node")
    assert browser.evaluate("document.querySelectorAll('#node .nodes .link').length") == 50
    browser.key("]")
    assert browser.evaluate("document.querySelectorAll('.box.now').length") == 1
    assert browser.evaluate("document.querySelectorAll('#view .box:not(.waiting)').length") == 1
