"""What `mnist bench` measured, as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from mnist_cli.report.console import print_table, stdout

if TYPE_CHECKING:
    from mnist_cli.benchmark.summary import RecipeSummary, Spread


def print_summaries(
    summaries: Sequence[RecipeSummary], ratios: Mapping[str, float], target: float
) -> None:
    """A row a recipe: medians, with the smallest and largest in brackets."""
    print_table(
        (
            "recipe",
            "runs",
            f"reached {target:.1%}",
            "train s to it",
            "train s",
            "process s",
            "images/s",
            "accuracy (mean)",
            "lowest",
            "memory",
        ),
        [_row(one) for one in summaries],
    )
    console = stdout(wide=True)
    first = summaries[0].name if summaries else ""
    for name, ratio in ratios.items():
        console.print(
            f"[bold]{escape(first)}[/] reaches {target:.1%} {ratio:.1f} times as fast as {escape(name)}"
        )


def _row(one: RecipeSummary) -> tuple[str, ...]:
    error = "" if one.accuracy_error is None else f" ± {100 * one.accuracy_error:.2f}"
    return (
        one.name,
        str(one.runs),
        f"{one.reached} of {one.runs}",
        "-" if one.to_target is None else _seconds(one.to_target),
        _seconds(one.train_seconds),
        _seconds(one.process_seconds),
        f"{one.images_per_second.median:,.0f}",
        f"{100 * one.accuracy_mean:.2f}%{error}",
        f"{100 * one.accuracy_low:.2f}%",
        f"{one.peak_bytes / 2**20:,.0f} MiB",
    )


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"
