"""Renderers of gradient graphs: a graph of plain data in, text out.

None of them imports torch or computes a gradient. Each is imported at its first use, so that a
text tree does not wait for a layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.graph import GradGraph, check_graphs
from mnist_cli.autograd.render.picture import check_direction


@dataclass(frozen=True)
class Format:
    """One way to write a graph; ``options`` of its renderer can be set."""

    name: str
    extension: str
    _module: str
    options: frozenset[str] = frozenset()
    _function: str = "render"

    def render(self, graph: GradGraph, **given: Any) -> str:
        """The graph in this format; options without an effect on it are dropped."""
        return self.renderer(graph, **{n: v for n, v in given.items() if n in self.options})

    @property
    def renderer(self) -> Callable[..., str]:
        """The function that writes a graph in this format, with its own options."""
        return cast("Callable[..., str]", getattr(import_module(self._module), self._function))


_DIRECTED = frozenset({"direction"})
_LAID_OUT = _DIRECTED | {"plan"}

#: Every format by its name.
FORMATS = {
    f.name: f
    for f in (
        Format("text", "txt", f"{__name__}.tree"),
        Format("json", "json", "mnist_cli.autograd.document", _function="dumps"),
        Format("dot", "dot", f"{__name__}.dot", _DIRECTED),
        Format("mermaid", "mmd", f"{__name__}.mermaid", _DIRECTED),
        Format("svg", "svg", f"{__name__}.svg", _LAID_OUT),
        Format("html", "html", f"{__name__}.html", _LAID_OUT | {"order", "findings"}),
    )
}


def draw(graph: GradGraph, name: str = "html", **options: Any) -> str:
    """Draw a graph, recorded or only walked, in one of :data:`FORMATS`.

    Args:
        graph: the graph.
        name: text, json, dot, mermaid, svg or html.
        options: the renderer's. ``direction`` of the forward pass, "down" or
            "right" (all but text and json); ``order`` of a replay's calls and ``findings`` (html).

    Raises:
        UsageError: no such format or direction.
        TypeError: the format does not have that option.
    """
    check_graphs(graph)
    if name not in FORMATS:
        raise UsageError(f"no format '{name}'", f"Choose from {', '.join(FORMATS)}.")
    check_direction(options.get("direction", "down"))
    return FORMATS[name].renderer(graph, **options)
