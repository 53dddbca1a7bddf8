"""What ``mnist plot`` prints: the files, what was skipped and why, and previews on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mnist_cli.report.console import note, print_facts, speaks_unicode, stdout
from mnist_cli.report.datasets import print_images
from mnist_cli.report.evaluation import confusion_tables

if TYPE_CHECKING:
    from mnist_cli.report.previews import Preview

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-:=+*#"


def print_pictures(
    drawn: Mapping[str, Sequence[Path]], left_out: Mapping[str, str], previews: Sequence[Preview]
) -> None:
    """Print the files of each plot on stdout, and on stderr each reason for skipping plots."""
    console = stdout()
    if console.is_terminal:
        for preview in previews:
            _show(preview)
    if drawn:
        folder = next(iter(drawn.values()))[0].parent
        files = {name: "  ".join(path.name for path in paths) for name, paths in drawn.items()}
        print_facts(f"{folder}/", files)
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        note(f"skipped {', '.join(names)}: {reason}")


def _show(preview: Preview) -> None:
    console = stdout()
    console.print(f"[bold]{escape(preview.title)}[/]")
    bars = BARS if speaks_unicode(console) else PLAIN_BARS
    width = max(map(len, preview.curves), default=0)
    for name, values in preview.curves.items():
        ends = " to ".join(dict.fromkeys(f"{value:.4g}" for value in (values[0], values[-1])))
        line = sparkline(values, bars, most=console.width // 2)
        console.print(f"  {escape(name):<{width}}  {line}  {ends}")
    if preview.images:
        print_images(preview.images, preview.captions or [""] * len(preview.images))
    if preview.confusion:
        tables = confusion_tables(*preview.confusion, console.width)
        if len(tables) == 1:
            console.print(tables[0])
    for text in preview.chart:
        console.print(escape(text))


def sparkline(values: Sequence[float], bars: str = BARS, *, most: int = 60) -> str:
    """Values as bars of one character each, lowest to highest; at most ``most``, evenly spaced.

    NaN is a blank.
    """
    if len(values) > most:
        values = [values[place * (len(values) - 1) // (most - 1)] for place in range(most)]
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return " " * len(values)
    low, room = min(known), (max(known) - min(known)) or 1.0
    last = len(bars) - 1
    return "".join(
        bars[round((value - low) / room * last)] if math.isfinite(value) else " "
        for value in values
    )
