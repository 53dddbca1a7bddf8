"""``mnist sweep``: trains a grid of settings and seeds, and compares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli import options
from mnist_cli.api import recipe_layers
from mnist_cli.config import keys
from mnist_cli.errors import Stopped, UsageError
from mnist_cli.options import completing, logging_options

if TYPE_CHECKING:
    from mnist_cli.config.sources import Layer
    from mnist_cli.runs.sweep_results import SweepResult
    from mnist_cli.runs.sweeps import Cell, Sweep
    from mnist_cli.training.observer import Observer
    from mnist_cli.training.run import RunRequest

SweptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=A,B,C",
        help="Values of a key of the configuration to try; repeatable, for every combination. "
        "A single value holds for all runs.",
        autocompletion=completing.complete_assignments(several=True),
    ),
]
SeedsOption = Annotated[
    int,
    typer.Option(
        "--seeds",
        metavar="N",
        min=1,
        max=10_000,
        help="Train every setting with N seeds: --seed and the numbers after it.",
    ),
]
SweepNameOption = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the sweep and of its runs. Default: sweep-1, sweep-2 and so on.",
        show_default=False,
        rich_help_panel=options.OUTPUT,
    ),
]


@options.with_figures
@options.with_keys
def sweep(
    context: typer.Context,
    config: options.ConfigOption = None,
    assignments: SweptOption = None,
    seeds: SeedsOption = 1,
    name: SweepNameOption = "",
    data_dir: options.DataDirOption = options.DATA_DIR,
    runs: options.RunsOption = options.RUNS,
    logger: logging_options.LoggerOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    **chosen: Any,
) -> None:
    """Train every combination of some settings, each with --seeds N seeds, and compare them.

    Each run is an ordinary run under --runs. The table shows the mean over the seeds with its
    standard error; it is also drawn, and written as CSV. If the sweep is interrupted or killed,
    the same command continues it: finished runs are kept, an unfinished one is resumed. If a run
    fails, the others go on; the exit code is that of the first failure.
    """
    from mnist_cli.base.signals import handlers_put_back
    from mnist_cli.runs import sweeps

    loggers = logging_options.chosen(logger)
    axes, constant = sweeps.axes_of(assignments or ())
    for key in axes:
        if chosen.get(key) is not None:
            flag = keys.flag(key)
            raise UsageError(f"{flag} and --set {key} contradict each other", "Give one of them.")
    typed = recipe_layers.typed_layers(constant, chosen)
    recipe = recipe_layers.recipe_layer(config, runs)
    cells = grid(recipe, typed, axes, seeds)
    with handlers_put_back():
        carry_out(
            context,
            sweeps.open_sweep(runs, name, cells),
            data_dir,
            recipe=recipe_layers.recipe_name(config, runs),
            typed=typed,
            as_json=as_json,
            quiet=quiet,
            loggers=loggers,
        )


def grid(
    recipe: Layer | None, typed: Sequence[Layer], axes: dict[str, tuple[str, ...]], seeds: int
) -> tuple[Cell, ...]:
    """The runs of every combination of values and seeds.

    Raises:
        UsageError: a value is not allowed, there is one run only, or there are too many.
    """
    from math import prod

    from mnist_cli.config.sources import from_assignments, from_flags
    from mnist_cli.runs import sweeps

    if seeds > 1 and "seed" in axes:
        raise UsageError("--seeds and --set seed contradict each other", "Give one of them.")
    sweeps.check_size(seeds * prod(map(len, axes.values())))
    configs = []
    for values in sweeps.grid(axes):
        setting = from_assignments([f"{key}={value}" for key, value in values.items()])
        first = recipe_layers.compose_on(recipe, [*typed, setting])
        more = (from_flags({"seed": first.seed + number}) for number in range(1, seeds))
        configs += [
            first,
            *(recipe_layers.compose_on(recipe, [*typed, setting, seed]) for seed in more),
        ]
    if len(configs) < 2:
        raise UsageError(
            "the sweep has one run only",
            "Give several values, as in --set lr=0.01,0.03,0.1, or several seeds, as in --seeds 3.",
        )
    return sweeps.plan(list(axes), configs)


def carry_out(
    context: typer.Context,
    sweep: Sweep,
    data_dir: Path,
    *,
    recipe: str,
    typed: Sequence[Layer],
    as_json: bool,
    quiet: bool,
    more: Sequence[Observer] = (),
    loggers: Sequence[str] = (),
) -> None:
    """Train what is left of a sweep and report all of it.

    Args:
        context: of the command.
        sweep: the sweep.
        data_dir: folder of the data sets.
        recipe: what ``--config`` named, for the runs' records.
        typed: the layers that were typed.
        as_json: print a JSON document instead of the table.
        quiet: print the table only.
        more: observers of each run that the options ask for.
        loggers: what else each run is logged with.

    Raises:
        Stopped: a signal came; the hint is the command that continues.
        Exit: a run has failed; with its code.
    """
    from mnist_cli.report.console import note
    from mnist_cli.report.training import LearningCurves, TrainingReport
    from mnist_cli.runs.sweep_results import SweepResult
    from mnist_cli.training.run import RunRequest

    silent = as_json or quiet

    def request() -> RunRequest:
        report = TrainingReport(silent=silent)
        return RunRequest(
            data_dir=data_dir,
            runs=sweep.root,
            observers=(report, *more, LearningCurves(report)),
            callbacks=logging_options.build(loggers),
            group=sweep.name,
            model_named=any("model" in layer.values for layer in typed),
            recipe=recipe,
        )

    try:
        with sweep.locked():
            sweep.save()
            _train(sweep, request, (lambda _text: None) if silent else note)
            result = SweepResult.of(sweep)
            _report(result, as_json=as_json)
    except Stopped as stopped:
        from mnist_cli.base.process import command_line

        stopped.hint = f"Continue the sweep with: {command_line(['mnist', *context.obj])}"
        raise
    if result.code:
        raise typer.Exit(result.code)


def _train(sweep: Sweep, request: Callable[[], RunRequest], say: Callable[[str], None]) -> None:
    from mnist_cli.commands.opening import naming_the_flag
    from mnist_cli.report.console import warn
    from mnist_cli.training.sweeping import train_cell

    count = len(sweep.cells)
    left = [c for c in sweep.cells if c.number not in sweep.failures and not sweep.finished(c)]
    done = f", {count - len(left)} of them done" if len(left) < count else ""
    resuming = "; after an interruption, the same command continues the sweep" if left else ""
    say(f"{sweep.name}: {count} runs under {sweep.root}/{done}{resuming}")
    for cell in (cell for cell in sweep.cells if cell.number in sweep.failures):
        message = sweep.failures[cell.number]["message"]
        warn(f"run {cell.number} of {count}, {cell.label}, has failed before: {message}")
    for cell in left:
        say(f"run {cell.number} of {count}: {cell.label}")
        with naming_the_flag():
            failure = train_cell(sweep, cell, request())
        if failure is not None:
            warn(f"run {cell.number} of {count}, {cell.label}, failed: {failure.message}")


def _report(result: SweepResult, *, as_json: bool) -> None:
    """Print the table or the document, after the picture and the CSV file are written."""
    from mnist_cli.base.packages import import_failure
    from mnist_cli.report.console import note, print_json, stdout
    from mnist_cli.report.sweep_table import print_sweep

    sweep, picture = result.sweep, True
    result.write_table(sweep.table)
    try:
        from mnist_cli.report.sweep_figures import save_sweep
    except ImportError as error:
        picture = False
        note(f"{sweep.picture.name} is not drawn: {import_failure(error)}")
    else:
        save_sweep(result, sweep.picture)
    if as_json:
        files = {"table": sweep.table, "picture": sweep.picture if picture else None}
        print_json(result.to_plain() | files)
        return
    print_sweep(result)
    out = stdout(wide=True)
    out.print(f"table    {sweep.table}", markup=False)
    if picture:
        out.print(f"picture  {sweep.picture}", markup=False)
