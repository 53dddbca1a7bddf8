"""The table of ``mnist doctor --prove``: row by row on the terminal, and as Markdown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mnist_cli.report.console import speaks_unicode, stderr, stdout

if TYPE_CHECKING:
    from mnist_cli.proving.claims import Row

MARKS: Mapping[bool | None, tuple[str, str, str]] = {
    True: ("✓", "ok", "green"),
    False: ("✗", "FAILED", "bold red"),
    None: ("-", "-", "dim"),
}
"""For each verdict: the mark, its spelling in ASCII, its style."""


@contextlib.contextmanager
def progress(facts: Mapping[str, Any], *, on_stderr: bool) -> Iterator[Callable[[Row], None]]:
    """Show a heading and then each row; on a terminal with a spinner."""
    console = stderr() if on_stderr else stdout(wide=True)
    console.print(
        f"[bold]{escape(facts['device_name'])}[/] ({facts['device']}), torch {facts['torch']}, "
        f"{facts['dataset']}"
    )
    waiting = (
        stderr().status("about a minute on two CPU cores")
        if console.is_terminal
        else contextlib.nullcontext()
    )
    with waiting:
        yield lambda row: _print_row(console, row)


def _print_row(console: Console, row: Row) -> None:
    sign, ascii_sign, style = MARKS[row.passed]
    mark = sign if speaks_unicode(console) else ascii_sign
    console.print(f"[{style}]{mark}[/] {escape(row.claim)}: {escape(row.figure)}")


def print_verdict(document: Mapping[str, Any]) -> None:
    """One line: whether training on the device can be trusted."""
    rows = document["rows"]
    failed = [row["claim"] for row in rows if row["passed"] is False]
    checked = sum(row["passed"] is not None for row in rows)
    console = stdout(wide=True)
    if failed:
        console.print(
            f"[bold red]{len(failed)} of {checked} claims fail[/]: {escape('; '.join(failed))}"
        )
        console.print("Do not trust training on this device. See docs/gpu.md for the next steps.")
        return
    console.print(
        f"[bold green]all {checked} claims hold[/] on {escape(document['device_name'])}, "
        f"checked in {document['seconds']:.0f} s"
    )


def markdown(document: Mapping[str, Any]) -> str:
    """The table as a Markdown section, with the hardware and the versions above it."""
    lines = [
        f"{document['date']}, {document['device_name']} (`{document['device']}`{_gpu(document)}), "
        f"{document['platform']}, Python {document['python']}, torch {document['torch']}, "
        f"mnist_cli {document['mnist_cli']}, data set {document['dataset']}, "
        f"{document['seconds']:.0f} s in all:",
        "",
        "| | claim | figure | s |",
        "| --- | --- | --- | ---: |",
    ]
    for row in document["rows"]:
        cells = (MARKS[row["passed"]][0], row["claim"], row["figure"], f"{row['seconds']:.1f}")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _gpu(document: Mapping[str, Any]) -> str:
    """Memory, driver and CUDA of a GPU; empty for other devices."""
    if document["device_memory"] is None:
        return ""
    memory = f"{document['device_memory'] / 2**30:.0f} GiB"
    return f", {memory}, driver {document['driver'] or 'unknown'}, CUDA {document['cuda']}"
