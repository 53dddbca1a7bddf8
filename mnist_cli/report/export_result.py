"""What ``mnist export`` prints about the file that it wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.exporting.reading import Network, reading_lines
from mnist_cli.report.console import percent, print_facts, stdout

if TYPE_CHECKING:
    from mnist_cli.catalogue.spec import DatasetSpec
    from mnist_cli.exporting.difference import Agreement
    from mnist_cli.inference.exports import Exported

LISTED = 8


def print_export(
    exported: Exported, path: Path, verified: Agreement | None, data: DatasetSpec | None
) -> None:
    """Print the file, its input and output, and how it was checked.

    ``verified`` and ``data`` are None if its answers to a test set were not verified.
    """
    facts = {
        "format": f"{exported.format.name}, {len(exported.data):,} bytes",
        "input": exported.metadata["input"],
        "output": exported.metadata["output"],
        **_shared(exported),
        "checked": f"on {exported.check.images} random images: {_difference(exported.check)}",
    }
    if verified is not None and data is not None:
        accuracy = "" if verified.accuracy is None else f", accuracy {percent(verified.accuracy)}"
        facts["verified"] = (
            f"on the {verified.images:,} test images of {data.title}: {_difference(verified)}, "
            f"the same predictions{accuracy}"
        )
    print_facts(str(path), facts)


def print_reading(exported: Exported, path: Path) -> None:
    """Print the lines of Python that read the file."""
    console = stdout(wide=True)
    console.print("\nRead it with:\n")
    for line in _reading(exported, path):
        console.print(line, markup=False)


def _reading(exported: Exported, path: Path) -> Sequence[str]:
    source = exported.source
    checkpoint, normalisation = source.checkpoint, source.normalisation
    network = Network(
        str(checkpoint.model),
        checkpoint.classes,
        checkpoint.members,
        normalisation.mean,
        normalisation.std,
    )
    return reading_lines(path, exported.format, exported.taken, network)


def _shared(exported: Exported) -> dict[str, str]:
    """Weights with two names, which stand in the file under each."""
    pairs = json.loads(exported.metadata.get("shared", "{}"))
    listed = ", ".join(f"{name} = {first}" for name, first in list(pairs.items())[:LISTED])
    more = f" and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
    return {"shared": f"{listed}{more}; written under each name"} if pairs else {}


def _difference(agreement: Agreement) -> str:
    return f"largest difference of a probability {agreement.largest_difference:.1e}"


def export_document(
    exported: Exported, path: Path, verified: Agreement | None, data: DatasetSpec | None
) -> dict[str, Any]:
    """What ``--json`` prints; arguments as for :func:`print_export`."""
    check = exported.check
    document: dict[str, Any] = {
        "checkpoint": str(exported.source.path),
        "notes": exported.source.checkpoint.notes,
        "file": str(path),
        "format": exported.format.name,
        "bytes": len(exported.data),
        "metadata": dict(exported.metadata),
        "read": list(_reading(exported, path)),
        "check": {"images": check.images, "largest_difference": check.largest_difference},
        "verify": None,
    }
    if verified is not None and data is not None:
        document["verify"] = {"dataset": data.name, "split": "test", **vars(verified)}
    return document
