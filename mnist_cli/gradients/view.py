"""The part of a dump that is shown, and its files. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.autograd.folding import MANY
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.render import FORMATS
from mnist_cli.autograd.render.picture import Direction
from mnist_cli.base.files import atomic_write, check_writable

if TYPE_CHECKING:
    from mnist_cli.autograd.diagnosing import Diagnosis


@dataclass(frozen=True)
class View:
    """The part of the graph that pictures show; ``fold`` None folds a large graph.

    Attributes:
        module: show this module alone.
        fold: make each call of a module one node.
        depth: fold modules below this level.
        direction: of the forward pass.
        forward: print the calls of modules in place of the tree.
    """

    module: str | None = None
    fold: bool | None = None
    depth: int | None = None
    direction: Direction = "down"
    forward: bool = False

    def of(self, graph: GradGraph) -> tuple[GradGraph, bool]:
        """The part to show, and whether it is the whole graph.

        Raises:
            UsageError: no such module.
        """
        from mnist_cli.autograd import fold, select

        shown = graph if self.module is None else select(graph, self.module)
        large = len(shown) > MANY and self.module is None
        wanted = large if self.fold is None else self.fold
        if wanted or self.depth is not None:
            shown = fold(shown, self.depth or 1)
        return shown, len(shown) == len(graph)


def write_graphs(
    formats: Sequence[str],
    graph: GradGraph,
    shown: GradGraph,
    folder: Path,
    *,
    direction: Direction,
    order: Sequence[int] | None,
    findings: Sequence[Diagnosis] | None,
) -> list[Path]:
    """Write ``graph.*``: the data whole, the pictures of the part shown.

    Args:
        formats: names of :data:`mnist_cli.autograd.render.FORMATS`.
        graph: the whole graph.
        shown: the part that pictures show.
        folder: created if it does not exist.
        direction: of the forward pass.
        order: ids of ``shown`` in the order of a replay's calls.
        findings: about ``shown``, for the page; None stands for what its statistics alone show.

    Returns:
        The files written.

    Raises:
        OutputError: a file cannot be written.
    """
    chosen = [FORMATS[name] for name in formats]
    if chosen:
        check_writable(folder)
    plan = None
    if has_pictures(formats):
        from mnist_cli.autograd.render.layout import layout

        plan = layout(shown, direction=direction)
    written = []
    for one in chosen:
        path = folder / f"graph.{one.extension}"
        content = graph if one.name == "json" else shown
        text = one.render(content, direction=direction, order=order, plan=plan, findings=findings)
        atomic_write(path, text, parents=True)
        written.append(path)
    return written


def has_pictures(formats: Sequence[str]) -> bool:
    """Whether one of the formats is a picture with a layout of its own."""
    return any("plan" in FORMATS[name].options for name in formats)
