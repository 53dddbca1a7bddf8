"""Every command of the program, by what one types."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer

from mnist_cli import cli


@cache
def commands() -> dict[str, Any]:
    """Commands and groups of commands as click has them, ``mnist`` itself first."""
    found: dict[str, Any] = {}

    def visit(command: Any, path: str) -> None:
        found[path] = command
        for word, child in getattr(command, "commands", {}).items():
            visit(child, f"{path} {word}")

    visit(typer.main.get_command(cli.build()), "mnist")
    return found
