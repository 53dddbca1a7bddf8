"""The page of ``mnist draw`` in a real browser: what a person draws on it, and what it then shows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from drawn import DIGITS, Address, Point, drawing
from program import Run, finish, wait_until

from mnist_cli import cli
from mnist_cli.inference.drawings import SIDE

pytestmark = pytest.mark.skipif(chromium.EXECUTABLE is None, reason="Chromium is not installed")


@pytest.fixture(scope="session")
def able(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all the bundled digits, long enough to read what people draw."""
    runs = tmp_path_factory.mktemp("able")
    longer = ["train", "--config", "smoke", "--epochs", "8", "--set", "threads=1"]
    assert cli.run([*longer, "--precision", "fp32", "--quiet", "--runs", str(runs)]) == 0
    return runs / "0001-digits-conv2"


class Page:
    """The page of a running command in a browser."""

    def __init__(self, browser: chromium.Browser, there: Address) -> None:
        self.browser = browser
        browser.problems.clear()
        browser.allowed = ("about:", there.url)
        browser.open(there.url)
        self.settle()

    def state(self) -> str:
        return str(self.browser.evaluate("document.body.dataset.state"))

    def settle(self) -> None:
        wait_until(lambda: self.state() not in ("loading", "asking"))

    def text(self, selector: str) -> str:
        return str(self.browser.evaluate(f"document.querySelector('{selector}').innerText"))

    def draw(self, strokes: list[list[Point]]) -> None:
        left, top, side = self.browser.evaluate(
            "(({x, y, width}) => [x, y, width])"
            "(document.getElementById('drawing').getBoundingClientRect())"
        )
        for stroke in strokes:
            points = [(left + side * x, top + side * y) for x, y in stroke]
            mouse = self.browser.mouse
            mouse("mousePressed", *points[0], button="left", buttons=1, clickCount=1)
            for point in points[1:]:
                mouse("mouseMoved", *point, button="left", buttons=1)
            mouse("mouseReleased", *points[-1], button="left", clickCount=1)
        self.settle()

    def said(self) -> str:
        return self.text("#said").partition(" ")[0]

    def colours(self, selector: str) -> int:
        """How many colours a canvas shows."""
        return int(
            self.browser.evaluate(
                f"(() => {{ const c = document.querySelector('{selector}');"
                "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
                "const seen = new Set(); for (let i = 0; i < d.length; i += 4)"
                " seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return seen.size; })()"
            )
        )


@pytest.fixture(scope="module")
def served(able: Path) -> Iterator[Address]:
    with drawing(able, "-q") as there:
        yield there


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    with chromium.Browser(1200, 900) as running:
        yield running


@pytest.fixture
def page(browser: chromium.Browser, served: Address) -> Iterator[Page]:
    opened = Page(browser, served)
    yield opened
    assert browser.problems == [], "errors in the console, dialogs or requests elsewhere"


@pytest.mark.parametrize("digit", ["3", "7", "0"])
def test_a_digit_drawn_with_the_mouse_is_recognised(page: Page, digit: str) -> None:
    page.draw(DIGITS[digit])
    assert page.state() == "answered"
    assert page.said() == digit
    rows = page.browser.evaluate(
        "[...document.getElementById('bars').rows].map(row => [row.cells[0].innerText,"
        "parseFloat(row.cells[2].innerText), row.querySelector('span').offsetWidth])"
    )
    assert [name for name, _, _ in rows] == list("0123456789")
    assert sum(share for _, share, _ in rows) == pytest.approx(100, abs=0.5)
    assert max(rows, key=lambda row: row[1])[0] == digit
    assert max(rows, key=lambda row: row[2])[0] == digit
    assert page.colours("#form") > 5
    assert page.colours("#gradient") > 20
    assert page.colours("#layers canvas") > 20


def test_it_answers_while_one_draws(page: Page) -> None:
    """An answer comes before the pen is lifted."""
    x, y = page.browser.middle("#drawing")
    page.browser.mouse("mousePressed", x, y - 120, button="left", buttons=1, clickCount=1)
    page.browser.mouse("mouseMoved", x, y, button="left", buttons=1)
    page.settle()
    early = page.text("#said")
    page.browser.mouse("mouseMoved", x, y + 120, button="left", buttons=1)
    page.settle()
    assert page.state() == "answered"
    assert "%" in early
    page.browser.mouse("mouseReleased", x, y + 120, button="left", clickCount=1)
    assert page.said() == "1"


def test_undo_and_clear(page: Page) -> None:
    page.draw(DIGITS["7"])
    seven = page.text("#said")
    page.draw([[(0.1, 0.9), (0.9, 0.9)]])
    assert page.text("#said") != seven
    page.browser.click("#undo")
    page.settle()
    assert page.text("#said") == seven
    page.browser.click("#clear")
    assert page.state() == "blank"
    assert page.text("#said") == "Nothing drawn yet"
    assert page.colours("#form") == 1


