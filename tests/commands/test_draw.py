"""``mnist draw``: its page in a real browser, its address, its end, and what it computes."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
import torch
from program import TINY, Run, finish, start, wait_until
from torchvision.transforms.v2.functional import normalize

from mnist_cli import cli, models
from mnist_cli.commands.looking import SIDE, Looker
from mnist_cli.commands.reading import Reader
from mnist_cli.data import catalogue
from mnist_cli.errors import DataError
from mnist_cli.training import checkpoint as checkpoints

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

Point = tuple[float, float]
DIGITS: dict[str, list[list[Point]]] = {
    "3": [[(0.3, 0.2), (0.5, 0.12), (0.68, 0.22), (0.66, 0.38), (0.48, 0.48), (0.66, 0.56),
           (0.72, 0.72), (0.55, 0.86), (0.3, 0.8)]],
    "7": [[(0.25, 0.18), (0.75, 0.18), (0.6, 0.45), (0.45, 0.85)]],
    "0": [[(0.5, 0.12), (0.3, 0.25), (0.25, 0.5), (0.3, 0.75), (0.5, 0.88), (0.7, 0.75),
           (0.75, 0.5), (0.7, 0.25), (0.5, 0.12)]],
    "4": [[(0.45, 0.15), (0.25, 0.55), (0.75, 0.55)], [(0.62, 0.3), (0.6, 0.85)]],
}  # fmt: skip
"""Strokes, in shares of the drawing's side."""


class Address:
    """Where a running ``mnist draw`` is, and the process."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process, self.said = process, said
        self.url = next(word.strip('",') for word in said.split() if "http://" in word)
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def ask(self, drawing: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/octet-stream"}
            connection.request("POST", "/ask", drawing, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())


@contextlib.contextmanager
def drawing(*arguments: object) -> Iterator[Address]:
    """The command, from the moment that it says where it is."""
    process = start("draw", *arguments)
    try:
        said = ""
        while "http://" not in said or (said.startswith("{") and not said.endswith("}\n")):
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, finish(process).err
            said += line
        yield Address(process, said)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="session")
def able(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all the bundled digits, long enough to read what people draw."""
    runs = tmp_path_factory.mktemp("able")
    longer = ["train", "--config", "smoke", "--epochs", "8", "--set", "threads=1"]
    assert cli.run([*longer, "--precision", "fp32", "--quiet", "--runs", str(runs)]) == 0
    return runs / "0001-digits-conv2"


