"""The program as a Typer app: its commands, their help and their classes."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from itertools import takewhile
from typing import Annotated, Any

import typer
import typer.core

from mnist_cli import options
from mnist_cli.base.process import check_working_directory
from mnist_cli.base.version import __version__
from mnist_cli.cli import help_pages
from mnist_cli.cli.typer_errors import refuse_one_dash
from mnist_cli.options.renamed import renamed

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
"""The module of each command, in the order of ``mnist --help``. A module with several has an ``app``."""


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
        if not context.resilient_parsing:
            refuse_one_dash(arguments, self.params, context.command_path)
        return super().parse_args(context, renamed(context.command_path, arguments))

    def invoke(self, context: Any) -> Any:
        gc.enable()
        check_working_directory()
        return super().invoke(context)


class _Group(_PlainHelp, typer.core.TyperGroup):
    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        if not context.resilient_parsing:
            own = [*takewhile(lambda word: word.startswith("-"), arguments)]
            refuse_one_dash(own, self.get_params(context), context.command_path)
        return super().parse_args(context, arguments)


@cache
def build(only: str | None = None) -> typer.Typer:
    """The program as a Typer app; with ``only`` one command, whose module alone is imported.

    To import the others would take longer than the command needs.
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


def needed(words: Sequence[str]) -> typer.Typer:
    """The part of the program that a command line needs."""
    if words and words[0] in COMMANDS:
        return build(words[0])
    listed = {"", "--help", "-h", "--version", "-V"}
    return outline() if len(words) < 2 and listed.issuperset(words) else build()
