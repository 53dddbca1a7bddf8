"""What ``mnist export`` says of the file that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.report.console import percent, print_facts

if TYPE_CHECKING:
    from mnist_cli.exporting.agreement import Agreement


@dataclass(frozen=True)
class Facts:
    """The file: where it is, in which format, how many bytes it has, what it says of itself."""

    path: Path
    format: str
    bytes: int
    metadata: Mapping[str, str]


def print_export(facts: Facts, check: Agreement, verified: Agreement | None, title: str) -> None:
    """The file, what goes in and comes out, and how it was checked.

    Args:
        facts: of the file.
        check: its answers to random images.
        verified: its answers to the test set, if it was tried on it.
        title: the name of that test set.
    """
    rows = {
        "format": f"{facts.format}, {facts.bytes:,} bytes",
        "input": facts.metadata["input"],
        "output": facts.metadata["output"],
        "checked": f"on {check.images} random images: {_difference(check)}",
    }
    if verified is not None:
        accuracy = "" if verified.accuracy is None else f", accuracy {percent(verified.accuracy)}"
        rows["verified"] = (
            f"on the {verified.images:,} test images of {title}: {_difference(verified)}, "
            f"the same predictions{accuracy}"
        )
    print_facts(str(facts.path), rows)


def _difference(agreement: Agreement) -> str:
    return f"largest difference of a probability {agreement.largest_difference:.1e}"
