"""Writes the outputs of docs/inspect.ipynb anew: ``python docs/notebook.py``.

Needs nbclient and ipykernel.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "inspect.ipynb"


def executed(folder: Path) -> Any:
    """The notebook with the outputs of a run in ``folder``; an error in a cell is raised."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
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
    """Run the notebook and keep what it shows."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)


if __name__ == "__main__":
    main()
