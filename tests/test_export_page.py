"""docs/export.md: each reader of exported files gives the network's own answers.

ONNXRUNTIME_WEB names the folder of ort.wasm.min.js for the page in the browser; `npm install
onnxruntime-web` puts it beside the tests.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import chromium
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue, cli
from mnist_cli.networks import registry

PAGE = (Path(__file__).parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
OPTIONAL = {"cv2": "OpenCV", "tract": "tract", "onnx2torch": "onnx2torch"}
"""Not among the packages of `make test`; the others must be there."""
FILES: dict[str, list[str]] = {"best.onnx": [], "best.pt2": [], "best.safetensors": []}
if importlib.util.find_spec("cv2"):
    FILES["float.onnx"] = ["--input-dtype", "float32"]


def blocks(language: str) -> dict[str, str]:
    """The page's blocks of a language, by heading; a second one of a heading has a number."""
    found: dict[str, str] = {}
    for section in PAGE.split("\n## ")[1:]:
        heading = section.splitlines()[0]
        for source in re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S):
            found[f"{heading} {2}" if heading in found else heading] = source
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's lines find: a network's files and a picture."""
    there = tmp_path_factory.mktemp("exported")
    torch.manual_seed(3)
    torch.save(registry.build("conv4").state_dict(), there / "net.pt")
    for name, words in FILES.items():
        code = cli.run(["export", str(there / "net.pt"), "-q", "--out", str(there / name), *words])
        assert code == 0
    pixels = np.random.default_rng(4).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(there / "digit.png")
    return there


@torch.no_grad()
def own_answer(folder: Path) -> Tensor:
    """The network's probabilities (1, 10), by plain torch and torchvision."""
    network = registry.build("conv4").eval()
    network.load_state_dict(torch.load(folder / "net.pt", weights_only=True))
    pixels = torch.tensor(np.asarray(Image.open(folder / "digit.png")))[None, None]
    spec = catalogue.get("mnist")
    answer: Tensor = network(normalize(pixels.float() / 255, [spec.mean], [spec.std])).softmax(1)
    return answer


def assert_same(answer: object, folder: Path) -> None:
    expected = own_answer(folder)
    assert (expected.max() - expected.min()) > 0.01  # no answer that any network would give
    assert torch.allclose(torch.as_tensor(answer), expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # of other programs
@pytest.mark.parametrize("reader", blocks("python"))
def test_the_lines_of_each_reader_give_the_networks_answer(
    reader: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = blocks("python")[reader]
    for package, title in OPTIONAL.items():
        if f"import {package}\n" in source:
            pytest.importorskip(package, reason=f"{title} is not installed", exc_type=ImportError)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    with torch.no_grad():
        exec(compile(source, reader, "exec"), names)
    assert_same(names["probabilities"], folder)


def test_the_page_has_the_readers_that_must_run() -> None:
    assert {"onnxruntime", "torch.export", "safetensors", "OpenCV 2", "tract"} <= {
        *blocks("python")
    }


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def lay_runtime(folder: Path) -> None:
    """Copy onnxruntime-web's files, or skip the test."""
    near = Path(__file__).parent.parent / "node_modules/onnxruntime-web/dist"
    runtime = Path(os.environ.get("ONNXRUNTIME_WEB", near))
    if not (runtime / "ort.wasm.min.js").is_file():
        pytest.skip("onnxruntime-web is not installed (name its dist folder in ONNXRUNTIME_WEB)")
    for name in re.findall(r"`(ort[\w.-]+)`", PAGE):
        shutil.copy(runtime / name, folder)


SHOWN = """new Promise((done) => {
  const look = () => {
    const text = document.querySelector("output").textContent;
    text ? done(text) : setTimeout(look, 10);
  };
  look();
})"""


def choose(browser: chromium.Browser, picture: Path) -> None:
    """Choose a file in the page, as a person does."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    chosen = browser.call("DOM.querySelector", nodeId=root, selector="input")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=chosen, files=[str(picture)])


@pytest.mark.skipif(chromium.EXECUTABLE is None, reason="Chromium is not installed")
def test_the_page_in_the_browser_gives_the_networks_answer(folder: Path) -> None:
    lay_runtime(folder)
    (page,) = blocks("html").values()
    (folder / "index.html").write_text(page, encoding="utf-8")
    with served(folder) as address, chromium.Browser() as browser:
        browser.allowed = ("about:", "blob:", "data:", address)
        browser.open(address)
        answer = browser.evaluate("fetch('digit.png').then((found) => found.blob()).then(classify)")
        assert_same([answer], folder)
        choose(browser, folder / "digit.png")
        assert browser.evaluate(SHOWN) == str(own_answer(folder).argmax().item())
        assert browser.problems == []
