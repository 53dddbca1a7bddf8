"""What ``mnist data`` shows: images in the terminal, and a download as it goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mnist_cli.report.console import note, speaks_unicode, stderr, stdout

if TYPE_CHECKING:
    from mnist_cli.data.fetch import Progress


def print_images(images: Sequence[Any], captions: Sequence[str]) -> None:
    """Grey images (H, W), uint8, as many side by side as fit, with a caption under each."""
    from mnist_cli.report import blocks

    console = stdout()
    width = images[0].shape[1]
    per_row = max(1, (console.width + 1) // (width + 1))
    # Without colours, as NO_COLOR asks, half blocks would be one solid field.
    in_colour = (
        console.is_terminal
        and console.color_system is not None
        and not console.no_color
        and speaks_unicode(console)
    )
    for start in range(0, len(images), per_row):
        row = images[start : start + per_row]
        if in_colour:
            console.print(blocks.colour_row(row), end="")
        else:
            sys.stdout.write(blocks.plain_row(row))
        under = " ".join(f"{text:<{width}.{width}}" for text in captions[start : start + per_row])
        console.print(escape(under.rstrip()))


@contextlib.contextmanager
def fetching(*, silent: bool) -> Iterator[Any]:
    """Show a download: a bar on a terminal, a line a file elsewhere; gives the callback for it."""
    console = stderr()
    if silent:
        yield None
        return
    if not console.is_terminal:
        said: set[tuple[str, str]] = set()

        def tell(progress: Progress) -> None:
            if (progress.stage, progress.file) not in said:
                said.add((progress.stage, progress.file))
                note(f"{progress.stage} {progress.file} {progress.url}".rstrip())

        yield tell
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetching", total=None)

        def draw(progress: Progress) -> None:
            bar.update(
                task,
                description=f"{progress.stage} {progress.file}",
                completed=progress.done,
                total=progress.total,
            )

        yield draw
