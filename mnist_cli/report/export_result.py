"""What ``mnist export`` prints about the file that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.report.console import percent, print_facts

if TYPE_CHECKING:
    from mnist_cli.catalogue.spec import DatasetSpec
    from mnist_cli.exporting.difference import Agreement
    from mnist_cli.inference.exports import Exported


def print_export(
    exported: Exported, path: Path, verified: Agreement | None, data: DatasetSpec | None
) -> None:
    """Print the file, its input and output, and how it was checked.

    Args:
        exported: the file.
        path: where it was written.
        verified: its answers to the test set, if it was verified.
        data: the data set of that test set.
    """
    facts = {
        "format": f"{exported.format.name}, {len(exported.data):,} bytes",
        "input": exported.metadata["input"],
        "output": exported.metadata["output"],
        "checked": f"on {exported.check.images} random images: {_difference(exported.check)}",
    }
    if verified is not None and data is not None:
        accuracy = "" if verified.accuracy is None else f", accuracy {percent(verified.accuracy)}"
        facts["verified"] = (
            f"on the {verified.images:,} test images of {data.title}: {_difference(verified)}, "
            f"the same predictions{accuracy}"
        )
    print_facts(str(path), facts)


def _difference(agreement: Agreement) -> str:
    return f"largest difference of a probability {agreement.largest_difference:.1e}"


def export_document(
    exported: Exported, path: Path, verified: Agreement | None, data: DatasetSpec | None
) -> dict[str, Any]:
    """What ``--json`` prints; arguments as those of :func:`print_export`."""
    check = exported.check
    document: dict[str, Any] = {
        "checkpoint": str(exported.source.path),
        "notes": exported.source.checkpoint.notes,
        "file": str(path),
        "format": exported.format.name,
        "bytes": len(exported.data),
        "metadata": dict(exported.metadata),
        "check": {"images": check.images, "largest_difference": check.largest_difference},
        "verify": None,
    }
    if verified is not None and data is not None:
        document["verify"] = {"dataset": data.name, "split": "test", **vars(verified)}
    return document
