"""The text on a node's card in the pictures, and the card's size.

Estimates the width of text and measures no font, so that a picture is the same on every machine.
Does not know the card's position, nor SVG.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnist_cli.autograd.graph import Node, Saved
from mnist_cli.autograd.render import labels
from mnist_cli.autograd.render.condensing import Group
from mnist_cli.autograd.render.labels import LONGEST, without_middle

_PAD = 12.0
_CHIP_HEIGHT = 15.0
_CHIPS_SHOWN = 4

# Advance widths in ems, in classes, of DejaVu Sans, the widest of the faces that the style sheet
# may find; Arial is a seventh narrower. Han and other wide scripts count as square.
_NARROW = frozenset("ijl.,:;'|!()[]fI /-·")
_WIDE = frozenset("mwMW@%×→↺−+=<>")
_BOLDER = 1.12


@dataclass(frozen=True)
class Text:
    """A string at a baseline, relative to the card's corner; ``anchor`` is start, middle or end.

    ``suffix`` follows it on the same line, smaller.
    """

    x: float
    y: float
    string: str
    role: str
    anchor: str = "start"
    suffix: str = ""


@dataclass(frozen=True)
class Chip:
    """A small label of one saved tensor, relative to the card's corner."""

    x: float
    y: float
    width: float
    string: str
    height: float = _CHIP_HEIGHT


@dataclass(frozen=True)
class Dot:
    """The spot that shows a gradient's norm as a colour; relative to the card's corner."""

    x: float
    y: float
    norm: float


@dataclass(frozen=True)
class Card:
    """A box and all that is written in it. ``kind`` is operation, parameter, group or reference."""

    kind: str
    width: float
    height: float
    texts: tuple[Text, ...]
    chips: tuple[Chip, ...] = ()
    dot: Dot | None = None


def text_width(string: str, size: float, *, bold: bool = False) -> float:
    """An estimate of a string's width, on the safe side for common sans-serif faces."""
    total = 0.0
    for character in string:
        if character in _NARROW:
            total += 0.35
        elif character in _WIDE:
            total += 0.88
        elif ord(character) > 0x2E7F:
            total += 1.0
        elif character.isupper():
            total += 0.70
        else:
            total += 0.625
    return total * size * (_BOLDER if bold else 1.0)


def operation(node: Node, norm: float | None, *, caption: str = "") -> Card:
    """The card of an operation: its name, its shape and norm, and its saved tensors.

    Args:
        node: the node.
        norm: of the gradient that arrives there, if known.
        caption: the module to name above it; empty if a frame around it names the module.
    """
    name, suffix = labels.split_name(labels.visible(node.name))
    name, caption = without_middle(name), without_middle(labels.visible(caption))
    shape, figure = labels.outputs(node.outputs), _figure(norm)
    ident = f"#{node.id}"
    first = text_width(name, 13, bold=True) + text_width(suffix, 9.5) + 18 + text_width(ident, 10)
    second = text_width(shape, 11) + (26 + text_width(figure, 11) if figure else 0)
    inner = max(132.0, first, second, text_width(caption, 9.5))
    y = 19.0
    texts = []
    if caption:
        texts.append(Text(_PAD, y - 4, caption, "caption"))
        y += 13
    width = inner + 2 * _PAD
    texts += [
        Text(_PAD, y, name, "name", suffix=suffix),
        Text(width - _PAD, y, ident, "ident", "end"),
    ]
    dot = None
    if shape or figure:
        y += 18
        texts.append(Text(_PAD, y, shape, "shape"))
    if figure and norm is not None:
        texts.append(Text(width - _PAD - 12, y, figure, "norm", "end"))
        dot = Dot(width - _PAD - 4, y - 3.9, norm)
    chips = _chips(node.saved, width, y + 8)
    bottom = max((chip.y + chip.height for chip in chips), default=y)
    return Card("operation", width, bottom + 10, tuple(texts), chips, dot)


def parameter(node: Node, norm: float | None, *, within: str = "") -> Card:
    """The card of a leaf: the parameter's name, shortened by the path of the frame around it."""
    name = labels.visible(node.parameter or "leaf")
    prefix = labels.visible(within) + "."
    name = without_middle(name.removeprefix(prefix))
    shape, figure = labels.outputs(node.outputs), _figure(norm)
    ident = f"#{node.id}"
    first = text_width(name, 12, bold=True) + 14 + text_width(ident, 10)
    second = text_width(shape, 10.5) + (22 + text_width(figure, 10.5) if figure else 0)
    width = max(84.0, first, second) + 2 * _PAD
    texts = [
        Text(_PAD, 18, name, "name small"),
        Text(width - _PAD, 18, ident, "ident", "end"),
        Text(_PAD, 34, shape, "shape small"),
    ]
    dot = None
    if figure and norm is not None:
        texts.append(Text(width - _PAD - 12, 34, figure, "norm small", "end"))
        dot = Dot(width - _PAD - 4, 30.3, norm)
    return Card("parameter", width, 43, tuple(texts), (), dot)


def group(node: Group, norm: float | None) -> Card:
    """The card of several nodes: the call's or the run's name, and how many it holds."""
    name, figure, summary = without_middle(labels.visible(node.name)), _figure(norm), node.summary
    second = text_width(summary, 10.5) + (26 + text_width(figure, 11) if figure else 0)
    width = max(132.0, text_width(name, 12.5, bold=True), second) + 2 * _PAD
    texts = [Text(_PAD, 20, name, "name"), Text(_PAD, 37, summary, "shape small")]
    dot = None
    if figure and norm is not None:
        texts.append(Text(width - _PAD - 12, 37, figure, "norm", "end"))
        dot = Dot(width - _PAD - 4, 33.1, norm)
    return Card("group", width, 47, tuple(texts), (), dot)


def reference(node: Node) -> Card:
    """The card that refers to a node, or to several in one box, drawn elsewhere."""
    single = not isinstance(node, Group)
    name = node.parameter or (labels.split_name(node.name)[0] if single else node.name)
    string = f"↺ {without_middle(labels.visible(name))}"
    ident = f"#{node.id}" if single else ""
    width = text_width(string, 11) + 8 + text_width(ident, 10) + 2 * 10
    texts = (Text(10, 16, string, "again"), Text(width - 10, 16, ident, "ident", "end"))
    return Card("reference", width, 24, texts)


def _figure(norm: float | None) -> str:
    return "" if norm is None else labels.number(norm).replace("-", "−")


def _chips(saved: tuple[Saved, ...], width: float, top: float) -> tuple[Chip, ...]:
    """Chips in rows as wide as the card."""
    shown = saved[:_CHIPS_SHOWN]
    strings = [
        without_middle(f"{labels.visible(s.slot)} {labels.shape(s.shape)}", LONGEST - 4)
        for s in shown
    ]
    if len(saved) > len(shown):
        strings.append(f"+{len(saved) - len(shown)}")
    chips: list[Chip] = []
    x, y = _PAD - 2, top
    for string in strings:
        wide = text_width(string, 9) + 10
        if chips and x + wide > width - _PAD + 2:
            x, y = _PAD - 2, y + _CHIP_HEIGHT + 3
        chips.append(Chip(x, y, min(wide, width - 2 * _PAD + 4), string))
        x += wide + 4
    return tuple(chips)
