"""Assembles the Typer app, and turns errors into exit codes.

A command is a function of plain values in :mod:`mnist_cli.commands`; it raises
:class:`mnist_cli.errors.MnistError` for what it expects may fail. This is the one place that
turns such an error into a message and a code, and the only one that ends the process.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from mnist_cli import __version__
from mnist_cli.commands import data, doctor, evaluate, train
from mnist_cli.errors import Interrupted, MnistError, OutputError, UsageError

app = typer.Typer(
    name="mnist",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, evaluate and look inside MNIST networks.",
    epilog="Start with [bold]mnist train[/]; every command answers to --help.",
)
app.command(name="train")(train.train)
app.command(name="eval")(evaluate.evaluate)
app.add_typer(data.app, name="data")
app.command(name="doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnist {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, evaluate and look inside MNIST networks."""


def main() -> NoReturn:
    """Run the command line, and end the process with the documented exit code."""
    arguments = sys.argv[1:]
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone (`| head`): end quietly, as other programs do.
        _abandon_stdout()
        code = 0
    except OSError as error:
        _abandon_stdout()
        code = _report(OutputError(f"cannot write the output: {error.strerror}"), arguments)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; expected failures become their message."""
    try:
        return _invoke(arguments)
    except MnistError as error:
        return _report(error, arguments)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted"), arguments)


def _invoke(arguments: list[str]) -> int:
    """Run Typer without its own exit; its usage errors become ours, so that --json covers them."""
    try:
        result: Any = app(args=arguments, prog_name="mnist", standalone_mode=False)
    except Exception as error:
        translated = _translate(error)
        if translated is None:
            raise
        raise translated from error
    return result if isinstance(result, int) else 0


def _translate(error: Exception) -> UsageError | Interrupted | None:
    """Typer's own errors, which are click's by another name, as ours; None for any other."""
    if isinstance(error, typer.Abort):
        return Interrupted("interrupted")
    show = getattr(error, "format_message", None)
    if show is None or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "mnist"
    return UsageError(show().rstrip("."), f"See `{path} --help`.")


def _report(error: MnistError, arguments: list[str]) -> int:
    from mnist_cli.report.console import report_error

    if "--debug" in arguments:
        import traceback

        traceback.print_exception(error)
    report_error(error, as_json="--json" in arguments)
    return error.code


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
