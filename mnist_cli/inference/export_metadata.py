"""The metadata of an exported file: names and texts, which all formats can hold."""

from __future__ import annotations

import json

from mnist_cli.base.version import __version__
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.names import dataset_label
from mnist_cli.exporting.formats import Format, Input
from mnist_cli.exporting.weights import second_names
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.runs.listing import FINISHED, RunRecord, read_run
from mnist_cli.vision.fitting import IN_WORDS

RAW_INPUT = (
    "images: {dtype} ({batch}, 1, 28, 28), grey levels from 0 to 255, {levels}; the graph "
    "normalises them"
)
MNISTS_LEVELS = "light on dark as in MNIST's files"
OWN_LEVELS = f"light and dark as in the pictures it was trained on, whole: {IN_WORDS}"
RAW_OUTPUT = "probabilities: float32 ({batch}, {classes}), each row summing to 1"
OWN_INPUT = "images: float32 (batch, 1, 28, 28), normalised: (grey level / 255 - mean) / std"
OWN_OUTPUT = "{scores}: float32 (batch, {classes})"
VOTING = (
    ", of each of several networks, whose weights' names begin with its number; they vote by the "
    "mean of their probabilities"
)


def describe(opened: OpenCheckpoint, chosen: Format, taken: Input) -> dict[str, str]:
    """Model, data, classes, normalisation, accuracy and how to use the file.

    For another program's checkpoint, only the facts that it states.
    """
    normalisation = opened.normalisation
    facts: dict[str, object] = {
        "producer": f"mnist_cli {__version__}",
        "model": opened.label,
        "members": opened.checkpoint.members,
        **_interface(opened, chosen, taken),
        "classes": json.dumps(list(opened.classes)),
        "mean": normalisation.mean,
        "std": normalisation.std,
        **_training(opened.checkpoint),
    }
    return {key: str(value) for key, value in facts.items()}


def _interface(opened: OpenCheckpoint, chosen: Format, taken: Input) -> dict[str, object]:
    """Input and output of the exported program; for weights alone, of their network."""
    whole, checkpoint = opened.whole_pictures, opened.checkpoint
    if chosen.program:
        levels = OWN_LEVELS if whole else MNISTS_LEVELS
        batch = taken.batch or "batch"
        return {
            "input": RAW_INPUT.format(dtype=taken.dtype, batch=batch, levels=levels),
            "output": RAW_OUTPUT.format(batch=batch, classes=checkpoint.classes),
        }
    scores = "log-probabilities" if getattr(opened.model, "log_probabilities", False) else "logits"
    output = OWN_OUTPUT.format(scores=scores, classes=checkpoint.classes)
    if checkpoint.members > 1:
        output += VOTING
    prepared = f"; grey levels {OWN_LEVELS}" if whole else ""
    facts: dict[str, object] = {"format": "pt", "input": OWN_INPUT + prepared, "output": output}
    if shared := second_names(opened.model):
        facts["shared"] = json.dumps(shared)
    return facts


def _training(checkpoint: Checkpoint) -> dict[str, object]:
    """Data, duration and accuracy, as far as the checkpoint and its folder state them."""
    if checkpoint.data is None or checkpoint.config is None:
        return {}
    facts: dict[str, object] = {
        "dataset": dataset_label(checkpoint.data.name),
        "fingerprint": checkpoint.data.fingerprint,
        "seed": checkpoint.config.seed,
        "checkpoint": f"{checkpoint.path.resolve().parent.name}/{checkpoint.path.name}",
    }
    if checkpoint.history:
        last = checkpoint.history[-1]
        facts["epochs"] = last.epoch
        if last.val is not None:
            facts["val_accuracy"] = last.val.accuracy
    run = _tested(checkpoint)
    if run is not None:
        facts["test_accuracy"] = run.accuracy
        facts["test_precision"] = run.precision
    return facts


def _tested(checkpoint: Checkpoint) -> RunRecord | None:
    """The checkpoint's run, if its test accuracy was measured on this file."""
    run = read_run(checkpoint.path.parent)
    tested = run.state == FINISHED and run.checkpoint == checkpoint.path.name
    return run if tested and run.accuracy is not None else None
