"""The results of ``mnist bench`` as tables and sentences on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import singledispatch
from typing import Any

from rich.markup import escape

from mnist_cli.autograd.render.labels import counted
from mnist_cli.benchmark.inference import InferenceBenchmark, InferenceResult, InferenceSummary
from mnist_cli.benchmark.measure import Measurement
from mnist_cli.benchmark.recipes import RecipeBenchmark, RecipeResult, RecipeSummary, pareto, ratios
from mnist_cli.benchmark.scaling import (
    PASSES,
    Growth,
    PointRun,
    PointSummary,
    ScalingBenchmark,
    ScalingResult,
)
from mnist_cli.benchmark.spread import Spread
from mnist_cli.report.console import note, print_table, stdout

Benchmark = RecipeBenchmark | InferenceBenchmark | ScalingBenchmark
Result = RecipeResult | InferenceResult | ScalingResult
Run = Measurement | InferenceSummary | PointRun

FACTOR_NAMES = {
    "images": "images",
    "batch": "batch size",
    "width": "network width",
    "threads": "threads",
}
MEANING = {
    "images": "1 is linear",
    "batch": "0 is a cost per image only, -1 a cost per step only",
    "width": "2 is the cost of the convolutions' multiply-adds only",
    "threads": "-1 is ideal",
}
"""By factor, what to compare its exponent with."""


def announcement(benchmark: Benchmark) -> str:
    """What is about to run."""
    if isinstance(benchmark, RecipeBenchmark):
        runs = counted(sum(recipe.repeats for recipe in benchmark.recipes), "run")
        return f"{runs} and a warm-up, one after the other"
    if isinstance(benchmark, InferenceBenchmark):
        return f"{counted(len(benchmark.recipes), 'network')}, one after the other"
    trainings = len(benchmark.points) * benchmark.recipe.repeats
    return f"{counted(trainings, 'training')}, one after the other"


@singledispatch
def line(one: Run, target: float) -> str:
    """One run of a benchmark, as it ends; ``target`` is the accuracy to reach."""
    raise TypeError(type(one))


@line.register
def _(one: Measurement, target: float) -> str:
    if not target:
        return (
            f"{one.recipe} seed {one.seed}: {one.accuracy:.2%} after {one.train_seconds:.2f} s of "
            f"training, process {one.process_seconds:.1f} s"
        )
    seconds = one.seconds_to(target)
    reached = "not reached" if seconds is None else f"after {seconds:.2f} s of training"
    return (
        f"{one.recipe} seed {one.seed}: {one.accuracy:.2%}, {target:.1%} {reached}, "
        f"process {one.process_seconds:.1f} s"
    )


@line.register
def _(one: InferenceSummary, _target: float) -> str:
    return f"{one.recipe}: {counted(len(one.batches), 'batch size')} measured"


@line.register
def _(one: PointRun, _target: float) -> str:
    point = one.point
    return (
        f"{FACTOR_NAMES[point.factor]} {point.value:,g}: "
        f"{one.train_seconds:.2f} s, {point.images / one.train_seconds:,.0f} images/s"
    )


@singledispatch
def show(result: Result) -> None:
    """Print a benchmark's tables, and on stderr the machine."""
    raise TypeError(type(result))


@show.register
def _(result: RecipeResult) -> None:
    """A row per recipe: medians, with the smallest and largest in brackets."""
    summaries, target = result.summaries, result.target
    reached = (f"reached {target:.1%}", "train s to it") if target else ()
    print_table(
        (
            *("recipe", "runs", *reached, "train s"),
            *("process s", "images/s", "accuracy (mean)", "lowest"),
            *_memory_columns(summaries),
        ),
        [(*_row(one, target), *_memory(one, summaries)) for one in summaries],
    )
    first = escape(summaries[0].name if summaries else "")
    for name, ratio in ratios(summaries).items():
        stdout(wide=True).print(
            f"[bold]{first}[/] reaches {target:.1%} {ratio:.1f} times as fast as {escape(name)}"
        )
    if not target and len(summaries) > 1:
        names = [f"[bold]{escape(name)}[/]" for name in pareto(summaries)]
        stdout(wide=True).print(f"Pareto-optimal recipes (seconds, accuracy): {', '.join(names)}")
    _print_machine(result.machine)


def _row(one: RecipeSummary, target: float) -> tuple[str, ...]:
    error = "" if one.accuracy_error is None else f" ± {100 * one.accuracy_error:.2f}"
    to_target = "-" if one.to_target is None else _seconds(one.to_target)
    return (
        one.name,
        str(one.runs),
        *((f"{one.reached} of {one.runs}", to_target) if target else ()),
        _seconds(one.train_seconds),
        _seconds(one.process_seconds),
        f"{one.images_per_second.median:,.0f}",
        f"{100 * one.accuracy_mean:.2f}%{error}",
        f"{100 * one.accuracy_low:.2f}%",
    )


@show.register
def _(result: InferenceResult) -> None:
    """A row per batch size, the recipes below each other."""
    rows = []
    for one in result.summaries:
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
    columns = ("recipe", "network", "precision", "batch", "passes", "images/s", "ms per batch")
    print_table(columns, rows)
    _print_machine(result.machine)


@show.register
def _(result: ScalingResult) -> None:
    """A table per factor, and in words how seconds and memory grow with it."""
    for growth in result.growths:
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
    note(f"recipe {result.recipe}; seconds begin after a warm-up of two batches in each process")
    _print_machine(result.machine)


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
        yield f"{name}: only one value, which shows no growth"
        return
    how = f"least squares over {len(points)} values"
    if len(points) == 2:  # any two points lie on such a law
        how = "fitted to two values, so without a standard error"
    yield (
        f"{name}: seconds grow with the power {growth.law.exponent:.2f} of it "
        f"({how}; {MEANING[growth.factor]})"
    )
    if growth.factor == "images":
        yield f"the last is {PASSES} passes over all images, each augmented differently"
    memory = [one.peak_device_bytes or one.peak_bytes for one in points]
    if all(memory):
        where = "on the device" if points[0].peak_device_bytes else "of the process"
        times = points[-1].value / points[0].value
        yield (
            f"peak memory {where}: {_mebibytes(min(memory))} to {_mebibytes(max(memory))} "
            f"({max(memory) / min(memory):.2f} times) over {times:,g} times the {name}"
        )


def _memory_columns(rows: Sequence[Any]) -> tuple[str, ...]:
    """The device's only if it has memory of its own."""
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
