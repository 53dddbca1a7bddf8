"""Output of the commands: with colour on a terminal, in plain lines elsewhere.

Results go to stdout, notices and errors to stderr; with ``--json`` stdout holds one document and
nothing else. The other modules of this package print the results of each command.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mnist_cli.errors import MnistError, Stopped


class _Console(Console):
    """Rich's console, with control characters made visible.

    Names of files, classes and modules are other people's: an escape sequence in one could rewrite
    what the terminal shows.

    FORCE_COLOR colours the output that goes to a file or a pipe, but a bar and line breaks are for
    terminals alone. Jupyter sets it for every command of a notebook, but shows text.
    TTY_COMPATIBLE, 0 or 1, determines whether the output counts as a terminal.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        stream = sys.stderr if stderr else sys.stdout
        notebook = "JPY_PARENT_PID" in os.environ
        known = {"0": False, "1": True}.get(os.environ.get("TTY_COMPATIBLE", ""))
        terminal = stream.isatty() and not notebook if known is None else known
        coloured = terminal or (bool(os.environ.get("FORCE_COLOR")) and not notebook)
        super().__init__(
            stderr=stderr,
            width=width,
            force_terminal=terminal,
            color_system="auto" if terminal else "standard" if coloured else None,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich: before the layout, so that columns of tables have room for the escapes."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See :meth:`rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


class _Stdout(_Console):
    """The console for results; a closed pipe is left to the caller."""

    def on_broken_pipe(self) -> None:
        # Called while rich handles the BrokenPipeError: that one goes on.
        raise


class _Stderr(_Console):
    """The console for notices and errors; if they cannot be written, the command goes on."""

    def print(self, *objects: Any, **options: Any) -> None:
        with contextlib.suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Go on without the reader of stderr; rich would end the program."""


def stdout(*, wide: bool = False) -> Console:
    """The console for results; ``wide`` wraps no lines unless they go to a terminal."""
    console = _Stdout()
    return _Stdout(width=200) if wide and not console.is_terminal else console


def stderr() -> Console:
    """The console for notices and errors."""
    return _Stderr(stderr=True)


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys rather than shows, except for tab and line feed."""


def visible(text: str) -> str:
    r"""``text`` with its control characters as escapes, such as ``\x1b``."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def speaks_unicode(console: Console) -> bool:
    """Whether it can show more than ASCII."""
    return (console.encoding or "").lower().startswith("utf")


@cache
def write_once(text: str, file: TextIO) -> None:
    """Write text, unless it was written to this file before.

    Python writes a warning again after each ``warnings.catch_warnings``, of which torch has many.
    """
    file.write(visible(text))


def report_error(error: MnistError, *, as_json: bool) -> None:
    """Print an error's message and hint on stderr, and with ``--json`` a document too.

    Being stopped by Ctrl-C or a signal is not an error.
    """
    if isinstance(error, Stopped):
        _say(error.message, style="bold yellow")
    else:
        _say(error.message, label="error", style="bold red")
    if error.hint:
        # Not wrapped, so that a command in it can be copied whole.
        stderr().print(escape(error.hint))
    if as_json:
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        print_error_document(error.code, error.kind, message)


def print_error_document(code: int, kind: str, message: str) -> None:
    """Print the document of a command that failed with ``--json``."""
    print_json({"error": {"code": code, "kind": kind, "message": message}})


def print_json(document: object) -> None:
    """Print one JSON document on stdout, paths as text."""
    sys.stdout.write(json.dumps(document, indent=2, default=os.fspath) + "\n")


def warn(message: str) -> None:
    """Print on stderr what the user must not miss."""
    _say(message, label="warning", style="bold yellow")


@cache
def warn_once(message: str, _stderr: TextIO) -> None:
    """Print as :func:`warn` does, unless it was printed on this stream before."""
    warn(message)


def note(message: str) -> None:
    """Print on stderr what the user may want to know."""
    _say(message, style="dim")


def _say(message: str, *, label: str = "", style: str = "none") -> None:
    """Print on stderr; on a terminal, lines wrap between words only."""
    console = stderr()
    text = f"{label}: {message}" if label else message
    if console.is_terminal:
        lines = [
            textwrap.fill(line, console.width, break_long_words=False, break_on_hyphens=False)
            for line in text.splitlines()
        ]
        text = "\n".join(lines)
    head, rest = (f"{label}:", text[len(label) + 1 :]) if label else (text, "")
    console.print(f"[{style}]{escape(head)}[/]{escape(rest)}")


def percent(fraction: float) -> str:
    """A fraction of 1 as a percentage with two decimals."""
    return f"{100 * fraction:.2f}%"


def make_table(*columns: str, title: str | None = None) -> Table:
    """A table without lines: the first column aligned left, the others right."""
    heading = None if title is None else escape(title)
    table = Table(
        title=heading, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for position, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if position == 0 else "right")
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table: the first column aligned left, the others right."""
    table = make_table(*columns)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(escape, row))
    stdout(wide=True).print(table)


def print_fitting(
    rows: Sequence[Mapping[str, str]],
    *,
    textual: Sequence[str],
    expendable: Sequence[str],
    last: Sequence[str],
    title: str | None = None,
) -> None:
    """Print a table of rows with the same keys; on a narrow terminal without some columns.

    Args:
        rows: cells by column, at least one row.
        textual: columns to align left; the others are aligned right.
        expendable: columns to omit one by one, in this order, until the rest fits.
        last: columns to omit next, until each word of the rest fits on a line.
        title: the heading.
    """
    console = stdout(wide=True)
    unbounded = console.options.update(max_width=10_000)
    order = (*expendable, *last)
    for omitted in range(len(order) + 1):
        columns = [name for name in rows[0] if name not in order[:omitted]]
        table = make_table(*columns, title=title)
        for column, name in zip(table.columns, columns, strict=True):
            column.justify = "left" if name in textual else "right"
            column.no_wrap = name not in textual
            column.overflow = "fold" if name in textual else "ellipsis"  # no text is cut
        for row in rows:
            table.add_row(*(escape(row[name]) for name in columns))
        widths = Measurement.get(console, unbounded, table)
        folded = sum(_folded(name, rows) for name in columns if name in textual)
        needed = widths.maximum if omitted < len(expendable) else widths.minimum - folded
        if not console.is_terminal or needed <= console.width:
            break
    console.print(table)


LONGEST_WORD = 16
"""Length of the longest word in a table that is never folded; names may be longer."""


def _folded(column: str, rows: Sequence[Mapping[str, str]]) -> int:
    """By how much a column may be narrower than its longest word."""
    words = [word for text in (column, *(row[column] for row in rows)) for word in text.split()]
    return max(0, max(map(len, words)) - LONGEST_WORD)


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """A titled list of names and values."""
    console = stdout(wide=True)
    console.print(f"[bold]{escape(title)}[/]")
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        console.print(f"  {escape(name):<{width}}  {escape(str(value))}")
