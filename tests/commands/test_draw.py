"""``mnist draw``: what it computes for a drawing, its address, and its end."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import DIGITS, drawing, rasterised
from program import TINY, Run, finish, wait_until
from rounding import smooth
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.errors import DataError
from mnist_cli.inference.drawings import SIDE, about, answer
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks import registry as models

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# --- what is computed


@pytest.fixture
def opened(trained: Path) -> OpenCheckpoint:
    return OpenCheckpoint(checkpoints.read(trained / "best.pt"), torch.device("cpu"))


def unpacked(text: str, kind: type) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_figures_are_the_networks_own(opened: OpenCheckpoint, trained: Path) -> None:
    """Held against plain torch in float64: a forward, and a backward to the pixels.

    Without maxima and ReLUs: blank paper gives a pool four equal values, of which rounding chooses.
    """
    with smooth():
        found = answer(opened, rasterised(DIGITS["7"]))
    form = unpacked(found["form"], np.uint8).reshape(28, 28)
    assert form.max() > 200
    network = models.build("conv2", 10).eval().double()
    network.load_state_dict(torch.load(trained / "best.pt", weights_only=True)["model"]["weights"])
    spec = catalogue.get("digits")
    pixels = (torch.as_tensor(form.copy()).view(1, 1, 28, 28).double() / 255).requires_grad_()
    with smooth():
        logits = network(normalize(pixels, [spec.mean], [spec.std]))[0]
    expected = logits.detach().softmax(0)
    torch.testing.assert_close(
        torch.tensor(found["probabilities"], dtype=torch.float64), expected, atol=1e-4, rtol=1e-3
    )
    first, second = logits.topk(2).indices.tolist()
    seen = found["saliency"]
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


def test_the_layers_are_those_of_a_hook(opened: OpenCheckpoint) -> None:
    found = answer(opened, rasterised(DIGITS["0"]))
    form = unpacked(found["form"], np.uint8).reshape(1, 1, 28, 28)
    network = opened.network
    kept: list[torch.Tensor] = []
    handle = network.get_submodule("conv1").register_forward_hook(lambda *a: kept.append(a[2]))
    with torch.no_grad():
        network(opened.normalisation(torch.as_tensor(form.copy()).float()))
    handle.remove()
    expected = torch.relu(torch.nn.functional.max_pool2d(kept[0], 2))[0].numpy()
    layer = found["layers"][0]
    assert (layer["count"], layer["height"], layer["width"]) == expected.shape
    shown = unpacked(layer["values"], np.int8).reshape(expected.shape) * layer["largest"] / 127
    assert abs(shown - expected).max() < layer["largest"] / 127


def test_without_maps_the_hidden_units_are_shown(opened: OpenCheckpoint) -> None:
    torch.manual_seed(0)
    hidden, scores = torch.nn.Linear(784, 100), torch.nn.Linear(100, 10)
    network = torch.nn.Sequential(torch.nn.Flatten(), hidden, torch.nn.ReLU(), scores)
    vars(opened)["model"] = vars(opened)["network"] = network  # cached properties
    found = answer(opened, rasterised(DIGITS["0"]))
    (layer,) = found["layers"]
    assert (layer["count"], layer["height"], layer["width"]) == (100, 1, 1)
    assert layer["operations"] == ("linear", "ReLU")
    form = torch.as_tensor(unpacked(found["form"], np.uint8).copy()).view(1, 1, 28, 28)
    expected = hidden(opened.normalisation(form.float()).flatten(1)).relu()[0]
    shown = unpacked(layer["values"], np.int8) * layer["largest"] / 127
    assert abs(shown - expected.detach().numpy()).max() < layer["largest"] / 127


@pytest.mark.parametrize("level", [0, 1, 120])
def test_a_blank_drawing_asks_nothing_of_the_network(opened: OpenCheckpoint, level: int) -> None:
    assert answer(opened, bytes([level]) * SIDE**2) == {"blank": True}


@pytest.mark.parametrize("size", [0, 1, 784, SIDE**2 - 1])
def test_another_size_is_no_drawing(opened: OpenCheckpoint, size: int) -> None:
    with pytest.raises(DataError, match="78,400 bytes"):
        answer(opened, bytes(size))


def test_any_drawing_is_answered(opened: OpenCheckpoint) -> None:
    """A point in a corner, all ink, noise, a line a pixel thin: never a crash."""
    random = np.random.default_rng(0)
    point, line = np.zeros((2, SIDE, SIDE), np.uint8)
    point[0, 0] = line[:, 7] = 255
    noise = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    for picture in (point, line, line.T, np.full((SIDE, SIDE), 255, np.uint8), noise):
        found = answer(opened, np.ascontiguousarray(picture).tobytes())
        assert sum(found["probabilities"]) == pytest.approx(1)
        assert unpacked(found["form"], np.uint8).max() > 100


def test_of_an_ensemble_the_vote(run: Run) -> None:
    assert run(*TINY, "--ensemble", 2, "--quiet").code == 0
    checkpoint = checkpoints.read(Path("runs/0001-digits-conv2/best.pt"))
    opened = OpenCheckpoint(checkpoint, torch.device("cpu"))
    found = answer(opened, rasterised(DIGITS["3"]))
    assert about(opened)["members"] == 2
    form = unpacked(found["form"], np.uint8).reshape(1, 1, 28, 28)
    with torch.no_grad():
        images = opened.normalisation(torch.as_tensor(form.copy()).float())
        members = [opened.model.member(k).eval()(images).softmax(1)[0] for k in (0, 1)]
    voted = torch.stack(members).double().mean(0).tolist()
    assert found["probabilities"] == pytest.approx(voted, abs=1e-5)
    assert found["saliency"]["predicted"] == int(members[0].argmax())


# --- the command


def test_ctrl_c_ends_it_normally_and_frees_the_port(trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with drawing(trained, "--port", port) as there:
        assert there.port == port
        assert there.ask(rasterised(DIGITS["7"]))[0] == 200
        there.process.send_signal(signal.SIGINT)
        ended = finish(there.process)
    assert ended.code == 0
    assert "error" not in ended.err
    assert "Traceback" not in ended.err
    assert str(trained / "best.pt") in ended.err
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", there.port)) != 0


def test_sigterm_is_exit_143_and_json_is_one_document(trained: Path) -> None:
    with drawing(trained, "--json") as there:
        there.process.send_signal(signal.SIGTERM)
        ended = finish(there.process)
    document = json.loads(there.said + ended.out)
    assert ended.code == 143
    assert document["port"] == there.port
    assert document["url"] == f"http://127.0.0.1:{there.port}/"
    assert document["model"] == "conv2"


def test_the_browser_is_opened(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path("browser.py")
    script.write_text("import sys; open('opened', 'w').write(sys.argv[1])")
    monkeypatch.setenv("BROWSER", shlex.join([sys.executable, str(script.resolve())]) + " %s")
    with drawing(trained, "--open") as there:
        opened = Path("opened")
        wait_until(lambda: opened.is_file() and opened.read_text())
        assert opened.read_text() == there.url


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--port", "70000"], "--port"), (["--device", "cpu", "--precision", "fp16"], "fp16")],
)
def test_what_is_refused_before_it_serves(
    run: Run, trained: Path, arguments: list[str], said: str
) -> None:
    outcome = run("draw", trained, *arguments)
    assert outcome.code == 2
    assert said in outcome.err
