"""``mnist bench``: what recipes cost on this machine, and how that cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli import options
from mnist_cli.api import recipe_layers
from mnist_cli.base.files import check_writable
from mnist_cli.benchmark import ALONE, EVALUATED, FACTORS
from mnist_cli.config.keys import KEYS
from mnist_cli.errors import UsageError
from mnist_cli.options import bench_options as flags
from mnist_cli.options import contradictions
from mnist_cli.options.contradictions import Excludes, Needs

if TYPE_CHECKING:
    from mnist_cli.benchmark.measure import Recipe
    from mnist_cli.report.bench_tables import Benchmark

WORKER = "mnist_cli.commands.bench_worker"
"""The module that trains a recipe in a separate process."""

RULES = (
    Excludes(("inference",), ("scaling",)),
    Excludes(("target",), ("inference", "scaling"), "Omit --target."),
    Excludes(
        ("inference",),
        tuple(key for key in KEYS if key not in EVALUATED),
        "The speed of evaluation does not depend on this key; omit it.",
    ),
    Excludes(("scaling",), (*ALONE, "start"), "The trainings of --scaling set this key; omit it."),
    Excludes(
        ("seed",),
        ("mnist bench",),
        "The runs of each recipe have the seeds 0, 1, 2 and so on; omit the key.",
    ),
    Needs(("factors",), ("scaling",)),
    Excludes(
        ("--factors threads",),
        ("threads",),
        "The factor sets the number of threads; omit the other option.",
    ),
    Excludes(
        ("--factors batch",),
        ("batch_size",),
        "The factor sets the batch size; omit the other option.",
    ),
    Needs(("dark",), ("out",)),
)


@options.with_figures
def bench(
    context: typer.Context,
    recipes: flags.RecipesArgument = None,
    target: flags.TargetOption = flags.TARGET,
    inference: flags.InferenceFlag = False,
    scaling: flags.ScalingFlag = False,
    factors: flags.FactorsOption = None,
    assignments: options.SetOption = None,
    model: flags.ModelOption = None,
    dataset: flags.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    threads: options.ThreadsOption = None,
    out: flags.OutOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Compare recipes on this machine: seconds to a test accuracy, speed and memory.

    Each run is a separate process. Recipes alternate after a warm-up, so a slowdown of the machine
    affects all of them. The test set is evaluated after each epoch, and this time does not count
    as training. Times are medians with the smallest and largest. Between machines, compare
    ratios, not seconds. --target 0 trains all epochs and names the Pareto-optimal recipes: no other
    one is both faster and more accurate.

    --inference times evaluation instead, in batches of 1 to 10,000 images, after a warm-up.
    --scaling varies the number of images, from 1/60 of them to ten passes over all. It also varies
    batch size, width and number of threads, each in a separate process. On two cores it takes one
    to two minutes.
    """
    contradictions.refuse(
        context, RULES, **{"mnist bench": True, f"--factors {factors}".lower(): True}
    )
    flagged = {"model": model, "dataset": dataset, "device": device, "threads": threads}
    from mnist_cli.base.cores import excess_threads, load_warning
    from mnist_cli.benchmark.inference import InferenceBenchmark
    from mnist_cli.benchmark.recipes import RecipeBenchmark
    from mnist_cli.benchmark.scaling import ScalingBenchmark
    from mnist_cli.report.console import warn

    # A recipe's own choice of images does not limit --scaling; one that was typed does.
    sets = [*(["train_size=0", "prefer_hard=0"] if scaling else []), *(assignments or ())]
    named = _recipes(recipes or flags.default_recipes(inference, scaling), sets, flagged, scaling)
    if too_many := excess_threads(max(int(one.settings.get("threads", 0)) for one in named)):
        warn(too_many)  # the workers' own warnings are not shown
    if busy := load_warning():
        warn(busy)
    benchmark: Benchmark
    if scaling:
        chosen = options.parse_words("--factors", factors, FACTORS)
        benchmark = ScalingBenchmark(named[0], chosen, data_dir)
    elif inference:
        benchmark = InferenceBenchmark(named, data_dir)
    else:
        benchmark = RecipeBenchmark(named, target, data_dir)
    _run(benchmark, target, out, as_json=as_json, silent=as_json or quiet)


def _recipes(
    texts: Sequence[str], assignments: Sequence[str], flagged: dict[str, Any], scaling: bool
) -> list[Recipe]:
    """The recipes that ``NAME:RUNS`` texts mean; ``--scaling`` takes one."""
    runs = flags.SCALING_RUNS if scaling else flags.RUNS
    recipes = [_recipe(text, runs, assignments, flagged) for text in texts]
    if scaling and len(recipes) > 1:
        raise UsageError("--scaling takes one recipe", "For example: mnist bench fast:3 --scaling")
    names = [recipe.name for recipe in recipes]
    if double := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(
            f"two recipes are called '{double}'",
            "Name a recipe once, as in fast:10, and give files different names.",
        )
    return recipes


def _recipe(text: str, runs: int, assignments: Sequence[str], flagged: dict[str, Any]) -> Recipe:
    """The recipe that ``NAME:RUNS`` means; ``runs`` is the default."""
    from mnist_cli.benchmark.measure import Recipe

    name, colon, count = text.rpartition(":")
    if not colon or text.endswith(".toml"):  # C:\\mine.toml has a colon, and no number of runs
        name, count = text, str(runs)
    if not name:
        raise UsageError(f"{text}: the recipe is missing", "For example: mnist bench fast:10")
    if not count.isdecimal() or not 1 <= int(count) <= 10_000:
        raise UsageError(
            f"{text}: '{count}' is not a number of runs", "For example: mnist bench fast:10"
        )
    try:
        config = recipe_layers.compose_config(name, assignments, flagged)
    except UsageError as error:  # here the recipe is an argument, not --config
        raise UsageError(error.message.removeprefix("--config "), error.hint) from error
    return Recipe(Path(name).stem, config.to_plain(), int(count), WORKER)


def _run(
    benchmark: Benchmark, target: float, out: Path | None, *, as_json: bool, silent: bool
) -> None:
    """Measure, with a line per run, and report the result."""
    from mnist_cli.report import bench_tables
    from mnist_cli.report.console import note, print_json

    if out is not None:  # found out before the first run, not after the last
        from mnist_cli.report.figure_style import check_format

        check_format(out)
        check_writable(out.parent)
    if not silent:
        note(bench_tables.announcement(benchmark))
    runs: list[Any] = []
    for one in benchmark.run():
        runs.append(one)
        if not silent:
            note(bench_tables.line(one, target))
    result = benchmark.result(runs)
    if out is not None:
        from mnist_cli.report.bench_figures import save_result

        save_result(result, out)
    if as_json:
        print_json(result.to_plain())
    else:
        bench_tables.show(result)
