"""Which options of ``mnist inspect-grad`` go together. Imports no torch.

An option without an effect is refused: nothing that was asked for is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mnist_cli.autograd.render import FORMATS
from mnist_cli.errors import UsageError

QUESTIONS = ("step", "path", "compare", "against", "expr", "node", "gradcheck")
"""One of these is asked at a time."""
VIEW = ("module", "fold", "depth")
"""They choose the part of the graph that is shown."""
SOURCE = ("model", "batch", "indices", "split", "training", "dataset")
COMPUTE = ("device", "precision", "deterministic")

EXCLUDES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (QUESTIONS, ("replay", *VIEW, "formats", "direction", "out")),
    (("expr", "compare"), ("checkpoint",)),
    (("expr",), (*SOURCE, *COMPUTE)),
    (("step",), ("as_json",)),
    (("batch",), ("indices",)),
)
"""No option of the left side goes together with one of the right side."""

NEEDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("grad", "create_graph"), ("expr", "node")),
    (("at", "const"), ("expr",)),
    (("samples",), ("gradcheck",)),
    (("tolerance",), ("compare", "against")),
)
"""An option of the left side has no effect without one of the right side."""

_SPELLED = {
    "checkpoint": "CHECKPOINT",
    "formats": "--format",
    "training": "--eval",
    "deterministic": "--no-deterministic",
    "as_json": "--json",
}


def check(given: Mapping[str, object]) -> None:
    """Refuse options that contradict each other, or have no effect.

    Args:
        given: the values that are not the defaults, by the command's parameter names.

    Raises:
        UsageError: names the options.
    """
    asked = [name for name in QUESTIONS if name in given]
    if len(asked) > 1:
        raise _contradiction(asked)
    for names, others in EXCLUDES:
        for other in others:
            if other in given and (asked := [name for name in names if name in given]):
                raise _contradiction([*asked, other])
    if given.get("fold") is False and "depth" in given:
        raise _contradiction(["no_fold", "depth"])
    for names, needed in NEEDS:
        for name in names:
            if name in given and not set(needed) & set(given):
                raise _alone(name, " or ".join(map(_spelled, needed)))
    if "orders" in given and not {"expr", "create_graph"} <= set(given):
        raise _alone("orders", "--expr … --create-graph")
    if "formats" in given:
        _check_formats(given, parse_formats(str(given["formats"])))
    _check_dumps(given)


def _check_formats(given: Mapping[str, object], names: tuple[str, ...]) -> None:
    directed = [name for name, one in FORMATS.items() if "direction" in one.options]
    for option, formats in (
        ("direction", directed),
        *((option, [name for name in FORMATS if name != "json"]) for option in VIEW),
    ):
        if option in given and not set(formats) & set(names):
            raise UsageError(
                f"{_spelled(option)} has no effect on --format {','.join(names)}",
                f"It goes with {', '.join(formats)}.",
            )


def _check_dumps(given: Mapping[str, object]) -> None:
    """Two dumps are read as they are: nothing is computed."""
    sides = given.get("compare")
    if isinstance(sides, tuple) and all(str(side).endswith(".json") for side in sides):
        for name in (*SOURCE, *COMPUTE, "seed"):
            if name in given:
                raise UsageError(
                    f"{_spelled(name)} has no effect on --compare of two dumps",
                    "It goes with a checkpoint or a run.",
                )


def parse_formats(text: str) -> tuple[str, ...]:
    """The names in ``--format``.

    Raises:
        UsageError: no name, or an unknown one.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: choose from {', '.join(FORMATS)}")
    if not names:
        raise UsageError("--format names nothing", f"Choose from {', '.join(FORMATS)}.")
    return names


def _contradiction(names: Iterable[str]) -> UsageError:
    together = " and ".join(map(_spelled, names))
    return UsageError(f"{together} contradict each other", "Give one of them.")


def _alone(name: str, wanted: str) -> UsageError:
    return UsageError(f"{_spelled(name)} has no effect alone", f"It goes with {wanted}.")


def _spelled(name: str) -> str:
    return _SPELLED.get(name, f"--{name.replace('_', '-')}")
