"""The notebooks of the documentation: every cell runs, and shows what is stored in it."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader whose home has no settings of Jupyter; what the notebook writes goes to a folder."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    paths = [str(DOCS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def run(reader: Path) -> Callable[[str], tuple[Any, Any]]:
    """Execute a notebook; as it is stored, and as it is now."""
    nbformat = pytest.importorskip("nbformat")
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package)

    def execute(name: str) -> tuple[Any, Any]:
        stored = nbformat.read(DOCS / name, as_version=4)
        nbformat.validate(stored)
        return stored, runpy.run_path(str(DOCS / "notebook.py"))["executed"](reader, name)

    return execute


def old(name: str) -> str:
    return f"docs/{name} is old; write it anew: python docs/notebook.py"


def test_every_cell_of_the_inspection_shows_what_is_stored(
    reader: Path, run: Callable[[str], tuple[Any, Any]]
) -> None:
    stored, now = run("inspect.ipynb")
    differing = old("inspect.ipynb")
    assert [shown(cell) for cell in now.cells] == [shown(cell) for cell in stored.cells], differing
    assert sorted(path.name for path in reader.iterdir()) == ["graph.html", "graph.json"]
    first = next(cell.outputs[0].data for cell in now.cells if cell.get("outputs"))
    assert set(first) == {"text/plain", "text/html", "image/svg+xml"}


def test_every_cell_of_the_training_shows_what_is_stored(
    reader: Path, run: Callable[[str], tuple[Any, Any]]
) -> None:
    """What depends on the machine is left out: its name and precision, and counts of mistakes."""
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package)
    stored, now = run("training.ipynb")
    assert [kinds(cell) for cell in now.cells] == [kinds(cell) for cell in stored.cells], old(
        "training.ipynb"
    )
    assert [path.name for path in reader.iterdir()] == ["runs"]
    texts = [words(output) for cell in now.cells for output in cell.get("outputs", [])]
    assert "the callback StopAt returned True" in "".join(texts)
    assert not [text for text in texts if "Traceback" in text or "Warning" in text]


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_small_and_names_no_folder_of_its_author(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not re.search(r"/(tmp|home|root|work)/", text)
    assert path.name in runpy.run_path(str(DOCS / "notebook.py"))["NOTEBOOKS"]


def kinds(cell: Any) -> list[tuple[str, list[str]]]:
    return [(kind, data) for kind, data, _ in shown(cell)]


def shown(cell: Any) -> list[tuple[str, list[str], str]]:
    """Each output's kind and text, without what differs from machine to machine."""
    return [
        (output.output_type, sorted(output.get("data", {})), words(output))
        for output in cell.get("outputs", [])
    ]


def words(output: Any) -> str:
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    text = re.sub(r"torch \S+", "torch", text)
    return re.sub(r" +", " ", re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "1", text))
