"""Which options of ``mnist inspect-grad`` go together. Imports no torch."""

from __future__ import annotations

import typer

from mnist_cli.autograd.render import FORMATS
from mnist_cli.errors import UsageError
from mnist_cli.options import contradictions
from mnist_cli.options.contradictions import Excludes, Needs

QUESTIONS = ("step", "path", "compare", "against", "expr", "node", "gradcheck")
VIEW = ("module", "fold", "depth")
SOURCE = ("model", "batch", "indices", "split", "training", "dataset", "data_dir", "normalise")
DUMPS = "--compare of two dumps"
COMPUTE = ("device", "precision", "deterministic")

PAGES = ("html", "svg")
"""Formats in the order in which --open prefers them."""

RULES = (
    Excludes(QUESTIONS, QUESTIONS),
    Excludes(
        QUESTIONS, ("replay", *VIEW, "view", "formats", "direction", "out", "open_page", "dark")
    ),
    Excludes(("expr", "compare"), ("checkpoint",)),
    Excludes(("expr",), (*SOURCE, *COMPUTE)),
    Excludes((DUMPS,), (*SOURCE, *COMPUTE, "seed"), "Dumps are read as they are."),
    Excludes(("step",), ("as_json",)),
    Excludes(("batch",), ("indices",)),
    Excludes(("--no-fold",), ("depth",)),
    Needs(("grad", "create_graph"), ("expr", "node")),
    Needs(("at", "const"), ("expr",)),
    Needs(("orders",), ("create_graph",)),
    Needs(("orders",), ("expr",)),
    Needs(("samples",), ("gradcheck",)),
    Needs(("tolerance",), ("compare", "against")),
)


def check(context: typer.Context, formats: tuple[str, ...]) -> None:
    """Refuse options that contradict each other, or have no effect.

    Raises:
        UsageError: names the options.
    """
    given = contradictions.given(context)
    sides = given.get("compare", ("",))
    dumps = all(str(side).endswith(".json") for side in sides)
    no_fold = given.get("fold") is False
    contradictions.refuse(context, RULES, **{DUMPS: dumps, "--no-fold": no_fold})
    directed = [name for name, one in FORMATS.items() if "direction" in one.options]
    partial = [name for name in FORMATS if name != "json"]
    able_to = {
        "open_page": list(PAGES),
        "dark": list(PAGES),
        "direction": directed,
        "view": ["text"],
        **dict.fromkeys(VIEW, partial),
    }
    for option, able in able_to.items():
        if option in given and not set(able) & set(formats):
            raise UsageError(
                f"{contradictions.spelled(context, option, given)} has no effect on "
                f"--format {','.join(formats)}",
                f"It goes with {', '.join(able)}.",
            )
