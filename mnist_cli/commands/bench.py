"""``mnist bench``: what recipes take on this machine, and how that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.commands import bench_flags as flags
from mnist_cli.commands import contradictions, options
from mnist_cli.commands.contradictions import Excludes, Needs
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.benchmark.measure import Recipe


RULES = (
    Excludes(("inference",), ("scaling",)),
    Excludes(("target",), ("inference", "scaling"), "Omit --target."),
    Needs(("factors",), ("scaling",)),
)


def bench(
    context: typer.Context,
    recipes: flags.RecipesArgument = None,
    target: flags.TargetOption = None,
    inference: flags.InferenceFlag = False,
    scaling: flags.ScalingFlag = False,
    factors: flags.FactorsOption = None,
    assignments: options.SetOption = None,
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    threads: options.ThreadsOption = None,
    picture: flags.PictureOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure recipes side by side: seconds to a test accuracy, and what that takes.

    Each run is a process of its own, as mnist train is; recipes alternate after a warm-up, so
    that a machine that gets slower does so for all. The test set is read at each epoch's end
    with training's clock stopped. Times are medians with the smallest and largest; compare
    ratios, not seconds of different machines.

    --inference times evaluation instead, in batches of 1 to 10,000 images, after a warm-up.
    --scaling trains on 1/60 to all of the images (and ten times as many: ten passes, augmented
    anew), at several batch sizes, widths and thread counts, each in a process of its own; on two
    cores it takes a few minutes.
    """
    contradictions.refuse(context, RULES)
    flagged = {"model": model, "dataset": dataset, "device": device, "threads": threads}

    given = assignments or ()

    def named(*defaults: str) -> list[Recipe]:
        found = [_recipe(text, flags.RUNS, given, flagged) for text in recipes or defaults]
        _warn_of_threads(found)
        return found

    asked = Asked(data_dir, picture, as_json, silent=as_json or quiet)
    if inference:
        _inference(_distinct(named(*flags.INFERENCE_RECIPES)), asked)
    elif scaling:
        text = _only(recipes or [flags.SCALING_RECIPE])
        # A recipe's own number of images is no limit here; one that was typed is.
        whole = ["train_size=0", *given]
        recipe = _recipe(text, flags.SCALING_RUNS, whole, flagged)
        _warn_of_threads([recipe])
        _scaling(recipe, _factors(factors), asked)
    else:
        _recipes(
            _distinct(named(*flags.RECIPES)), flags.TARGET if target is None else target, asked
        )


@dataclass(frozen=True)
class Asked:
    """What was asked of any of the three benchmarks."""

    data_dir: Path
    picture: Path | None
    as_json: bool
    silent: bool

    def note(self, message: str) -> None:
        """Say how far it is, unless only the result is wanted."""
        from mnist_cli.report.console import note

        if not self.silent:
            note(message)

    def check_picture(self) -> None:
        """Find out before the first run, not after the last, whether it can be written."""
        from mnist_cli.base.files import check_writable

        if self.picture is not None:
            from mnist_cli.report.figure_style import check_format

            check_format(self.picture)
            check_writable(self.picture.parent)


def _recipe(text: str, runs: int, assignments: Sequence[str], flagged: dict[str, Any]) -> Recipe:
    """The recipe that ``NAME:RUNS`` means, to be run so often where no runs are named."""
    from mnist_cli.benchmark.measure import Recipe

    name, colon, count = text.rpartition(":")
    if not colon or text.endswith(".toml"):  # C:\\mine.toml has a colon, and no number of runs
        name, count = text, str(runs)
    if not count.isdecimal() or not 1 <= int(count) <= 10_000:
        raise UsageError(f"{text}: '{count}' is no number of runs", "As in: mnist bench fast:10")
    config = options.compose_config(name, assignments, flagged)
    return Recipe(Path(name).stem, config.to_plain(), int(count), flags.WORKER)


def _warn_of_threads(recipes: Sequence[Recipe]) -> None:
    """Warn once of more threads than cores; the workers' own warnings are not shown."""
    from mnist_cli.base.cores import excess
    from mnist_cli.report.console import warn

    if too_many := excess(max(int(recipe.settings.get("threads", 0)) for recipe in recipes)):
        warn(too_many)


