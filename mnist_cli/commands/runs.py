"""``mnist runs``: lists, shows, compares and deletes runs."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_cli import options
from mnist_cli.base.files import is_regular
from mnist_cli.base.process import check_working_directory
from mnist_cli.errors import CheckpointError, OutputError, UsageError
from mnist_cli.options import completing, contradictions

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
        readable=False,
        help="Two or more runs: folders, their names under --runs, or their numbers, such as 12.",
        autocompletion=completing.complete_runs,
        show_default=False,
    ),
]

ShownArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        readable=False,
        help="A run: a folder, its name under --runs, or its number, such as 12.",
        autocompletion=completing.complete_runs,
        show_default=False,
    ),
]
RemovedArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        readable=False,
        help="Runs to delete: folders, their names under --runs, or their numbers, such as 12.",
        autocompletion=completing.complete_runs,
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]

NOT_A_DIFFERENCE = ("command", "recipe")
"""Entries of an environment that no result depends on."""


@app.callback()
def show(
    context: typer.Context,
    sort: SortOption = "name",
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
) -> None:
    """List the runs under --runs: data set, network, epochs, accuracy, seconds, device, date.

    Further columns show the configuration keys in which the runs differ, such as the preset or the
    seed. The accuracy is on the test set. Unfinished runs and folders that are not runs are
    marked. Every command that takes a run also takes its number.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    check_working_directory()
    from mnist_cli.report.console import note, print_json
    from mnist_cli.report.run_table import print_runs
    from mnist_cli.runs.listing import distinctions, sort_runs

    found = sort_runs(_list(runs), sort)
    if as_json:
        apart = zip(found, distinctions(found), strict=True)
        listed = [{**_plain(run), "recipe": run.recipe, "differs": of} for run, of in apart]
        print_json({"folder": str(runs), "runs": listed})
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


_FOLDER = "Give a folder of runs that you may read."


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
        raise UsageError(f"--runs {root}: the folder does not exist", _FOLDER) from error
    except OSError as error:
        raise UsageError(f"--runs {root}: {error.strerror}", _FOLDER) from error


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
    _note_repeats(found)
    configuration = differences([run.config for run in found])
    environment = differences([run.environment for run in found], NOT_A_DIFFERENCE)
    if as_json:
        document = {"configuration": configuration, "environment": environment}
        print_json({"runs": [_plain(run) for run in found], **document})
    else:
        print_comparison(found, configuration, environment)


def _note_repeats(found: list[RunRecord]) -> None:
    """Say which runs are compared with themselves."""
    from mnist_cli.report.console import warn

    paths = [run.path.resolve() for run in found]
    for run in {run.path.resolve(): run for run in found}.values():
        if (times := paths.count(run.path.resolve())) > 1:
            warn(f"{run.path} is given {times} times: a run does not differ from itself")


@app.command("show")
def show_run(
    run_folder: ShownArgument,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
) -> None:
    """Show one run: its result, its configuration, its versions and machine, its files."""
    from mnist_cli.report.console import print_json
    from mnist_cli.report.run_table import print_run
    from mnist_cli.runs.listing import open_run

    run = open_run(run_folder, runs)
    files = _sizes(run.path)
    if as_json:
        tables = {"recipe": run.recipe, "config": run.config, "environment": run.environment}
        print_json({**_plain(run), **tables, "files": files})
    else:
        print_run(run, files)


def _sizes(folder: Path) -> dict[str, int]:
    """The sizes in bytes of a folder's files, by path inside; links are not followed."""
    with contextlib.suppress(OSError):
        inside = sorted(path for path in folder.rglob("*") if is_regular(path))
        return {str(path.relative_to(folder)): path.lstat().st_size for path in inside}
    return {}


@app.command("rm")
def remove(
    run_folders: RemovedArgument,
    runs: options.RunsOption = options.RUNS,
    yes: YesOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Ask for confirmation, then delete runs with their checkpoints.

    A run that a process is writing is never deleted.
    """
    from mnist_cli.report.console import note, print_json
    from mnist_cli.runs.directory import RunDirectory
    from mnist_cli.runs.removing import remove

    found = list(dict.fromkeys(_removable(one, runs) for one in run_folders))
    for path in found:
        if writer := RunDirectory(path).writer:
            raise OutputError(
                f"the run {path} is being written by {writer}", "Wait for it, or stop it first."
            )
    if not yes and not _confirmed(found, as_json=as_json):
        note("nothing was deleted")
        return
    for path in found:
        remove(RunDirectory(path))
        note(f"deleted {path}")
    if as_json:
        print_json({"deleted": found})


def _removable(target: Path, root: Path) -> Path:
    """The run that may be deleted: a numbered folder with nothing else than a run in it.

    Raises:
        CheckpointError: there is none, or it is not a run.
    """
    from mnist_cli.runs.directory import run_number
    from mnist_cli.runs.listing import is_run, run_folder

    folder = run_folder(target, root)
    if folder.is_symlink() or not run_number(folder) or not is_run(folder):
        raise CheckpointError(
            f"{folder} is not deleted: it is not a run directory",
            "Delete it yourself if you do not need it.",
        )
    return folder


def _confirmed(found: list[Path], *, as_json: bool) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: nobody can answer.
    """
    if as_json or not sys.stdin.isatty():
        raise UsageError("nothing was deleted: nobody can answer the question", "Add --yes.")
    for path in found:
        files = _sizes(path)
        size = sum(files.values()) / 1e6
        typer.echo(f"{path}: {len(files)} files, {size:,.1f} MB", err=True)
    what = "this run" if len(found) == 1 else f"these {len(found)} runs"
    return typer.confirm(f"Delete {what}?", err=True)
