"""Writes docs/reference.md from the command line itself: ``python docs/reference.py``.

Asks only what Typer answers about any program, so that a new command or option is there as soon as
the program has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mnist_cli import cli
from mnist_cli.cli.help_pages import EXAMPLES
from mnist_cli.config.keys import KEYS, kinds, words
from mnist_cli.config.messages import permitted
from mnist_cli.config.schema import CHOOSERS

PAGE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

Every command with its arguments and options, as `--help` prints them. `make docs` generates
this page from the program, and a test checks that it is current.

The [guide](guide.md) has examples, the exit codes, and what a run directory holds."""


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(cli.build())
    commands = list(_commands(root, "mnist", None))
    contents = [f"- [`{name}`](#{name.replace(' ', '-')})" for name, _, _ in commands]
    parts = [HEAD, "\n".join([*contents, "- [Configuration keys](#configuration-keys)"])]
    for name, command, context in commands:
        parts += _command(name, command, context)
    return "\n\n".join([*parts, *_keys()]) + "\n"


def _commands(command: Any, name: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """A command and all beneath it, each with its full name and a context to ask it in."""
    context = command.context_class(command, info_name=name.split()[-1], parent=parent)
    yield name, command, context
    for word, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(child, f"{name} {word}", context)


def _command(name: str, command: Any, context: Any) -> Iterator[str]:
    yield f"## {name}"
    yield _escaped(command.help or "")
    yield "```\n" + " ".join([name, *command.collect_usage_pieces(context)]) + "\n```"
    for panel, records in _panels(command, context).items():
        rows = [f"| `{_cell(what)}` | {_cell(_escaped(meaning))} |" for what, meaning in records]
        yield "\n".join([f"| {panel} | |", "| --- | --- |", *rows])
    if examples := EXAMPLES.get(name):
        width = max(len(typed) for typed, _ in examples)
        yield "\n".join(
            ["```sh", *(f"{typed:{width}}  # {what}" for typed, what in examples), "```"]
        )


def _panels(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """What each parameter is called and means, by the heading that ``--help`` puts it under."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        name, meaning = record
        usual = "Options"
        if parameter.param_type_name == "argument":
            name, usual = re.sub(r" <\w+>$", "", name), "Arguments"
        panels.setdefault(parameter.rich_help_panel or usual, []).append((name, meaning))
    return panels


def _keys() -> Iterator[str]:
    """Every key that a recipe's file and ``--set`` take."""
    yield "## Configuration keys"
    yield (
        "The keys of a recipe's TOML file and of `--set KEY=VALUE`. An empty default is that of the "
        "optimiser or the schedule, in the tables below; `start` has none, and that of `val_size` "
        "depends on the data set."
    )
    rows = []
    for name, key in KEYS.items():
        default = "" if key.default is None else f"`{_cell(_value(key.default))}`"
        row = (f"`{name}`", default, _allowed(name), _cell(_escaped(key.help)))
        rows.append(f"| {' | '.join(row)} |")
    yield "\n".join(["| key | default | allowed | meaning |", "| --- | --- | --- | --- |", *rows])
    for chooser, table in CHOOSERS.items():
        yield "\n".join(
            [f"| {chooser} | its own defaults |", "| --- | --- |", *map(_own, table.items())]
        )


def _allowed(name: str) -> str:
    """The words to choose from, or a number's bounds; empty if the meaning says it."""
    listed = [*words(name), *(["true", "false"] if bool in kinds(name) else [])]
    return ", ".join(f"`{word}`" for word in listed) or permitted(name).replace("|", " or ")


def _own(chosen: tuple[str, Any]) -> str:
    name, defaults = chosen
    return f"| `{name}` | {', '.join(f'`{k} = {_value(v)}`' for k, v in defaults.items())} |"


def _value(value: object) -> str:
    """A value as TOML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """Text for a table's cell: in one line, with the bars that would end it escaped."""
    return " ".join(text.replace("|\n", "|").split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text in which Markdown sees no markup where there is none."""
    return text.replace("\\[", "[").replace("<", "\\<").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
