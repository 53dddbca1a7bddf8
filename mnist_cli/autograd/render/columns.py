"""A table as lines of text: columns of words at the left, of numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_cli.autograd.graph import Stats, TensorMeta
from mnist_cli.autograd.render.labels import number, without_middle

MAX_WIDTH = 48
"""Characters of a cell; longer ones are cut in the middle."""

_ASCII = str.maketrans({"─": "-", "±": "+-", "…": "~", "×": "x"})


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], textual: int) -> list[str]:
    """The header, a rule and the rows; the first ``textual`` columns hold words."""
    table = [header, *([without_middle(cell, MAX_WIDTH) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_line(row, widths, textual) for row in table]
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]


def in_ascii(line: str) -> str:
    """The line without any other character; names have escapes in place of them."""
    return line.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def shapes(metas: Sequence[TensorMeta]) -> str:
    """The first two shapes, and how many more there are."""
    shown = ", ".join(str(list(meta.shape)) for meta in metas[:2])
    return shown + (f" +{len(metas) - 2}" if len(metas) > 2 else "")


def counted(value: int) -> str:
    """A number with commas; nothing for 0."""
    return f"{value:,}" if value else ""


def spread(stats: Stats | None) -> str:
    """``mean ± std``, and how many entries are not finite."""
    if stats is None:
        return ""
    bad = f", {stats.nan + stats.inf:,} not finite" if not stats.finite else ""
    return f"{number(stats.mean)} ± {number(stats.std)}{bad}"


def _line(cells: Sequence[str], widths: Sequence[int], textual: int) -> str:
    texts = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)][:textual]
    numbers = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)][textual:]
    return "  ".join([*texts, *numbers]).rstrip()
