"""What `mnist bench` measured, as tables and sentences on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mnist_cli.benchmark.scaling import PASSES
from mnist_cli.report.console import note, print_table, stdout

if TYPE_CHECKING:
    from mnist_cli.benchmark.inference import InferenceSummary
    from mnist_cli.benchmark.measure import Measurement
    from mnist_cli.benchmark.scaling import Growth, PointRun, PointSummary
    from mnist_cli.benchmark.summary import RecipeSummary, Spread

FACTOR_NAMES = {
    "images": "images",
    "batch": "batch size",
    "width": "network width",
    "threads": "threads",
}
MEANING = {
    "images": "1 is linear",
    "batch": "0 is a cost by the image alone, -1 one by the step alone",
    "width": "2 is a cost by the convolutions' multiply-adds alone",
    "threads": "-1 is ideal",
}
"""What the exponent of a factor is to be compared with."""


def counted(count: int, thing: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def run_line(one: Measurement, target: float) -> str:
    """One run of a recipe, as it ends."""
    seconds = one.seconds_to(target)
    reached = "not reached" if seconds is None else f"after {seconds:.2f} s of training"
    return (
        f"{one.recipe} seed {one.seed}: {one.accuracy:.2%}, {target:.1%} {reached}, "
        f"process {one.process_seconds:.1f} s"
    )


def print_summaries(
    summaries: Sequence[RecipeSummary],
    ratios: Mapping[str, float],
    target: float,
    machine: Mapping[str, Any],
) -> None:
    """A row a recipe: medians, with the smallest and largest in brackets."""
    print_table(
        (
            *("recipe", "runs", f"reached {target:.1%}", "train s to it", "train s"),
            *("process s", "images/s", "accuracy (mean)", "lowest"),
            *_memory_columns(summaries),
        ),
        [(*_row(one), *_memory(one, summaries)) for one in summaries],
    )
    first = summaries[0].name if summaries else ""
    for name, ratio in ratios.items():
        stdout(wide=True).print(
            f"[bold]{escape(first)}[/] reaches {target:.1%} {ratio:.1f} times as fast as {escape(name)}"
        )
    _print_machine(machine)


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
    )


def print_inference(summaries: Sequence[InferenceSummary], machine: Mapping[str, Any]) -> None:
    """A row a batch size, the recipes below each other."""
    rows = []
    for one in summaries:
        for batch in one.batches:
            speed = batch.images_per_second
            rows.append(
                (
                    one.recipe,
                    str(one.details["model"]),
                    str(one.details["precision"]),
                    f"{batch.batch_size:,}",
                    str(one.repeats),
                    f"{speed.median:,.0f} ({speed.low:,.0f}-{speed.high:,.0f})",
                    f"{1000 * batch.batch_size / speed.median:,.2f}",
                )
            )
    columns = ("recipe", "network", "precision", "batch", "passes", "images/s", "ms a batch")
    print_table(columns, rows)
    _print_machine(machine)


def point_line(one: PointRun) -> str:
    """One training of a point, as it ends."""
    point = one.point
    return (
        f"{FACTOR_NAMES[point.factor]} {point.value:,g}: "
        f"{one.train_seconds:.2f} s, {point.images / one.train_seconds:,.0f} images/s"
    )


def print_growths(growths: Sequence[Growth], recipe: str, machine: Mapping[str, Any]) -> None:
    """A table a factor, and in words how seconds and memory grow with it."""
    for growth in growths:
        points = growth.points
        print_table(
            (
                *(FACTOR_NAMES[growth.factor], "images", "train s", "images/s"),
                *_memory_columns(points),
            ),
            [(*_point_row(one), *_memory(one, points)) for one in points],
        )
        for sentence in sentences(growth):
            stdout(wide=True).print(escape(sentence))
        stdout().print()
    note(f"recipe {recipe}; seconds begin after a warm-up of two batches in each process")
    _print_machine(machine)


def _point_row(one: PointSummary) -> tuple[str, ...]:
    return (
        f"{one.value:,g}",
        f"{one.images:,}",
        _seconds(one.train_seconds),
        f"{one.images_per_second.median:,.0f}",
    )


def sentences(growth: Growth) -> Iterable[str]:
    """How a factor's seconds and memory grow, in words."""
    name, points = FACTOR_NAMES[growth.factor], growth.points
    if growth.law is None:
        yield f"{name}: one value only, so nothing is said of its growth"
        return
    yield (
        f"{name}: seconds go as its power {growth.law.exponent:.2f} "
        f"(least squares over {len(points)} values; {MEANING[growth.factor]})"
    )
    if growth.factor == "images":
        yield f"the last is {PASSES} passes over all images, each changed anew (augmentation)"
    memory = [one.peak_device_bytes or one.peak_bytes for one in points]
    if all(memory):
        where = "on the device" if points[0].peak_device_bytes else "of the process"
        times = points[-1].value / points[0].value
        yield (
            f"peak memory {where}: {_mebibytes(min(memory))} to {_mebibytes(max(memory))} "
            f"({max(memory) / min(memory):.2f} times) over {times:,g} times the {name}"
        )


def _memory_columns(rows: Sequence[Any]) -> tuple[str, ...]:
    """That of the device only where one has memory of its own."""
    return ("memory", "GPU memory") if any(one.peak_device_bytes for one in rows) else ("memory",)


def _memory(one: Any, rows: Sequence[Any]) -> tuple[str, ...]:
    cells = (_mebibytes(one.peak_bytes), _mebibytes(one.peak_device_bytes))
    return cells[: len(_memory_columns(rows))]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count else "-"


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _print_machine(machine: Mapping[str, Any]) -> None:
    note(", ".join(f"{key} {value}" for key, value in machine.items()))
