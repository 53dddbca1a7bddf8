"""Assembles the Typer app, and turns errors into exit codes.

A command is a function of plain values in :mod:`mnist_cli.commands`; it raises
:class:`mnist_cli.errors.MnistError` for expected failures. This is the one place that turns such an
error into a message and a code, and the only one that ends the process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from itertools import takewhile
from types import FrameType
from typing import Annotated, Any, NoReturn, TextIO

import typer
import typer.core

from mnist_cli.base.process import abandon_stdout, check_working_directory, end
from mnist_cli.base.signals import ENDINGS, HeldImport, Termination, ignore_signals
from mnist_cli.base.version import __version__
from mnist_cli.commands import help_pages, options
from mnist_cli.commands.renamed import renamed, spelled_out
from mnist_cli.commands.typer_errors import refuse_empty, translated
from mnist_cli.errors import Caution, Interrupted, MnistError, OwnCodeError, Terminated

COMMANDS = {
    "train": "train",
    "sweep": "sweep",
    "eval": "evaluate",
    "predict": "predict",
    "draw": "draw",
    "inspect-grad": "inspect_grad",
    "plot": "plot",
    "model": "model",
    "export": "export",
    "runs": "runs",
    "data": "data",
    "config": "config_show",
    "bench": "bench",
    "doctor": "doctor",
}
"""The module of each command, in the order of ``mnist --help``. A module of several has an ``app``."""


class _PlainHelp:
    """A command whose ``--help`` shows no Python types: no ``--json <bool>``, no ``RUN <list[Path]>``.

    Typer shows them since 0.29, even for flags and beside a metavar.
    """

    def get_params(self, context: Any) -> Any:
        parameters = super().get_params(context)  # type: ignore[misc]
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda *_context, **_named: None
            elif getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
            else:
                parameter.display_type_rich = partial(_choices, parameter)
        return parameters


def _choices(option: Any, **named: Any) -> str | None:
    """The choices of an option, which Typer would break in the middle of a word."""
    import shutil

    shown = type(option).display_type_rich(option, **named)
    return shown and help_pages.broken(shown, shutil.get_terminal_size().columns)


class _Command(_PlainHelp, typer.core.TyperCommand):
    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        refuse_empty(arguments)
        return super().parse_args(context, renamed(context.command_path, arguments))

    def invoke(self, context: Any) -> Any:
        gc.enable()
        check_working_directory()
        return super().invoke(context)


class _Group(_PlainHelp, typer.core.TyperGroup):
    pass


@cache
def build(only: str | None = None) -> typer.Typer:
    """The program as a Typer app; with ``only`` one command, whose module alone is imported.

    That is what one command needs; to import the others takes longer than to import it.
    """
    app = _program()
    for name in [only] if only else COMMANDS:
        module = import_module(f"mnist_cli.commands.{COMMANDS[name]}")
        panel = help_pages.panel(name)
        if group := getattr(module, "app", None):
            app.add_typer(group, name=name, rich_help_panel=panel)
        else:
            app.command(name=name, rich_help_panel=panel)(getattr(module, COMMANDS[name]))
    _tidy_help(app, "mnist")
    return app


def _program() -> typer.Typer:
    app = typer.Typer(
        name="mnist",
        cls=_Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog=f"{help_pages.epilog('mnist')}\n\nEvery command has --help with more examples.",
    )
    app.callback(help=help_pages.filled(_root))(_root)
    return app


@cache
def outline() -> typer.Typer:
    """The program without its commands' options, for ``mnist --help`` and to complete a command.

    To import all commands takes twice as long as Typer itself.
    """
    app = _program()
    for name, summary in help_pages.SUMMARIES.items():
        app.command(name, help=summary, rich_help_panel=help_pages.panel(name))(_nothing)
    return app


def _nothing() -> None:
    """Stands for a command that is only listed."""


def _tidy_help(group: typer.Typer, path: str) -> None:
    """Give every command our classes, ``--debug`` and examples, and join its paragraphs' lines."""
    if group.registered_callback is not None:
        group.registered_callback.help = help_pages.filled(group.registered_callback.callback)
    for command in group.registered_commands:
        command.cls = _Command
        command.help = help_pages.filled(command.callback)
        name = command.name or getattr(command.callback, "__name__", "")
        command.epilog = help_pages.epilog(f"{path} {name}")
        if command.callback is not None:
            command.callback = options.with_debug(command.callback)
    for subgroup in group.registered_groups:
        subgroup.cls = _Group
        subgroup.epilog = help_pages.epilog(f"{path} {subgroup.name}")
        if subgroup.typer_instance is not None:
            _tidy_help(subgroup.typer_instance, f"{path} {subgroup.name}")
            callback = subgroup.typer_instance.registered_callback
            if callback is not None and callback.callback is not None:
                callback.callback = options.with_debug(callback.callback)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnist {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            *("--version", "-V"), help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, evaluate and look inside MNIST networks."""


def main() -> NoReturn:
    """Run the command line, and end the process with the documented exit code."""
    _prepare_streams()
    warnings.showwarning = _show_warning
    for number in ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, HeldImport)
    arguments, code = sys.argv[1:], 0
    try:
        code = run(arguments)
        ignore_signals()  # one that comes now comes too late to change anything
        sys.stdout.flush()
    except Termination:  # while an error was reported
        code = Terminated.code
    except KeyboardInterrupt:
        code = Interrupted.code
    except BrokenPipeError:
        # Whoever read us has gone (`| head`): end quietly, as other programs do.
        abandon_stdout()
        code = 0
    except OSError as error:
        from mnist_cli.training.expected_errors import explain

        abandon_stdout()
        code = code or _report(explain(error), arguments)  # a failure keeps its own code
    end(code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a :class:`Caution` as the program's own warnings, any other as Python does, once."""
    from mnist_cli.report.console import warn, write_once

    if issubclass(category, Caution):
        warn(str(message))
        return
    text = warnings.formatwarning(message, category, filename, lineno, line)
    with contextlib.suppress(OSError):
        write_once(text, file or sys.stderr)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; failures become their message.

    Raises:
        OSError: stdout cannot be written.
    """
    try:
        return _invoke(spelled_out(arguments))
    except Termination:
        return _report(Terminated("terminated"), arguments)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted"), arguments)
    except (Exception, SystemExit) as error:
        from mnist_cli.networks.source import blamed
        from mnist_cli.training.expected_errors import expected

        unnamed = isinstance(error, OSError) and error.filename is None  # stdout's
        if (unnamed or isinstance(error, SystemExit)) and not blamed(error):
            raise
        known = expected(error)
        return _report(known, arguments) if known else _report_bug(error, arguments)


def _invoke(arguments: list[str]) -> int:
    """Run Typer without its own exit; its usage errors become ours, so that --json covers them.

    Typer's ``main`` would turn Ctrl-C and a closed pipe into codes of its own; it is left to
    answer the shell's requests for completion.
    """
    if "_MNIST_COMPLETE" in os.environ:
        from mnist_cli.commands.completing import completed_words, join_assignments

        join_assignments()
        _needed(completed_words())(args=arguments, prog_name="mnist")
    command = typer.main.get_command(_needed(arguments))
    try:
        # A command that starts the program again, as several processes, needs what was typed.
        with command.make_context("mnist", list(arguments), obj=tuple(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich met it, printing Typer's help
            raise stop.__context__ from None
        raise
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
            return 0
        known = translated(error, command, arguments)
        if known is None:
            raise
        raise known from error
    return 0


def _needed(words: Sequence[str]) -> typer.Typer:
    """As much of the program as a command line needs."""
    if words and words[0] in COMMANDS:
        return build(words[0])
    listed = {"", "--help", "-h", "--version", "-V"}
    return outline() if len(words) < 2 and listed.issuperset(words) else build()


def _asked(flag: str, arguments: list[str]) -> bool:
    """Whether a flag was typed, also where the command line as a whole is wrong."""
    return flag in takewhile(lambda word: word != "--", arguments)


def _report(error: MnistError, arguments: list[str]) -> int:
    from mnist_cli.report.console import report_error

    if _asked("--debug", arguments):
        _print_traceback(error)
    if isinstance(error, OwnCodeError) and not error.hint:
        error.hint = "See the whole traceback with --debug."
    report_error(error, as_json=_asked("--json", arguments))
    return error.code


def _report_bug(error: BaseException, arguments: list[str]) -> int:
    """Print the traceback of an unexpected error, and with ``--json`` a document too."""
    from mnist_cli.report.console import print_error_document

    _print_traceback(error)
    if _asked("--json", arguments):
        print_error_document(MnistError.code, "internal", f"{type(error).__name__}: {error}")
    return MnistError.code


def _print_traceback(error: BaseException) -> None:
    import traceback

    from mnist_cli.report.console import visible

    sys.stderr.write(visible("".join(traceback.format_exception(error))))


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Termination


def _prepare_streams() -> None:
    """See to it that a closed stream, or a character it cannot encode, is no crash."""
    # A file opened while descriptor 1 is closed would become stdout, and be written into.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