def _distinct(recipes: list[Recipe]) -> list[Recipe]:
    if len({recipe.name for recipe in recipes}) < len(recipes):
        raise UsageError("a recipe is named twice", "Give it once, with its runs: fast:10.")
    return recipes


def _only(recipes: Sequence[str]) -> str:
    if len(recipes) > 1:
        raise UsageError(
            f"--scaling is of one recipe, not of {len(recipes)}",
            "As in: mnist bench fast:3 --scaling",
        )
    return recipes[0]


def _factors(text: str | None) -> tuple[str, ...]:
    from mnist_cli.benchmark.scaling import FACTORS

    if text is None:
        return FACTORS
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in FACTORS:
            raise UsageError(
                f"--factors {text}: there is no factor '{word}'",
                f"Choose among {', '.join(FACTORS)}.",
            )
    return words


def _recipes(recipes: list[Recipe], target: float, asked: Asked) -> None:
    from mnist_cli.benchmark.machine import machine
    from mnist_cli.benchmark.measure import measure
    from mnist_cli.benchmark.summary import ratios, summarise
    from mnist_cli.report.bench_tables import counted, print_summaries, run_line
    from mnist_cli.report.console import print_json

    asked.check_picture()
    runs = sum(recipe.repeats for recipe in recipes)
    asked.note(f"{counted(runs, 'run')} and a warm-up, one after the other")
    measurements = []
    for one in measure(recipes, asked.data_dir, target):
        measurements.append(one)
        asked.note(run_line(one, target))
    summaries = summarise(measurements, target)
    where = machine([one.details for one in measurements])
    if asked.picture is not None:
        from mnist_cli.report.bench_figures import save_recipes

        save_recipes(measurements, target, where, asked.picture)
    if not asked.as_json:
        print_summaries(summaries, ratios(summaries), target, where)
        return
    print_json(
        {
            "target": target,
            "machine": where,
            "recipes": [one.to_plain() for one in summaries],
            "slower_than_first": ratios(summaries),
            "runs": [asdict(one) for one in measurements],
        }
    )


def _inference(recipes: list[Recipe], asked: Asked) -> None:
    from mnist_cli.benchmark.inference import measure_inference
    from mnist_cli.benchmark.machine import machine
    from mnist_cli.report.bench_tables import counted, print_inference
    from mnist_cli.report.console import print_json

    asked.check_picture()
    asked.note(f"{counted(len(recipes), 'network')}, one after the other")
    summaries = []
    for one in measure_inference(recipes, asked.data_dir):
        summaries.append(one)
        asked.note(f"{one.recipe}: {counted(len(one.batches), 'batch size')} measured")
    where = machine([one.details for one in summaries])
    if asked.picture is not None:
        from mnist_cli.report.bench_figures import save_inference

        save_inference(summaries, where, asked.picture)
    if asked.as_json:
        print_json({"machine": where, "recipes": [one.to_plain() for one in summaries]})
    else:
        print_inference(summaries, where)


def _scaling(recipe: Recipe, factors: Sequence[str], asked: Asked) -> None:
    from mnist_cli.base.cores import cores
    from mnist_cli.benchmark import scaling
    from mnist_cli.benchmark.machine import machine
    from mnist_cli.report.bench_tables import counted, point_line, print_growths
    from mnist_cli.report.console import print_json

    scaling.check(recipe, factors)
    asked.check_picture()
    images = scaling.available_images(recipe, asked.data_dir)
    points = scaling.plan(recipe, factors, images, cores())
    asked.note(f"{counted(len(points) * recipe.repeats, 'training')}, one after the other")
    runs = []
    for one in scaling.measure_points(recipe, points, asked.data_dir):
        runs.append(one)
        asked.note(point_line(one))
    growths = scaling.growths(runs)
    usual = [one for one in runs if one.point.factor != "threads"] or runs
    where = machine([one.details for one in usual])
    if asked.picture is not None:
        from mnist_cli.report.bench_figures import save_growths

        save_growths(growths, recipe.name, where, asked.picture)
    if not asked.as_json:
        print_growths(growths, recipe.name, where)
        return
    print_json(
        {
            "recipe": recipe.name,
            "machine": where,
            "factors": [one.to_plain() for one in growths],
            "runs": [one.to_plain() for one in runs],
        }
    )
