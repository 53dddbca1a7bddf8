"""Every command with packages missing: it works, or says in a sentence which one to install.

The packages are hidden by an interpreter that knows no site-packages but a folder of links to
some of them, so that neither an import nor a look at what is installed finds the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from made_up import lay, make
from PIL import Image
from program import Outcome

import mnist_cli
from mnist_cli.base.packages import OPTIONAL, explain_import

ROOT = Path(mnist_cli.__file__).parent.parent
HIDDEN = {
    "sklearn": ("sklearn", "scikit_learn"),
    "PIL": ("PIL", "pillow"),
}
"""What a package's folders begin with, where that is not its own name."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
ALL = tuple(OPTIONAL)
SMALL = ["--config", "smoke", "--epochs", "1", "--set", "threads=1", "--set", "precision=fp32"]

PROGRAM = """
import contextlib, io, json, sys
from mnist_cli import cli
from mnist_cli.report import curve_process
curve_process.usable_cores = lambda: 1  # another process would find what is hidden here
ends = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(words)
    ends.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ends))
"""


Commands = Callable[..., list[Outcome]]


@pytest.fixture
def without(tmp_path: Path) -> Callable[..., Commands]:
    """An interpreter that lacks packages, as a function that runs commands in one process."""

    def lacking(*names: str) -> Commands:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        prefixes = [prefix for name in names for prefix in HIDDEN.get(name, (name,))]
        for installed in _installed():
            if not any(_belongs(installed.name, prefix) for prefix in prefixes):
                (site / installed.name).symlink_to(installed)
        return lambda *commands: _run(site, commands, tmp_path)

    return lacking


def _installed() -> Iterable[Path]:
    places = [Path(one) for one in sys.path if one.endswith(("site-packages", "dist-packages"))]
    names: dict[str, Path] = {}
    for place in filter(Path.is_dir, places):
        for path in place.iterdir():
            names.setdefault(path.name, path)
    return (path for path in names.values() if path.suffix != ".pth")


def _belongs(name: str, prefix: str) -> bool:
    """Whether a folder is a package's, its libraries' or its metadata: ``scipy.libs`` is scipy's."""
    name, prefix = name.lower(), prefix.lower()
    return name == prefix or name.startswith((f"{prefix}.", f"{prefix}-"))


