"""What ``mnist plot`` says: the files, what was left out and why, on a terminal small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mnist_cli.report.console import note, print_facts, stdout
from mnist_cli.report.datasets import print_images

if TYPE_CHECKING:
    from mnist_cli.commands.plotting.pictures import Preview

BARS = "▁▂▃▄▅▆▇█"


def print_pictures(
    drawn: Mapping[str, Sequence[Path]], left_out: Mapping[str, str], previews: Sequence[Preview]
) -> None:
    """The files by picture on stdout; on stderr the reasons, those of several pictures once."""
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
        note(f"left out {', '.join(names)}: {reason}")


def _show(preview: Preview) -> None:
    console = stdout()
    console.print(f"[bold]{escape(preview.title)}[/] {sparkline(preview.curve)}".rstrip())
    if preview.images:
        print_images(preview.images, preview.captions or [""] * len(preview.images))


def sparkline(values: Sequence[float]) -> str:
    """Figures as bars of one character each, from the lowest to the highest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    room = (high - low) or 1.0
    return "".join(BARS[round((value - low) / room * (len(BARS) - 1))] for value in values)
