"""A graph as a file, in the format that the name's ending stands for.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.autograd.diagnosing import Diagnosis
from mnist_cli.autograd.error_tree import OutputError, UsageError
from mnist_cli.autograd.folding import MANY
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import FORMATS, Format
from mnist_cli.autograd.render.condensing import MOST, condense
from mnist_cli.autograd.render.layout import layout
from mnist_cli.autograd.render.picture import Direction, check_direction

ENDINGS = {
    **{f".{one.extension}": one.name for one in FORMATS.values()},
    **{".htm": "html", ".gv": "dot", ".mermaid": "mermaid"},
}
"""The format of each ending."""

BOXES = {"html": MOST, "svg": MANY, "dot": MANY, "mermaid": MANY}
"""About the largest number of boxes in each picture; the other formats hold the whole graph."""


@dataclass(frozen=True)
class SavedFile(os.PathLike[str]):
    """A file that was written; usable as a path.

    ``note`` says what part of the graph it shows; empty for the whole graph.
    """

    path: Path
    note: str = ""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{self.path} ({self.note})" if self.note else str(self.path)


def save(
    graph: GradGraph,
    path: str | os.PathLike[str],
    *,
    direction: Direction = "down",
    order: Sequence[int] | None = None,
    findings: Sequence[Diagnosis] | None = None,
) -> SavedFile:
    """Write a graph as a page, a picture, JSON, DOT, Mermaid or text.

    Args:
        graph: the graph, recorded or only walked.
        path: its ending is one of :data:`ENDINGS`.
        direction: of the forward pass in pictures, "down" or "right".
        order: ids in the order of a replay's calls, for the page.
        findings: for the page; None stands for what the statistics alone show.

    Returns:
        The file. If a graph has more nodes than :data:`BOXES`, a picture shows whole modules and
        runs of nodes as one box each. ``note`` and the picture say so.

    Raises:
        UsageError: no format has this suffix, or there is no such direction.
        OutputError: the file cannot be written. No part of it is left.
    """
    file = Path(path)
    chosen = _format(file)
    check_direction(direction)
    if "plan" in chosen.options:
        plan = layout(graph, direction=direction, most=BOXES[chosen.name])
        text = chosen.render(graph, order=order, plan=plan, findings=findings)
        note = plan.drawn.note
    else:
        text, note = _lines(graph, chosen, direction)
    _replace(file, text.encode())
    return SavedFile(file, note)


def _lines(graph: GradGraph, chosen: Format, direction: Direction) -> tuple[str, str]:
    """A file without a layout, and what it leaves out."""
    if chosen.name not in BOXES:
        return chosen.render(graph), ""
    drawn = condense(graph, BOXES[chosen.name])
    shown = drawn.graph.with_context(shown=drawn.note) if drawn.note else drawn.graph
    return chosen.render(shown, direction=direction), drawn.note


def _format(file: Path) -> Format:
    name = ENDINGS.get(file.suffix.lower())
    if name is None:
        why = f"no format has the suffix {file.suffix}" if file.suffix else "it has no suffix"
        raise UsageError(f"cannot save {file}: {why}", f"Use one of {', '.join(ENDINGS)}.")
    return FORMATS[name]


def _replace(file: Path, content: bytes) -> None:
    """Write beside the file, then take its name: it is the old one or the new one, whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        cause = getattr(error, "strerror", None) or str(error)
        hint = "Choose a file in a folder that exists and can be written."
        raise OutputError(f"cannot write {file}: {cause}", hint) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
