"""Refuses runs, checkpoints and plots that are given as pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from mnist_cli.base.files import is_folder, is_regular, is_there
from mnist_cli.errors import UsageError
from mnist_cli.runs.directory import RunDirectory, find_run
from mnist_cli.runs.other_folders import CHECKPOINTS

PICTURES = {
    "curves": "loss, accuracy and learning rate over the epochs",
    "ratios": "gradients and ratios of update to weight by layer, over the epochs",
    "filters": "the first layer's filters and the second's",
    "activations": "each layer's activations for one image",
    "saliency": "the pixels that decide the answer",
    "maximised": "for each class, an image that maximises its score",
    "confusion": "the confusion matrix of the test set",
    "mistakes": "the most confident mistakes",
    "embedding": "the test set as a map, by PCA and t-SNE",
}
"""What ``mnist plot`` draws; ``mnist eval --out`` draws some of it."""

Advice = Callable[[str, Path], str]
"""How to classify a picture with a run or a checkpoint, in the user's words."""


def refuse_others(names: Sequence[str], advice: Advice, runs: Path | None = None) -> None:
    """Refuse runs, folders of runs or plots, and checkpoints.

    With ``runs``, a run's number or name there is refused too, unless a file has that name.

    Raises:
        UsageError: one of the names means such a thing.
        CheckpointError: several runs have that number or name.
    """
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # reading the picture gives the reason
            picture = next((one for one in names if one != name), "IMAGE")
            _refuse(Path(name), picture, advice, runs)


def _refuse(path: Path, picture: str, advice: Advice, runs: Path | None) -> None:
    from mnist_cli.vision.image_files import ENDINGS

    def refusal(what: str, run: Path) -> UsageError:
        return UsageError(f"{path} is {what}, not a picture", advice(picture, run))

    if runs is not None and not is_there(path) and find_run(path, runs) is not None:
        raise refusal("a run", path)
    if is_regular(path) and path.suffix.lower() in CHECKPOINTS:
        raise refusal("a checkpoint", path)
    if not is_folder(path):
        return
    if _is_run(path):
        raise refusal("a run", path)
    entries = sorted(path.iterdir())
    pictures = [one for one in entries if one.suffix.lower() in ENDINGS]
    if not pictures and (inside := [one for one in entries if _is_run(one)]):
        raise refusal("a folder of runs", inside[-1])
    if pictures and all(one.stem in PICTURES for one in pictures):
        raise UsageError(
            f"{path} holds plots of a run, not pictures of digits", "Name the pictures themselves."
        )


def _is_run(folder: Path) -> bool:
    run = RunDirectory(folder)
    return any(is_regular(one) for one in (run.best, run.last, run.metrics, run.summary))
