"""Writes the outputs of the notebooks in docs/ anew: ``python docs/notebook.py``.

Needs nbclient and ipykernel; docs/training.ipynb also needs scikit-learn and matplotlib.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
NOTEBOOKS = ("inspect.ipynb", "training.ipynb")


def executed(folder: Path, name: str) -> Any:
    """The notebook with the outputs of a run in ``folder``; an error in a cell is raised."""
    import nbclient
    import nbformat

    notebook = nbformat.read(DOCS / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=240,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata.language_info = {"name": "python"}  # without the version of Python
    return notebook


def main() -> None:
    """Run the notebooks and keep what they show."""
    import nbformat

    for name in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(Path(folder), name), DOCS / name)


if __name__ == "__main__":
    main()
