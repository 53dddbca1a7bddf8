"""Renderers of gradient graphs: a graph of plain data in, text out.

None of them imports torch or computes anything of a gradient. Each is imported when it is first
asked for, so that a text tree does not wait for a layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from mnist_cli.autograd.graph import GradGraph


@dataclass(frozen=True)
class Format:
    """One way to write a graph: its name, the file's extension, and what it is for."""

    name: str
    extension: str
    purpose: str
    _module: str
    _function: str = "render"

    def render(self, graph: GradGraph) -> str:
        """The graph in this format, with the renderer's own defaults."""
        renderer = getattr(import_module(self._module), self._function)
        return cast("Callable[[GradGraph], str]", renderer)(graph)


#: Every format by its name.
FORMATS = {
    f.name: f
    for f in (
        Format("text", "txt", "a tree for the terminal", f"{__name__}.tree"),
        Format("json", "json", "everything, as data", "mnist_cli.autograd.document", "dumps"),
        Format("dot", "dot", "Graphviz", f"{__name__}.dot"),
        Format("mermaid", "mmd", "Mermaid, as Markdown pages show it", f"{__name__}.mermaid"),
        Format("svg", "svg", "a picture", f"{__name__}.svg"),
        Format("html", "html", "a page to explore", f"{__name__}.html"),
    )
}
