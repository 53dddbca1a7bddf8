"""A picture as plain data: cards, frames and wires in their places, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mnist_cli.autograd.error_tree import UsageError

if TYPE_CHECKING:
    from mnist_cli.autograd.render import calls, cards, condensing

Direction = Literal["down", "right"]
BACKWARD: Mapping[Direction, str] = {"down": "BT", "right": "RL"}


def check_direction(direction: str) -> None:
    """Check the direction of a forward pass.

    Raises:
        UsageError: it is none.
    """
    if direction not in BACKWARD:
        raise UsageError(f"no direction {direction!r}", f"Choose from {', '.join(BACKWARD)}.")


"""The direction of the gradient for each direction of the forward pass, in DOT and Mermaid."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A card in its place. ``node`` is drawn, or with ``card.kind`` "reference" only named."""

    node: int
    card: cards.Card
    call: int | None
    x: float
    y: float


@dataclass(frozen=True)
class Frame:
    """The rounded background of one module call.

    ``title_end`` if its title is at the right.
    """

    call: calls.Call
    x: float
    y: float
    width: float
    height: float
    nodes: int
    title_end: bool


@dataclass(frozen=True)
class Wire:
    """An edge from the box of what made a value to the box of what used it.

    ``position`` is the edge's place in the user's ``next``. ``points`` run in the forward
    direction, joined by straight lines or bends. ``borders`` are pairs of a frame and the point at
    which the wire crosses its border.
    """

    source: int
    target: int
    position: int
    points: tuple[Point, ...]
    borders: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Layout:
    """A whole picture. ``frames`` are indexed by call; boxes 0 to n - 1 are the n nodes of ``drawn``.

    ``drawn`` is the graph itself, or stands for one that is too large to draw.
    """

    drawn: condensing.Drawn
    width: float
    height: float
    direction: Direction
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    wires: tuple[Wire, ...]