def test_drawing_with_keys_alone(page: Page) -> None:
    """A seven: up and to the left, pen down, a bar, then diagonally down with two arrows held."""
    press = page.browser.key
    press("Tab")
    assert page.browser.evaluate("document.activeElement.id") == "drawing"
    for key in 9 * ["ArrowUp"] + 6 * ["ArrowLeft"] + [" "]:
        press(key)
    assert page.text("#pen-state").startswith("The pen is down")
    for key in 12 * ["ArrowRight"] + 2 * ["ArrowDown"]:
        press(key)
    page.browser.key_down("ArrowDown")
    for _ in range(9):
        page.browser.key_down("ArrowLeft")  # as the keyboard repeats the last of those held
    page.browser.key_up("ArrowLeft")
    page.browser.key_up("ArrowDown")
    for _ in range(8):
        press("ArrowDown")
    press("Enter")
    page.settle()
    assert page.text("#pen-state").startswith("The pen is up")
    assert page.said() == "7"
    wait_until(lambda: "predicts 7" in page.text("#spoken"))
    press("ArrowUp")  # the pen is up: nothing more is drawn
    assert page.state() == "answered"
    press("Backspace")
    assert page.state() == "blank"
    press(" ")
    press("ArrowDown", shift=True)
    page.settle()
    assert page.state() == "answered"
    press("Escape")
    assert page.state() == "blank"
    assert page.text("#pen-state").startswith("The pen is up")


def test_an_empty_canvas_says_draw_here(page: Page) -> None:
    shown = "document.getElementById('invitation').checkVisibility()"
    assert page.text("#pen-state").startswith("Draw with the mouse")
    assert page.browser.evaluate(shown)
    page.draw(DIGITS["3"])
    assert not page.browser.evaluate(shown)
    assert page.text("#pen-state").startswith("Draw with the mouse")
    page.browser.key("Escape")
    assert page.browser.evaluate(shown)


def test_everything_that_can_be_pressed_has_a_name_and_shows_its_focus(page: Page) -> None:
    nodes = page.browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "application", "image", "table", "DisclosureTriangle"}
    named = [
        (node["role"]["value"].replace("img", "image"), node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"] and node["role"]["value"].replace("img", "image") in roles
    ]
    assert {"button", "slider", "application", "image"} <= {role for role, _ in named}
    assert all(name for _, name in named), named
    for _ in range(5):
        page.browser.key("Tab")
        width = page.browser.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Page, scheme: str) -> None:
    """Text stands out from its paper by what WCAG asks of it, 4.5 to 1."""
    page.browser.media(prefers_color_scheme=scheme)
    page.draw(DIGITS["3"])
    for selector in ("#said", "#network", "figcaption", "#pen-state", "#clear", ".best th"):
        ink = page.browser.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
        paper = page.browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert contrast(ink, paper) >= 4.5, selector
    assert (luminance(paper) > 0.5) == (scheme == "light")
    page.browser.media(prefers_color_scheme="light")


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it, of ``rgb(1, 2, 3)``."""
    channels = [int(word) / 255 for word in colour[4:-1].split(",")]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_on_a_phone_with_a_finger(served: Address) -> None:
    with chromium.Browser(390, 844) as phone:
        phone.call("Emulation.setTouchEmulationEnabled", enabled=True)
        page = Page(phone, served)
        x, y = phone.middle("#drawing")
        touch = "Input.dispatchTouchEvent"
        phone.call(touch, type="touchStart", touchPoints=[{"x": x, "y": y - 120}])
        for down in range(-100, 121, 20):
            phone.call(touch, type="touchMove", touchPoints=[{"x": x, "y": y + down}])
        phone.call(touch, type="touchEnd", touchPoints=[])
        page.settle()
        assert page.said() == "1"
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        assert phone.evaluate("scrollY") == 0  # the finger drew, it did not scroll
        assert phone.problems == []


def test_a_stopped_program_is_reported(browser: chromium.Browser, trained: Path) -> None:
    with drawing(trained, "-q") as there:
        page = Page(browser, there)
        there.process.send_signal(signal.SIGINT)
        finish(there.process)
        page.draw(DIGITS["7"])
        assert page.state() == "failed"
        assert "does not answer" in page.text("#problem")
    browser.problems.clear()


def test_nobody_else_may_frame_it_or_ask(
    browser: chromium.Browser, served: Address, tmp_path: Path
) -> None:
    """A page of another origin gets nothing out of it."""
    other = tmp_path / "other.html"
    other.write_text(f'<iframe id="frame" src="{served.url}"></iframe>')
    browser.allowed = ("file:", "about:", "chrome-error:", served.url)
    browser.open(other)
    outcome = browser.evaluate(
        f"fetch('{served.url}ask', {{method: 'POST', body: new Uint8Array({SIDE**2}),"
        "headers: {'Content-Type': 'application/octet-stream'}})"
        ".then(() => 'answered', () => 'refused')"
    )
    assert outcome == "refused"
    assert any("frame" in problem.lower() for problem in browser.problems)
    browser.problems.clear()


@pytest.mark.mnist
def test_a_network_of_mnist_reads_what_is_drawn(
    run: Run, mnist_dir: Path, browser: chromium.Browser
) -> None:
    flags = ["--set", "train_size=20000", "--set", "threads=1", "--data-dir", mnist_dir]
    assert run("train", "--config", "fast", *flags, "--quiet").code == 0
    with drawing("-q") as there:
        page = Page(browser, there)
        for digit, strokes in DIGITS.items():
            page.browser.click("#clear")
            page.draw(strokes)
            assert page.said() == digit
    assert browser.problems == []
