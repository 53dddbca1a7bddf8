"""Runs a command, and turns its errors into messages and exit codes.

A command is a function of plain values in :mod:`mnist_cli.commands`; it raises
:class:`mnist_cli.errors.MnistError` for expected failures. This is the one place that turns such an
error into a message and a code, and the only one that ends the process.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from itertools import takewhile
from typing import NoReturn, TextIO

import typer

from mnist_cli.base.process import OWN_THREAD, abandon_stdout, end
from mnist_cli.base.signals import (
    HeldImport,
    Termination,
    end_on_signals,
    heard,
    ignore_signals,
)
from mnist_cli.cli.app import needed
from mnist_cli.cli.typer_errors import refuse_empty, translated
from mnist_cli.errors import Caution, Interrupted, MnistError, OwnCodeError, Terminated, UsageError
from mnist_cli.options.completing import completed_words, join_assignments
from mnist_cli.options.renamed import spelled_out


def main() -> NoReturn:
    """Run the command line, and end the process with the documented exit code."""
    _prepare_streams()
    warnings.showwarning = _show_warning
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, HeldImport)
    arguments, code = sys.argv[1:], 0
    try:
        code = run(arguments)
        if _waits_for_threads():
            end_on_signals()
        else:
            ignore_signals()  # later signals can no longer change anything
        sys.stdout.flush()
    except Termination:  # while an error was reported
        code = Terminated.code
    except KeyboardInterrupt:
        code = Interrupted.code
    except BrokenPipeError:
        # The reader has gone (`| head`): end quietly, as other programs do.
        abandon_stdout()
        code = 0
    except OSError as error:
        from mnist_cli.training.expected_errors import explain

        abandon_stdout()
        code = code or _report(explain(error), arguments)  # a failure keeps its own code
    end(code)


def _waits_for_threads() -> bool:
    """Whether the interpreter waits at its end for threads of a network's file."""
    others = (one for one in threading.enumerate() if one is not threading.main_thread())
    return any(not one.daemon and not one.name.startswith(OWN_THREAD) for one in others)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print once: a :class:`Caution` as the program's own warnings, any other as Python does."""
    from mnist_cli.report.console import warn_once, write_once

    if issubclass(category, Caution):
        warn_once(str(message), sys.stderr)
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
    except KeyboardInterrupt as stop:
        return _report(_stopped(terminated=isinstance(stop, Termination)), arguments)
    except (Exception, SystemExit) as error:
        from mnist_cli.networks.source import blamed
        from mnist_cli.training.expected_errors import expected

        unnamed = isinstance(error, OSError) and error.filename is None  # stdout's
        if (unnamed or isinstance(error, SystemExit)) and not blamed(error):
            raise
        known = expected(error)
        if known is None and heard:
            known = _stopped(terminated=heard[-1] != signal.SIGINT)
        return _report(known, arguments) if known else _report_bug(error, arguments)


def _stopped(*, terminated: bool) -> MnistError:
    return Terminated("terminated") if terminated else Interrupted("interrupted")


def _invoke(arguments: list[str]) -> int:
    """Run Typer without its own exit; its usage errors become ours, so that --json covers them.

    Typer's ``main`` would turn Ctrl-C and a closed pipe into its own codes; it only answers the
    shell's requests for completion.
    """
    if "_MNIST_COMPLETE" in os.environ:
        join_assignments()
        needed(completed_words())(args=arguments, prog_name="mnist")
    refuse_empty(arguments)
    command = typer.main.get_command(needed(arguments))
    try:
        # A command that starts the program again, as several processes, needs what was typed.
        with command.make_context("mnist", list(arguments), obj=tuple(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        completion = arguments[:1] in (["--install-completion"], ["--show-completion"])
        if completion and stop.exit_code:  # Typer has named the shell
            raise UsageError(
                "completion is not available for this shell",
                "Type the command in bash, zsh, fish or PowerShell.",
            ) from None
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

    with contextlib.suppress(OSError):
        sys.stderr.write(visible("".join(traceback.format_exception(error))))


def _prepare_streams() -> None:
    """Keep a closed stream, or a character that it cannot encode, from ending the program."""
    # A file opened while descriptor 1 is closed would become stdout, and be written into.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