def _run(site: Path, commands: Iterable[Iterable[object]], folder: Path) -> list[Outcome]:
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, words],
        env={
            **{k: v for k, v in os.environ.items() if k != "MNIST_DATA_DIR"},
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]),
            "OMP_NUM_THREADS": "1",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(*end) for end in json.loads(done.stdout)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images as IDX files, for which no package is needed, and one as a picture."""
    folder = lay(tmp_path / "own", make(train=120, test=30).raw)
    Image.fromarray(np.full((28, 28), 200, np.uint8)).save(tmp_path / "digit.png")
    return folder


def test_the_core_needs_none_of_them(
    without: Callable[..., Commands], images: Path, tmp_path: Path
) -> None:
    train = ["train", *SMALL, "--dataset", images]
    ends = dict(
        zip(
            ("doctor", "train", "eval", "grad", "model", "runs", "show"),
            without(*ALL)(
                ["doctor", "--json"],
                train,
                ["eval", "--json"],
                ["inspect-grad", "--replay"],
                ["model", "conv2"],
                ["runs"],
                ["data", "show", images],
            ),
            strict=True,
        )
    )
    assert {name: (end.code, end.err) for name, end in ends.items() if end.code} == {}
    versions = json.loads(ends["doctor"].out)["versions"]
    assert {versions[package] for package in OPTIONAL.values()} == {"not installed"}
    assert "curves.png is not drawn: this command needs the package matplotlib" in ends["train"].err
    assert "flow.png is not drawn: this command needs the package matplotlib" in ends["grad"].err
    run = next((tmp_path / "runs").iterdir())
    assert (run / "last.pt").is_file()
    assert not (run / "curves.png").exists()
    assert (run / "grad" / "graph.svg").is_file()


REFUSED = {
    "scikit-learn": ["train", *SMALL, "--dataset", "digits"],
    "scipy": ["predict", "digit.png"],
    "matplotlib": ["plot"],
    "torchvision": ["train", *SMALL, "--loader", "dataloader", "--dataset", "own"],
    "onnx": ["export", "--format", "onnx"],
    "safetensors": ["export", "--format", "safetensors"],
    "tensorboard": ["train", *SMALL, "--dataset", "own", "--tensorboard"],
    **{
        name: ["train", *SMALL, "--dataset", "own", "--logger", name]
        for name in ("wandb", "mlflow")
    },
    "httpx": ["data", "fetch", "mnist", "--data-dir", "none"],
}
TORCH = metadata.version("torch").partition("+")[0]
MATCHING = f"Install the torchvision release that matches torch {TORCH}"
PICTURES = [["eval", "--out", "plots"], ["data", "show", "own", "--out", "show.png"]]


def test_what_needs_one_names_it(without: Callable[..., Commands], images: Path) -> None:
    first, *ends = without(*ALL)(
        ["train", *SMALL, "--dataset", images], *REFUSED.values(), *PICTURES
    )
    assert first.code == 0
    for package, end in zip([*REFUSED, "matplotlib", "matplotlib"], ends, strict=True):
        assert end.code == 2, (package, end)
        assert package in end.err
        assert (MATCHING if package == "torchvision" else "pip install") in end.err
        assert "Traceback" not in end.err


DIGITS = ["train", *SMALL, "--dataset", "digits", "--runs", "others"]
PREDICT = ["predict", "digit.png"]
SINGLE: dict[str, list[tuple[list[str], int]]] = {
    "sklearn": [(DIGITS, 2), (PREDICT, 0), (["plot", "--only", "embedding"], 2)],
    "scipy": [(DIGITS, 0), (PREDICT, 2), (["plot", "--only", "curves"], 0)],
    "PIL": [(DIGITS, 2), (PREDICT, 2), (["plot"], 2)],
    "torchvision": [
        *((DIGITS, 0), (PREDICT, 0), (["plot", "--only", "maximised"], 2)),
        (["plot", "--format", "png"], 0),
    ],
}
"""By what is missing alone, exit codes: scikit-learn needs SciPy, and matplotlib Pillow."""


@pytest.mark.parametrize("name", SINGLE)
def test_one_that_is_missing_stops_only_what_needs_it(
    without: Callable[..., Commands], images: Path, name: str
) -> None:
    commands = [["doctor"], ["train", *SMALL, "--dataset", images]]
    doctor, first, *ends = without(name)(*commands, *(command for command, _ in SINGLE[name]))
    assert (doctor.code, first.code) == (0, 0), (doctor.err, first.err)
    for (command, code), end in zip(SINGLE[name], ends, strict=True):
        assert end.code == code, (command, end)
        assert "Traceback" not in end.err
        assert bool(code) <= ("pip install" in end.err or MATCHING in end.err)
    if name == "torchvision":
        assert "skipped maximised: this command needs the package torchvision" in ends[-1].err


AGAIN = "pip install --force-reinstall --no-deps pillow"
NO_OPERATOR = RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize(
    ("error", "words", "way_out"),
    [
        (ModuleNotFoundError("no", name="sklearn.datasets"), "scikit-learn", "pip install scikit"),
        (ImportError("libjpeg.so.8: cannot open", name="PIL._imaging"), "libjpeg.so.8", AGAIN),
        (ModuleNotFoundError("no", name="torchvision"), "torchvision", MATCHING),
        (ImportError("undefined symbol", name="torchvision._C"), "undefined symbol", MATCHING),
        (NO_OPERATOR, "does not match the installed torch", MATCHING),
    ],
)
def test_what_is_known_of_a_failed_import(error: Exception, words: str, way_out: str) -> None:
    known = explain_import(error)
    assert known is not None
    assert words in known.message
    assert way_out in known.hint
    assert ("pip install" in known.hint) is ("torchvision" not in known.message)
    assert (known.code, known.kind) == (2, "dependency")


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("no", name="mnist_cli.tpyo"),
        ModuleNotFoundError("no", name="torch"),
        ImportError("no name"),
        RuntimeError("anything"),
    ],
)
def test_any_other_failed_import_is_a_bug(error: Exception) -> None:
    assert explain_import(error) is None
