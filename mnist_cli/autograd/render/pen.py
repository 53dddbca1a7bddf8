"""The strokes that the pictures are made of: escaped text, coordinates, wires and tips."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape as _xml

from mnist_cli.autograd.render import labels
from mnist_cli.autograd.render.picture import Direction, Point

_TIP = 4.5


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


def tip(point: Point, direction: Direction) -> str:
    """A small arrowhead against the forward direction: where the gradient arrives."""
    x, y = point
    if direction == "down":
        corners = [(x, y), (x - _TIP, y + 2 * _TIP), (x + _TIP, y + 2 * _TIP)]
    else:
        corners = [(x, y), (x + 2 * _TIP, y - _TIP), (x + 2 * _TIP, y + _TIP)]
    return "M" + "L".join(f"{coord(a)} {coord(b)}" for a, b in corners) + "Z"


def coord(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
