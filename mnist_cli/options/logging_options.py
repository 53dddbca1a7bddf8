"""``--logger`` of the commands that train. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli import options
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config.choices import LOGGERS
from mnist_cli.errors import UsageError
from mnist_cli.options import completing

if TYPE_CHECKING:
    from mnist_cli.training.callback import Callback

LoggerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--logger",
        metavar="|".join(LOGGERS),
        rich_help_panel=options.OUTPUT,
        help="Log the run with another program too: its configuration and metrics, no data and no "
        "code. One, or a comma-separated list; repeatable.",
        show_default=False,
        autocompletion=completing.complete_list(LOGGERS),
    ),
]


def chosen(names: Sequence[str] | None, *, tensorboard: bool = False) -> tuple[str, ...]:
    """The loggers that were asked for, each once, checked to be installed.

    Each text of ``names`` is one name, or several between commas.

    Raises:
        UsageError: no logger has such a name.
        DependencyError: a package is not installed.
    """
    from mnist_cli.base.packages import require

    found = dict.fromkeys(
        name.strip().lower() for listed in names or () for name in listed.split(",")
    )
    for name in found:
        if name not in LOGGERS:
            hint = did_you_mean(name, LOGGERS) or f"Loggers: {', '.join(LOGGERS)}."
            raise UsageError(f"--logger {name}: no such logger", hint)
        require(name, f"--logger {name}")
    if tensorboard:
        require("tensorboard", "--tensorboard")
        found["tensorboard"] = None
    return tuple(found)


def build(names: Sequence[str], *, dry_run: bool = False) -> tuple[Callback, ...]:
    """A callback for each name, for one run.

    With ``dry_run`` nothing is kept: then only what goes into the run's folder is logged.
    """
    kept = [name for name in names if name == "tensorboard" or not dry_run]
    if not kept:
        return ()
    from mnist_cli.training.loggers import logger

    return tuple(logger(name) for name in kept)
