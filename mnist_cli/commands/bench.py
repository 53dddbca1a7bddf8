"""``mnist bench``: recipes side by side on this machine."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.commands import options
from mnist_cli.errors import UsageError
from mnist_cli.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnist_cli.benchmark.measure import Measurement, Recipe
    from mnist_cli.benchmark.summary import RecipeSummary

DEFAULT_RECIPES = ("fast:5", "onecycle:5", "example:1")


def bench(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE[:RUNS]]...",
            help="Presets or TOML files, each with how often to run it; "
            f"left out, {' '.join(DEFAULT_RECIPES)}.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        float,
        typer.Option(
            "--target",
            metavar="FRACTION",
            min=0.0,
            max=1.0,
            help="Test accuracy to reach; a run ends at the first epoch that does.",
        ),
    ] = 0.99,
    assignments: options.SetOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    threads: options.ThreadsOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            rich_help_panel=options.OUTPUT,
            help="Draw test accuracy against seconds of training, a line a run.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Measure recipes side by side: seconds to a test accuracy, and what that takes.

    Each run is a process of its own, as mnist train is; recipes alternate after a warm-up, so
    that a machine that gets slower does so for all. The test set is read at each epoch's end
    with training's clock stopped. Times are medians with the smallest and largest; compare
    ratios, not seconds of different machines.
    """
    from mnist_cli.benchmark.measure import measure
    from mnist_cli.benchmark.summary import ratios, summarise
    from mnist_cli.report.bench import print_summaries
    from mnist_cli.report.console import note, print_json

    flags = {"dataset": dataset, "device": device, "threads": threads}
    plan = [_recipe(text, assignments, flags) for text in recipes or DEFAULT_RECIPES]
    if len({recipe.name for recipe in plan}) < len(plan):
        raise UsageError("a recipe is named twice", "Give it once, with its runs: fast:10.")
    if picture is not None:
        _check_picture(picture)
    if not (as_json or quiet):
        note(f"{sum(recipe.repeats for recipe in plan)} runs and a warm-up, one after the other")
    measurements: list[Measurement] = []
    for one in measure(plan, data_dir, target):
        measurements.append(one)
        if not (as_json or quiet):
            note(_line(one, target))
    summaries = summarise(measurements, target)
    if picture is not None:
        from mnist_cli.report.figures import save_benchmark

        save_benchmark(measurements, target, picture)
    if as_json:
        print_json(_document(measurements, summaries, ratios(summaries), target))
        return
    print_summaries(summaries, ratios(summaries), target)
    if measurements:
        _print_machine(measurements[0])


def _check_picture(path: Path) -> None:
    """Find out before the first run, not after the last, whether the picture can be written."""
    from mnist_cli.report.figures import check_format

    check_format(path)
    check_writable(path.parent)


def _recipe(text: str, assignments: Sequence[str] | None, flags: dict[str, Any]) -> Recipe:
    from mnist_cli.benchmark.measure import Recipe

    name, colon, count = text.rpartition(":")
    if not colon:
        name, count = text, "5"
    if not count.isdecimal() or not 1 <= int(count) <= 10_000:
        raise UsageError(f"{text}: '{count}' is no number of runs", "As in: mnist bench fast:10")
    config = options.compose_config(name, assignments, flags)
    return Recipe(Path(name).stem, config.to_plain(), int(count))


def _line(one: Measurement, target: float) -> str:
    seconds = one.seconds_to(target)
    reached = "not reached" if seconds is None else f"after {seconds:.2f} s of training"
    return (
        f"{one.recipe} seed {one.seed}: {one.accuracy:.2%}, {target:.1%} {reached}, "
        f"process {one.process_seconds:.1f} s"
    )


def _print_machine(one: Measurement) -> None:
    from mnist_cli.report.console import note

    note(", ".join(f"{key} {value}" for key, value in _machine(one).items()))


def _machine(one: Measurement) -> dict[str, Any]:
    import os
    import platform
    from importlib import metadata

    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": one.details["device_name"],
        "cores": os.cpu_count(),
        "dataset": one.details["dataset"],
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _document(
    measurements: Sequence[Measurement],
    summaries: Sequence[RecipeSummary],
    times: dict[str, float],
    target: float,
) -> dict[str, Any]:
    return {
        "target": target,
        "machine": _machine(measurements[0]) if measurements else {},
        "recipes": [one.to_plain() for one in summaries],
        "slower_than_first": times,
        "runs": [asdict(one) for one in measurements],
    }
