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
FIXED = "--expr without --grad random"
SILENT = {"as_json": "--json", "quiet": "--quiet"}
"""The options that suppress the text tree; with text as the only format, --quiet prints it."""
COMPUTE = ("device", "precision", "deterministic")

PAGES = ("html", "svg")
"""Formats in the order in which --open prefers them."""

RULES = (
    Excludes(QUESTIONS, QUESTIONS),
    Excludes(
        QUESTIONS, ("replay", *VIEW, "view", "formats", "direction", "out", "open_page", "dark")
    ),
    Excludes(("expr", "compare"), ("checkpoint",)),
    Excludes(("expr",), (*SOURCE, *COMPUTE, "runs")),
    Excludes((FIXED,), ("seed",), "Only --grad random draws random numbers; omit --seed."),
    Excludes((DUMPS,), (*SOURCE, *COMPUTE, "seed", "runs"), "Dumps are read as they are."),
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
    fixed = "expr" in given and str(given.get("grad")).lower() != "random"
    no_fold = given.get("fold") is False
    contradictions.refuse(context, RULES, **{DUMPS: dumps, FIXED: fixed, "--no-fold": no_fold})
    silent = [flag for name, flag in SILENT.items() if name in given]
    unprinted = {"text"} if "as_json" in given or (silent and len(formats) > 1) else set()
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
        if option not in given:
            continue
        spelled, shown = contradictions.spelled(context, option, given), set(able) & set(formats)
        if not shown:
            raise UsageError(
                f"{spelled} has no effect on --format {','.join(formats)}",
                f"It goes with {', '.join(able)}.",
            )
        if shown <= unprinted and (option == "view" or "out" not in given):
            raise UsageError(f"{spelled} has no effect with {silent[0]}", "Omit one of them.")
