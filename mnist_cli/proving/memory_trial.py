"""Runs out of memory on purpose, in a process that :mod:`mnist_cli.proving.memory_and_speed` starts.

Prints one JSON document: the refused batch size, the size that the refusal proposed, and the
number of training images of a run with that size.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from mnist_cli.base.signals import StopRequest
from mnist_cli.config.schema import compose
from mnist_cli.config.sources import Layer
from mnist_cli.data.load import LoadedData, load
from mnist_cli.devices.device import resolve_device
from mnist_cli.devices.memory import address_space
from mnist_cli.errors import OutOfMemory
from mnist_cli.runs import directory as rundir
from mnist_cli.training.run import compute_for
from mnist_cli.training.session import Session

ROOM = 384 << 20
"""Bytes left for the trial; conv4-wide needs more for the 1,415 digits in bf16."""
LARGEST = 8192
FEW = 16


def main() -> None:
    """Read the settings from the command line, and print the outcome."""
    order = json.loads(sys.argv[1])
    device = resolve_device(order["device"])
    data = load(order["dataset"], Path(order["data_dir"]))
    runs = Path(order["runs"])
    _train(data, device, runs, FEW, 2 * FEW)  # now the libraries have allocated their own memory
    if not _limit_memory(device):
        sys.stdout.write("null\n")
        return
    large = min(LARGEST, len(data.train))
    outcome: dict[str, Any] = {"refused": None, "proposed": None, "images": 0}
    try:
        _train(data, device, runs, large, large)
    except OutOfMemory as error:
        outcome |= {"refused": large, "proposed": error.fits}
    if outcome["proposed"]:
        size = outcome["proposed"]
        outcome["images"] = _train(data, device, runs, size, min(2 * size, len(data.train)))
    sys.stdout.write(json.dumps(outcome) + "\n")


def _train(data: LoadedData, device: torch.device, runs: Path, batch: int, images: int) -> int:
    """Train one epoch on ``images`` images; return their number."""
    settings = {
        "model": "conv4-wide",
        "halves": False,  # the peaks of two threads coincide only by chance
        "epochs": 1,
        "batch_size": batch,
        "train_size": images,
        "val_size": 0,
        "device": str(device),
    }
    config = compose([Layer(settings, {})])
    run = rundir.create(runs, data.spec.name, config.model)
    session = Session(config, data, compute_for(config), run)
    for _ in session.events(StopRequest()):
        pass
    return session.loader.images


def _limit_memory(device: torch.device) -> bool:
    """Limit this process to :data:`ROOM` bytes more than it uses; False if that is not possible."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        allowed = torch.cuda.memory_reserved(device) + ROOM
        torch.cuda.set_per_process_memory_fraction(min(allowed / total, 1.0), device)
        return True
    return device.type == "cpu" and _limit_address_space()


def _limit_address_space() -> bool:
    """Limit the address space, as ``ulimit -v``; only Linux says how much is in use."""
    used = address_space()
    if not used or sys.platform == "win32":
        return False
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()
