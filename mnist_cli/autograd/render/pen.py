"""The strokes that the pictures are made of: escaped text, coordinates and wires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape as _xml

from mnist_cli.autograd.render import labels
from mnist_cli.autograd.render.picture import Direction, Point

TIP: Mapping[Direction, str] = {"down": "M0 0l-4.5 9h9Z", "right": "M0 0l9 -4.5v9Z"}
"""An arrowhead against the forward direction, its point at the origin."""
LABEL: Mapping[Direction, tuple[int, int]] = {"down": (6, 15), "right": (11, -4)}
"""Position of a result's number, relative to the start of its wire."""


def escape(text: object) -> str:
    """Text for element content and quoted attributes, without characters that XML forbids."""
    return _xml(labels.visible(text), {'"': "&quot;", "'": "&#39;"})


def path(points: Sequence[Point], direction: Direction) -> str:
    """Straight runs joined by bends that leave and arrive along the forward direction."""
    (x, y), *others = points
    commands = [f"M{coord(x)} {coord(y)}"]
    for next_x, next_y in others:
        if (next_x, next_y) == (x, y):
            continue
        if next_x == x or next_y == y:
            commands.append(f"L{coord(next_x)} {coord(next_y)}")
        elif direction == "down":
            middle = coord((y + next_y) / 2)
            commands.append(
                f"C{coord(x)} {middle} {coord(next_x)} {middle} {coord(next_x)} {coord(next_y)}"
            )
        else:
            middle = coord((x + next_x) / 2)
            commands.append(
                f"C{middle} {coord(y)} {middle} {coord(next_y)} {coord(next_x)} {coord(next_y)}"
            )
        x, y = next_x, next_y
    return "".join(commands)


def coord(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