def rasterised(strokes: list[list[Point]], width: int = 24) -> bytes:
    """Strokes as Pillow draws them, on a drawing of the page's size."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIDE, SIDE))
    for stroke in strokes:
        points = [(SIDE * x, SIDE * y) for x, y in stroke]
        ImageDraw.Draw(image).line(points, fill=255, width=width, joint="curve")
    return image.tobytes()


# --- what is computed


@pytest.fixture
def looker(trained: Path) -> Looker:
    return Looker(Reader(checkpoints.read(trained / "best.pt"), torch.device("cpu")))


def unpacked(text: str, kind: type) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_figures_are_the_networks_own(looker: Looker, trained: Path) -> None:
    """Held against plain torch: a forward, and a backward to the pixels."""
    answer = looker.look(rasterised(DIGITS["7"]))
    form = unpacked(answer["form"], np.uint8).reshape(28, 28)
    assert form.max() > 200
    network = models.build("conv2", 10).eval()
    network.load_state_dict(torch.load(trained / "best.pt", weights_only=True)["model"]["weights"])
    spec = catalogue.get("digits")
    pixels = (torch.as_tensor(form.copy()).view(1, 1, 28, 28) / 255).requires_grad_()
    logits = network(normalize(pixels, [spec.mean], [spec.std]))[0]
    expected = logits.detach().double().softmax(0)
    torch.testing.assert_close(
        torch.tensor(answer["probabilities"], dtype=torch.float64), expected, atol=1e-4, rtol=1e-3
    )
    first, second = logits.topk(2).indices.tolist()
    seen = answer["saliency"]
    assert (seen["predicted"], seen["rival"]) == (first, second)
    for name, score in (
        ("gradient", logits[first]),
        ("difference", logits[first] - logits[second]),
    ):
        (gradient,) = torch.autograd.grad(score, pixels, retain_graph=True)
        largest = seen[name]["largest"]
        assert largest == pytest.approx(float(gradient.abs().max()), rel=1e-3)
        shown = unpacked(seen[name]["values"], np.int8).reshape(28, 28) * largest / 127
        assert abs(shown - gradient[0, 0].numpy()).max() < largest / 127


def test_the_layers_are_those_of_a_hook(looker: Looker) -> None:
    answer = looker.look(rasterised(DIGITS["0"]))
    form = unpacked(answer["form"], np.uint8).reshape(1, 1, 28, 28)
    network = looker.reader.network
    kept: list[torch.Tensor] = []
    handle = network.get_submodule("conv1").register_forward_hook(lambda *a: kept.append(a[2]))
    with torch.no_grad():
        network(looker.reader.normalisation(torch.as_tensor(form.copy()).float()))
    handle.remove()
    expected = torch.relu(torch.nn.functional.max_pool2d(kept[0], 2))[0].numpy()
    layer = answer["layers"][0]
    assert (layer["count"], layer["height"], layer["width"]) == expected.shape
    shown = unpacked(layer["values"], np.int8).reshape(expected.shape) * layer["largest"] / 127
    assert abs(shown - expected).max() < layer["largest"] / 127


@pytest.mark.parametrize("level", [0, 1, 120])
def test_a_blank_drawing_asks_nothing_of_the_network(looker: Looker, level: int) -> None:
    assert looker.look(bytes([level]) * SIDE**2) == {"blank": True}


@pytest.mark.parametrize("size", [0, 1, 784, SIDE**2 - 1])
def test_another_size_is_no_drawing(looker: Looker, size: int) -> None:
    with pytest.raises(DataError, match="78,400 bytes"):
        looker.look(bytes(size))


def test_whatever_is_drawn_is_answered(looker: Looker) -> None:
    """A point in a corner, all ink, noise, a line a pixel thin: never a crash."""
    random = np.random.default_rng(0)
    point, line = np.zeros((2, SIDE, SIDE), np.uint8)
    point[0, 0] = line[:, 7] = 255
    noise = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    for picture in (point, line, line.T, np.full((SIDE, SIDE), 255, np.uint8), noise):
        answer = looker.look(np.ascontiguousarray(picture).tobytes())
        assert sum(answer["probabilities"]) == pytest.approx(1)
        assert unpacked(answer["form"], np.uint8).max() > 100


def test_of_an_ensemble_the_vote(run: Run) -> None:
    assert run(*TINY, "--ensemble", 2, "--quiet").code == 0
    found = checkpoints.read(Path("runs/0001-digits-conv2/best.pt"))
    looker = Looker(Reader(found, torch.device("cpu")))
    answer = looker.look(rasterised(DIGITS["3"]))
    assert looker.about()["members"] == 2
    form = unpacked(answer["form"], np.uint8).reshape(1, 1, 28, 28)
    with torch.no_grad():
        images = looker.reader.normalisation(torch.as_tensor(form.copy()).float())
        members = [looker.reader.model.member(k).eval()(images).softmax(1)[0] for k in (0, 1)]
    voted = torch.stack(members).double().mean(0).tolist()
    assert answer["probabilities"] == pytest.approx(voted, abs=1e-5)
    assert answer["saliency"]["predicted"] == int(members[0].argmax())


# --- the command


def test_ctrl_c_is_its_normal_end_and_frees_the_port(trained: Path) -> None:
    with drawing(trained) as there:
        assert there.ask(rasterised(DIGITS["7"]))[0] == 200
        there.process.send_signal(signal.SIGINT)
        ended = finish(there.process)
    assert ended.code == 0
    assert "error" not in ended.err
    assert "Traceback" not in ended.err
    assert str(trained / "best.pt") in ended.err
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", there.port)) != 0


def test_sigterm_is_not_and_json_is_one_document(trained: Path) -> None:
    with drawing(trained, "--json") as there:
        there.process.send_signal(signal.SIGTERM)
        ended = finish(there.process)
    document = json.loads(there.said + ended.out)
    assert ended.code == 143
    assert document["port"] == there.port
    assert document["url"] == f"http://127.0.0.1:{there.port}/"
    assert document["model"] == "conv2"


def test_a_port_in_use(run: Run, trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run("draw", trained, "--port", port, "--json")
    assert outcome.code == 5
    assert f"port {port} is in use" in outcome.document["error"]["message"]
    assert "--port 0" in outcome.err


def test_the_port_that_was_asked_for(trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with drawing(trained, "--port", port) as there:
        assert there.port == port


def test_many_at_once_get_the_answers_to_their_own_drawings(trained: Path) -> None:
    pictures = [rasterised(strokes) for strokes in DIGITS.values()]
    with drawing(trained, "-q") as there:
        alone = [there.ask(picture) for picture in pictures]
        together: dict[int, Any] = {}

        def one(number: int) -> None:
            together[number] = there.ask(pictures[number % len(pictures)])

        threads = [threading.Thread(target=one, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert there.ask(b"short")[0] == 400
        assert there.ask(bytes(SIDE**2 + 1))[0] == 413
    assert all(status == 200 for status, _ in alone)
    assert together == {number: alone[number % len(alone)] for number in range(16)}


def test_the_browser_is_opened(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path("browser.py")
    script.write_text("import sys; open('opened', 'w').write(sys.argv[1])")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {script.resolve()} %s")
    with drawing(trained, "--open") as there:
        opened = Path("opened")
        wait_until(lambda: opened.is_file() and opened.read_text())
        assert opened.read_text() == there.url


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 4, "no run with a checkpoint"),
        (["missing.pt"], 4, "missing.pt"),
        (["--port", "70000"], 2, "--port"),
        (["--port", "x"], 2, "--port"),
        (["--device", "abacus"], 2, "no such device"),
    ],
)
def test_what_cannot_be(run: Run, arguments: list[str], code: int, said: str) -> None:
    outcome = run("draw", *arguments)
    assert outcome.code == code
    assert said in outcome.err


def test_a_precision_that_cannot_be_had_is_said_before_it_serves(run: Run, trained: Path) -> None:
    outcome = run("draw", trained, "--device", "cpu", "--precision", "fp16")
    assert outcome.code == 2
    assert "fp16" in outcome.err


# --- the page

in_browser = pytest.mark.skipif(chromium.EXECUTABLE is None, reason="Chromium is not installed")


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


@in_browser
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


@in_browser
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


@in_browser
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


@in_browser
def test_drawing_with_keys_alone(page: Page) -> None:
    """A seven: up and to the left, pen down, a bar, then slantwise down with two arrows held."""
    press = page.browser.key
    press("Tab")
    assert page.browser.evaluate("document.activeElement.id") == "drawing"
    for key in 9 * ["ArrowUp"] + 6 * ["ArrowLeft"] + [" "]:
        press(key)
    assert page.text("#pen-state") == "Pen down"
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
    assert page.text("#pen-state") == "Pen up"
    assert page.said() == "7"
    wait_until(lambda: "says 7" in page.text("#spoken"))
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
    assert page.text("#pen-state") == "Pen up"


@in_browser
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


@in_browser
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


@in_browser
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


@in_browser
def test_a_program_that_has_been_stopped_is_said_to_be(
    browser: chromium.Browser, trained: Path
) -> None:
    with drawing(trained, "-q") as there:
        page = Page(browser, there)
        there.process.send_signal(signal.SIGINT)
        finish(there.process)
        page.draw(DIGITS["7"])
        assert page.state() == "failed"
        assert "has it been stopped?" in page.text("#problem")
    browser.problems.clear()


@in_browser
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


@in_browser
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
