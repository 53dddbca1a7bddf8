"""The notebook of the documentation: every cell runs, and shows what is stored in it."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


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


def test_every_cell_runs_and_shows_what_is_stored(reader: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    stored = nbformat.read(DOCS / "inspect.ipynb", as_version=4)
    nbformat.validate(stored)
    now = runpy.run_path(str(DOCS / "notebook.py"))["executed"](reader)
    differing = "docs/inspect.ipynb is old; write it anew: python docs/notebook.py"
    assert [shown(cell) for cell in now.cells] == [shown(cell) for cell in stored.cells], differing
    assert sorted(path.name for path in reader.iterdir()) == ["graph.html", "graph.json"]
    first = next(cell.outputs[0].data for cell in now.cells if cell.get("outputs"))
    assert set(first) == {"text/plain", "text/html", "image/svg+xml"}


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
