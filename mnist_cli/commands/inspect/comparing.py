"""``--compare A B`` and ``--against X``: two backward passes side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.base.files import is_there
from mnist_cli.commands.inspect.dump import make_dump
from mnist_cli.commands.inspect.subject import Request, opened
from mnist_cli.config.choices import DEVICE, DEVICES
from mnist_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mnist_cli.autograd.comparing import GraphComparison
    from mnist_cli.autograd.graph import GradGraph

PRECISIONS = ("fp32", "bf16", "fp16")
MODES = {"train": True, "eval": False}


def graph_of(target: str, request: Request) -> GradGraph:
    """The graph that an argument of ``--compare`` means.

    A ``.json`` file is a dump; anything else a checkpoint or a run, whose pass is made now, on
    the batch that the other options describe.

    Raises:
        DataError: a dump that cannot be read.
    """
    path = Path(target)
    if path.suffix == ".json":
        return read_dump(path)
    return _made(replace(request, target=path))


def read_dump(path: Path) -> GradGraph:
    """Read a ``graph.json``.

    Raises:
        DataError: missing, broken, or of another version.
    """
    from mnist_cli.autograd import loads

    try:
        return loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the dump {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a gradient graph: not text") from error
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error


def other_side(against: str, request: Request) -> GradGraph:
    """The same batch under what ``--against`` names: a precision, a device, a mode, or a file."""
    if against in PRECISIONS:
        return _made(replace(request, precision=against))
    if against in MODES:
        return _made(replace(request, training=MODES[against]))
    if against != "auto" and re.fullmatch(DEVICE, against):
        return _made(replace(request, device=against))
    if is_there(Path(against)):
        return graph_of(against, request)
    raise UsageError(
        f"--against {against}: no such file, and none of "
        f"{', '.join([*PRECISIONS, *MODES, *DEVICES[1:]])}"
    )


def _made(request: Request) -> GradGraph:
    return make_dump(opened(request, quiet=True), replay=False).graph


SETTING = ("model", "mode", "precision", "device", "dataset", "split", "batch", "seed", "epoch")
"""What of a dump's context says what was computed, in the order in which it is told."""


def setting_differences(first: GradGraph, second: GradGraph) -> tuple[str, ...]:
    """In words, how what was computed differs: another precision, epoch, or other images."""
    pairs = [(key, first.context.get(key), second.context.get(key)) for key in SETTING]
    return tuple(
        f"{key}: {_setting(key, ours)} and {_setting(key, theirs)}"
        for key, ours, theirs in pairs
        if ours != theirs and not (key == "epoch" and None in (ours, theirs))
    )


def _setting(key: str, value: Any) -> str:
    if key != "batch" or not isinstance(value, (list, tuple)):
        return "none" if value is None else str(value)
    shown = ", ".join(map(str, value[:4]))
    count = "1 image" if len(value) == 1 else f"{len(value)} images"
    return f"{count} ({shown}{', …' if len(value) > 4 else ''})"


def document(
    comparison: GraphComparison, names: tuple[str, str], differences: Sequence[str]
) -> dict[str, Any]:
    """The comparison as plain values; what cannot be a JSON number is a string."""
    from mnist_cli.autograd.document import plain

    def _plain(one: Any) -> Any:
        return None if one is None else plain(asdict(one))

    return {
        "first": names[0],
        "second": names[1],
        "setting": list(differences),
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        "first_difference": _plain(comparison.first),
        "structure": list(comparison.structure),
        "parameters": [_plain(one) for one in comparison.parameters],
        "nodes": [_plain(one) for one in comparison.nodes],
    }
