"""Refuses names given to ``mnist predict`` that mean no pictures: runs, checkpoints, plots."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from mnist_cli.base.files import is_folder, is_regular
from mnist_cli.commands.plot import PICTURES
from mnist_cli.errors import UsageError
from mnist_cli.runs.directory import RunDirectory

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")
PLOTS = {*PICTURES, "confusion", "mistakes"}
"""How ``mnist plot`` and ``mnist eval --out`` name their pictures."""


def refuse_others(names: Sequence[str]) -> None:
    """Refuse runs, folders of runs or plots, and checkpoints.

    Raises:
        UsageError: one of the names means such a thing.
    """
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # reading the picture gives the reason
            _refuse(Path(name), next((one for one in names if one != name), "IMAGE"))


def _refuse(path: Path, picture: str) -> None:
    from mnist_cli.vision.image_files import ENDINGS

    if is_regular(path) and path.suffix.lower() in CHECKPOINTS:
        raise _with_option("a checkpoint", path, path, picture)
    if not is_folder(path):
        return
    if _is_run(path):
        raise _with_option("a run", path, path, picture)
    entries = sorted(path.iterdir())
    pictures = [one for one in entries if one.suffix.lower() in ENDINGS]
    if not pictures and (inside := [one for one in entries if _is_run(one)]):
        raise _with_option("a folder of runs", path, inside[-1], picture)
    if pictures and all(one.stem in PLOTS for one in pictures):
        raise UsageError(
            f"{path} holds plots of a run, not pictures of digits", "Name the pictures themselves."
        )


def _with_option(what: str, path: Path, run: Path, picture: str) -> UsageError:
    return UsageError(
        f"{path} is {what}, not a picture",
        "Name the pictures, and the checkpoint with -k: "
        f"mnist predict {shlex.quote(picture)} -k {shlex.quote(str(run))}",
    )


def _is_run(folder: Path) -> bool:
    run = RunDirectory(folder)
    return any(is_regular(one) for one in (run.best, run.last, run.metrics, run.summary))
