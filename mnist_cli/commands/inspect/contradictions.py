"""Which options of ``mnist inspect-grad`` mean something together. Imports no torch.

An option that a question has no use for is refused: nothing that was asked for is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mnist_cli.autograd.render import FORMATS
from mnist_cli.commands.inspect.dump import parse_formats
from mnist_cli.errors import UsageError

QUESTIONS = ("step", "path", "compare", "against", "expr", "node", "gradcheck")
"""Of which one is asked at a time."""

BESIDE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (QUESTIONS, ("replay", "module", "fold", "depth", "formats", "direction", "out")),
    (("expr", "compare"), ("checkpoint",)),
    (("expr",), ("model", "batch", "indices", "split", "training", "dataset")),
    (("expr",), ("device", "precision", "deterministic")),
    (("step",), ("as_json",)),
)
"""Questions, and what has no meaning beside them."""

ALONE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("grad", "create_graph"), ("expr", "node")),
    (("at", "const"), ("expr",)),
    (("samples",), ("gradcheck",)),
    (("tolerance",), ("compare", "against")),
)
"""Options that mean nothing without one of others."""

_SPELLED = {
    "batch": "--batch-size",
    "checkpoint": "CHECKPOINT",
    "formats": "--format",
    "training": "--eval",
    "deterministic": "--no-deterministic",
    "as_json": "--json",
}


def check(given: Mapping[str, object]) -> None:
    """Refuse options that contradict each other, or mean nothing for what is asked.

    Args:
        given: by the command's parameter names the values that are not the defaults.

    Raises:
        UsageError: names the options.
    """
    asked = [name for name in QUESTIONS if name in given]
    if len(asked) > 1:
        raise _contradiction(asked)
    for questions, others in BESIDE:
        for other in others:
            if other in given and (asked := [name for name in questions if name in given]):
                raise _contradiction([*asked, other])
    if given.get("fold") is False and "depth" in given:
        raise _contradiction(["no_fold", "depth"])
    if "direction" in given and "formats" in given:
        _require_directed(parse_formats(str(given["formats"])))
    for options, needed in ALONE:
        for name in options:
            if name in given and not set(needed) & set(given):
                raise _alone(name, " or ".join(map(_spelled, needed)))
    if "orders" in given and not {"expr", "create_graph"} <= set(given):
        raise _alone("orders", "--expr … --create-graph")


def _require_directed(names: Iterable[str]) -> None:
    """Refuse ``--direction`` if it has no effect on any of these formats."""
    directed = [name for name, one in FORMATS.items() if "direction" in one.options]
    if not set(directed) & set(names):
        raise UsageError(
            f"--direction has no effect on --format {','.join(names)}",
            f"It goes with {', '.join(directed)}.",
        )


def _contradiction(names: Iterable[str]) -> UsageError:
    together = " and ".join(map(_spelled, names))
    return UsageError(f"{together} contradict each other", "Ask one at a time.")


def _alone(name: str, wanted: str) -> UsageError:
    return UsageError(f"{_spelled(name)} means nothing alone", f"It goes with {wanted}.")


def _spelled(name: str) -> str:
    return _SPELLED.get(name, f"--{name.replace('_', '-')}")
