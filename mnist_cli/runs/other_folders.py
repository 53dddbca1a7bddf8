"""Folders that are not runs: what they hold, and how to use it."""

from __future__ import annotations

import os
import re
import shlex
from itertools import islice
from pathlib import Path

from mnist_cli.errors import CheckpointError

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")
CONVERT = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
"""The command that converts a distributed checkpoint; its folder and a file follow."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_LOOKED_AT = 1000
"""Maximum number of files that are looked at."""


def explain_no_checkpoint(folder: Path) -> CheckpointError:
    """The error for a folder that is not a run: other programs save weights in folders too."""
    if (folder / "data.pkl").is_file():
        return CheckpointError(
            f"{folder} is an unpacked checkpoint of torch.save, not a run",
            "Pack the folder without compression: "
            + shlex.join(["zip", "-0", "-r", f"{folder.name}.pt", folder.name]),
        )
    files = list(islice(filter(os.path.isfile, folder.rglob("*")), _LOOKED_AT))
    if any(one.suffix == ".distcp" for one in files):
        return CheckpointError(
            f"{folder} is a distributed checkpoint, not a run",
            "If you trust its source, convert it: "
            f"{CONVERT} {shlex.join([str(folder), 'weights.pt'])}",
        )
    weights = [
        one
        for one in files
        if one.suffix.lower() in CHECKPOINTS or one.match("*model*.bin")  # Hugging Face's
    ]
    hint = "Name a run, or the file of a checkpoint."
    if weights:
        likeliest = min(weights, key=_likeliest)
        hint = f"Name its file of weights: {shlex.quote(str(likeliest))}"
        if _SHARD.search(likeliest.name):
            hint = (
                f"Join the shards of its weights into one file, and name that: {likeliest.name}, …"
            )
    return CheckpointError(f"{folder} is not a run: it has no checkpoint", hint)


def _likeliest(path: Path) -> tuple[int, bool, bool, str]:
    """Sorts first what holds a network: programs also save optimisers and generators."""
    return len(path.parts), "model" not in path.name, bool(_SHARD.search(path.name)), path.name
