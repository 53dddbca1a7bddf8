"""``mnist runs``: lists runs and compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_cli.commands import contradictions, options
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.runs.listing import RunRecord

app = typer.Typer(rich_markup_mode="rich", invoke_without_command=True)

SortOption = Annotated[
    Literal["name", "accuracy", "seconds", "date"],
    typer.Option(
        "--sort",
        metavar="name|accuracy|seconds|date",
        case_sensitive=False,
        help="Sort by number and name, best first, quickest first, or newest first.",
    ),
]
ComparedArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="Two or more runs: folders, their names under --runs, or their numbers, such as 12.",
        autocompletion=options.complete_runs,
        show_default=False,
    ),
]

NOT_A_DIFFERENCE = ("command",)
"""Entries of an environment that no result depends on."""


@app.callback()
def show(
    context: typer.Context,
    sort: SortOption = "name",
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
) -> None:
    """List the runs under --runs: data set, network, epochs, accuracy, seconds, device, date.

    The accuracy is that of the test set. Unfinished runs and folders that are not runs are listed
    too, and marked. Every command that takes a run also takes its number.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    from mnist_cli.report.console import note, print_json
    from mnist_cli.report.run_table import print_runs
    from mnist_cli.runs.listing import sort_runs

    found = sort_runs(_list(runs), sort)
    if as_json:
        print_json({"folder": str(runs), "runs": [_plain(run) for run in found]})
    elif found:
        print_runs(found, runs)
    else:
        note(f"no runs under {runs}/; `mnist train` creates one")


def _refuse_options_before(context: typer.Context) -> None:
    """Refuse an option of the list before the name of another command, where it has no effect."""
    typed = contradictions.given(context)
    if typed:
        command = context.invoked_subcommand or ""
        flags = ", ".join(contradictions.spelled(context, name, typed) for name in typed)
        raise UsageError(
            f"{flags} before {command} has no effect on it",
            f"Options of {command} come after its name: see `mnist runs {command} --help`.",
        )


def _list(root: Path) -> list[RunRecord]:
    """The runs under a folder; the default folder need not exist.

    Raises:
        UsageError: the folder does not exist, or cannot be read.
    """
    from mnist_cli.runs.listing import list_runs

    try:
        return list_runs(root)
    except FileNotFoundError as error:
        if root == options.RUNS:
            return []
        raise UsageError(f"--runs {root}: the folder does not exist") from error
    except OSError as error:
        raise UsageError(
            f"--runs {root}: {error.strerror}", "Give the folder of the runs."
        ) from error


def _plain(run: RunRecord) -> dict[str, Any]:
    """A run as ``--json`` prints it."""
    from datetime import UTC, datetime

    hidden = ("path", "written", "config", "environment")
    values = {key: value for key, value in vars(run).items() if key not in hidden}
    moment = None
    if run.written is not None:
        moment = datetime.fromtimestamp(run.written, UTC).isoformat(timespec="seconds")
    return {"path": run.path, "name": run.name, **values, "date": moment}


@app.command()
def compare(
    folders: ComparedArgument,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
) -> None:
    """Show how runs differ: in their configuration, their versions and their machine.

    The result of every run follows, whether it differs or not.
    """
    from mnist_cli.report.console import print_json
    from mnist_cli.report.run_table import print_comparison
    from mnist_cli.runs.listing import differences, open_run

    if len(folders) < 2:
        raise UsageError("a comparison needs at least two runs", "Give two or more.")
    found = [open_run(folder, runs) for folder in folders]
    configuration = differences([run.config for run in found])
    environment = differences([run.environment for run in found], NOT_A_DIFFERENCE)
    if as_json:
        document = {"configuration": configuration, "environment": environment}
        print_json({"runs": [_plain(run) for run in found], **document})
    else:
        print_comparison(found, configuration, environment)
