"""Small tables of HTML for notebooks, and lines for a terminal.

The tables set no colours, so they follow light and dark pages. All text is escaped, since names of
runs, files and classes are not trusted.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from mnist_cli.report.console import visible

_LEFT = ' style="text-align:left"'
_RIGHT = ' style="text-align:right"'


def escaped(text: object) -> str:
    """Text for HTML, control characters made visible."""
    return html.escape(visible(str(text)))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, textual: int = 1) -> str:
    """A table with a header; the first ``textual`` columns are aligned left, the others right."""
    head = _row(header, "th", textual)
    body = "".join(_row(row, "td", textual) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def facts(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """A title, and a table of names and values."""
    body = "".join(
        f"<tr><th{_LEFT}>{escaped(name)}</th><td{_LEFT}>{escaped(value)}</td></tr>"
        for name, value in rows
    )
    return f"<p><b>{escaped(title)}</b></p><table><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A line of text."""
    return f"<p>{escaped(text)}</p>"


def lines_of(*lines: str) -> str:
    """Lines for a terminal, control characters and line breaks made visible."""
    return "\n".join(visible(line.replace("\n", "\\n")) for line in lines)


def _row(cells: Sequence[object], tag: str, textual: int) -> str:
    shown = (
        f"<{tag}{_LEFT if place < textual else _RIGHT}>{escaped(cell)}</{tag}>"
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(shown)}</tr>"
