"""The command line: assembles the Typer app, runs a command, and reports what went wrong."""

from mnist_cli.cli.app import COMMANDS, build, outline
from mnist_cli.cli.running import main, run

__all__ = ["COMMANDS", "build", "main", "outline", "run"]
