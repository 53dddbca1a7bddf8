"""Makes ranks agree before they share a run: on configuration, checkpoint and directory.

A single process passes every check and shares nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from mnist_cli.base.version import __version__
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.batches import Batching
from mnist_cli.data.load import LoadedData
from mnist_cli.data.split import training_size
from mnist_cli.errors import RankError, UsageError
from mnist_cli.networks import own_network
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.compute import Compute
from mnist_cli.training.distributed.rank_environment import RankPlace
from mnist_cli.training.ranks import ALONE, Ranks

_SAME = "Give all ranks the same flags, data and versions."
OWN = frozenset({"device", "threads", "workers", "start"})
"""Keys of the configuration in which ranks may differ; rank 0 reads the checkpoint to start from."""


def joined(place: RankPlace | None, patience: float) -> AbstractContextManager[Ranks]:
    """The ranks that share the run; if ``place`` is None, this process alone.

    Raises:
        RankError: the others do not connect within ``patience`` seconds, or one is lost.
    """
    if place is None:
        return nullcontext(ALONE)
    from mnist_cli.training.distributed import group

    return group.joined(place, patience)


def check_ranks(config: TrainConfig, place: RankPlace | None) -> None:
    """Refuse a configuration that several ranks cannot train together.

    Raises:
        UsageError: with the reason.
    """
    if place is None:
        return
    size = place.size
    if config.ensemble > 1:
        raise UsageError(
            f"an ensemble of {config.ensemble} is trained by one process, not by {size} ranks",
            "Train one network (ensemble = 1), or use one process.",
        )
    if config.accumulate > 1:
        raise UsageError(
            f"accumulate = {config.accumulate} is for one process, not for {size} ranks, which "
            "share each batch",
            "Set accumulate = 1 and a larger batch_size: each rank computes its part of it.",
        )
    if config.compile:
        raise UsageError(
            f"compile = true is for one process, not for {size} ranks, which communicate within "
            "a step",
            "Set compile = false, or use one process.",
        )
    if config.batch_size % size:
        whole = config.batch_size // size * size
        raise UsageError(
            f"batch_size {config.batch_size} cannot be shared evenly by {size} ranks",
            f"Use a multiple of {size}, for example {max(whole, size)}: all ranks share it.",
        )


def check_parts(config: TrainConfig, data: LoadedData, size: int, *, resumed: bool) -> None:
    """Refuse a network of the user's own that fails on an epoch's last batch.

    That batch may hold one image, too few for a batch norm, or leave a rank without images.

    Args:
        config: the run's configuration.
        data: the data set.
        size: the number of ranks.
        resumed: whether the run is resumed, so that its batches cannot change.

    Raises:
        UsageError: the network fails; with its own error.
    """
    images = training_size(config.train_size, config.val_size, len(data.train), data.val)
    left = Batching.of(config).last_batch(images)
    left = (left - 1) % config.batch_size + 1 if left else 0  # the last batch of a step
    if not config.model.is_own or left >= max(size, 2):
        return
    shared = f" for {size} ranks, so at least one rank has none" if left < size else ""
    try:
        for count in [1] * (left == 1) + [0] * (left < size):
            own_network.try_on(config.model, len(data.spec.classes), count)
    except UsageError as error:
        error.message = (
            f"the last batch of an epoch has {left} {'image' if left == 1 else 'images'}{shared}, "
            f"and {error.message}"
        )
        droppable = images > left and config.batch_size > left
        error.hint = _ways_out(left, size, droppable=droppable, resumed=resumed)
        raise


def _ways_out(left: int, size: int, *, droppable: bool, resumed: bool) -> str:
    """How to train in spite of a last batch of ``left`` images, for ``size`` ranks."""
    fewer = "" if size == 1 else f"with at most {left} ranks" if left > 1 else "with one process"
    if resumed:
        return f"Resume {fewer}." if fewer else "Start a new run with another batch_size."
    dropped = "skip that batch (drop_last = true), or " if droppable else ""
    ways = f"{dropped}change batch_size or train_size."
    return f"Train {fewer}, or {ways}" if fewer else ways[0].upper() + ways[1:]


def shared_checkpoint(find: Callable[[], Path], model: str | None, ranks: Ranks) -> Checkpoint:
    """The checkpoint that the leading rank finds, on every rank of any machine.

    Args:
        find: finds the file; called by the leading rank alone.
        model: the user's own network, if one is named.
        ranks: the processes that share the run.

    Raises:
        CheckpointError: the file is missing, damaged or not a checkpoint.
    """
    if ranks.size == 1:
        return checkpoints.read(find(), model)
    if ranks.leads:
        path = find()
        checkpoint = checkpoints.read(path, model)
        ranks.share(path.read_bytes())
        return checkpoint
    with tempfile.TemporaryDirectory(prefix="mnist-rank-") as folder:
        copy = Path(folder) / "last.pt"
        copy.write_bytes(ranks.share())
        return checkpoints.read(copy, model)


def shared_directory(find: Callable[[], RunDirectory], ranks: Ranks) -> RunDirectory:
    """The run directory that the leading rank finds or makes; the others learn its path."""
    if not ranks.leads:
        return RunDirectory(Path(os.fsdecode(ranks.share())))
    run = find()
    ranks.share(os.fsencode(run.path))
    return run


def check_alike(
    config: TrainConfig, compute: Compute, data: LoadedData, checkpoint: Checkpoint | None = None
) -> None:
    """Check that every rank trains the same network on the same data, from the same position.

    Raises:
        UsageError: this rank differs from the leading one.
        RankError: another rank does.
    """
    ranks = compute.ranks
    if ranks.size == 1:
        return
    mine = _identity(config, compute, data, checkpoint)
    theirs = json.loads(ranks.share(json.dumps(mine).encode()))
    differences = [
        f"{key} is {mine.get(key)} here and {theirs.get(key)} there"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]
    elsewhere = ranks.agree(int(bool(differences)))
    if differences:
        raise UsageError(f"rank {ranks.rank} differs from rank 0: {'; '.join(differences)}", _SAME)
    if elsewhere:
        raise RankError("another rank differs from rank 0, and reports the difference", _SAME)


def _identity(
    config: TrainConfig, compute: Compute, data: LoadedData, checkpoint: Checkpoint | None
) -> dict[str, Any]:
    """What must be the same on every rank, as JSON holds it."""
    same = {key: value for key, value in config.to_plain().items() if key not in OWN}
    if config.model.is_own:
        recorded = own_network.provenance(config.model)
        same |= {key: value for key, value in recorded.items() if key != "path"}
        same["model"] = config.model.label
    same |= {
        "kind of device": compute.device.type,
        "precision": compute.precision.name,
        "data": data.fingerprint,
        "torch": torch.__version__,
        "mnist_cli": __version__,
        "position": None if checkpoint is None else checkpoint.position,
    }
    plain: dict[str, Any] = json.loads(json.dumps(same))
    return plain
