"""The pictures' colours and the scale that turns a gradient's norm into a colour.

The ramps are ordered by lightness as well as by hue, and width repeats the colour. So they can be
read with any colour vision and in a grey print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from mnist_cli.autograd.graph import GradGraph, joint_norm
from mnist_cli.autograd.render import labels

LEVELS = 7

LIGHT = {
    "paper": "#ffffff", "ink": "#1b2430", "muted": "#5f6b7a", "faint": "#78838f",
    "card": "#ffffff", "card-edge": "#c3ccd6", "frame": "#5b7394", "frame-edge": "#c9d3df",
    "operation": "#4a6fa5", "parameter": "#fff3dc", "parameter-edge": "#d08a1d",
    "parameter-ink": "#6b4100", "saved": "#e3f4ee", "saved-edge": "#4fa58a",
    "saved-ink": "#0b5a45", "root": "#1b2430", "reference-edge": "#8c97a3", "bad": "#c81e1e",
    "none": "#9aa5b1", "accent": "#1d5fd0",
    "g0": "#92b6d8", "g1": "#6f9fd2", "g2": "#5d81c8", "g3": "#6661b6", "g4": "#80419c",
    "g5": "#98277a", "g6": "#a80f4b",
}  # fmt: skip
DARK = {
    "paper": "#12161c", "ink": "#e8edf3", "muted": "#a3b0bf", "faint": "#8895a5",
    "card": "#1d232c", "card-edge": "#3d4856", "frame": "#8fb0dc", "frame-edge": "#323d4b",
    "operation": "#7fa8e0", "parameter": "#33270f", "parameter-edge": "#c98f2e",
    "parameter-ink": "#f6d79a", "saved": "#12322a", "saved-edge": "#3d8a73",
    "saved-ink": "#9fe0cb", "root": "#e8edf3", "reference-edge": "#7b8896", "bad": "#ff6b6b",
    "none": "#66727f", "accent": "#7fb0ff",
    "g0": "#42618a", "g1": "#4f7ab3", "g2": "#6594d6", "g3": "#8f9fea", "g4": "#bd9ff0",
    "g5": "#e79fdc", "g6": "#ffb3c0",
}  # fmt: skip


def block(selector: str, palette: dict[str, str]) -> str:
    """A palette as CSS custom properties of a selector."""
    scheme = "dark" if palette is DARK else "light"
    colours = "".join(f"--{name}:{colour};" for name, colour in palette.items())
    return f"{selector}{{color-scheme:{scheme};{colours}}}"


def variables(*, themes: bool = False) -> str:
    """The palettes as CSS custom properties: light, dark where that is preferred, light in print.

    Args:
        themes: also let ``data-theme`` on the root element choose one of them.
    """
    dark = ":root:not([data-theme=light])" if themes else ":root"
    chosen = block(":root[data-theme=dark]", DARK) if themes else ""
    printed = ":root:root,:root:root[data-theme]" if themes else ":root"
    return (
        block(":root", LIGHT)
        + f"@media (prefers-color-scheme:dark){{{block(dark, DARK)}}}"
        + chosen
        + f"@media print{{{block(printed, LIGHT)}}}"
    )


def asset(name: str) -> str:
    """A text file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Scale:
    """The scale of norms, in powers of ten; None if the graph has no norms."""

    low: int | None = None
    high: int | None = None

    def level(self, norm: float | None) -> str:
        """A class name: ``g0`` to ``g6``, ``zero``, ``bad`` if not finite, ``unknown`` if None."""
        if norm is None:
            return "unknown"
        if not math.isfinite(norm):
            return "bad"
        if norm == 0 or self.low is None or self.high is None:
            return "zero" if norm == 0 else "g3"
        share = (math.log10(norm) - self.low) / (self.high - self.low)
        return f"g{min(max(int(share * LEVELS), 0), LEVELS - 1)}"


def scale(graph: GradGraph) -> Scale:
    """The scale for all norms that a picture of this graph shows."""
    norms = [n for n in _norms(graph) if n is not None and math.isfinite(n) and n > 0]
    if not norms:
        return Scale()
    low = math.floor(math.log10(min(norms)))
    return Scale(low, max(math.ceil(math.log10(max(norms))), low + 1))


def _norms(graph: GradGraph) -> Iterable[float | None]:
    for node in graph.nodes:
        yield joint_norm(node.grad_in)
        yield from (labels.edge_norm(node, i) for i in range(len(node.next)))
