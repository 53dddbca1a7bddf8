"""Going on with a run: what of it may change, what is refused, and where it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.commands import shared_run
from mnist_cli.commands.training_run import (
    RunRequest,
    begun,
    device_and_precision,
    drive,
    load_data,
    warn_of_threads,
)
from mnist_cli.config.names import ModelName, is_own_data
from mnist_cli.config.schema import TrainConfig
from mnist_cli.errors import CheckpointError, OutputError, UsageError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.session import Session

if TYPE_CHECKING:
    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.config import schema as configs
    from mnist_cli.training.session import Summary

FREE_ON_RESUME = frozenset(
    {
        *("device", "threads", "workers", "cuda_graph"),
        *("checkpoint_every", "early_stopping", "target_accuracy"),
    }
)
"""Keys that may change when a run goes on: where it computes and when it stops."""


def resume(target: Path, layers: list[configs.Layer], request: RunRequest) -> Summary | None:
    """Go on with a run from its last checkpoint, or from a file into a new run directory.

    Returns:
        As :func:`mnist_cli.commands.training_run.train_anew`.

    Raises:
        CheckpointError: there is nothing to resume from.
        UsageError: ``layers`` would change what the result means.
    """
    from mnist_cli.runs import directory as rundir

    named = _named("model", layers)
    own = named if ModelName(named).is_own else None
    with shared_run.joined(request.place, request.patience) as ranks:
        stamps: list[Stamp] = []

        def find_file() -> Path:
            found = _resume_from(target, request.runs)
            stamps.append(_stamp(found))
            return found

        checkpoint = shared_run.read_checkpoint(find_file, own, ranks)
        path = checkpoint.path
        saved, dataset = _what_to_go_on_with(checkpoint, layers)
        config = _config_on_resume(saved, layers)
        device, precision = device_and_precision(config, request.place, checkpoint)
        warn_of_threads(config, request, device)
        data = load_data(config.model_copy(update={"dataset": dataset}), request)

        def find() -> RunDirectory:
            run = rundir.RunDirectory(path.parent)
            if path.name == run.last.name and run.config.is_file():
                return run
            return rundir.create(request.runs, data.spec.name, config.model)

        shared_run.check_alike(config, precision, data, ranks, checkpoint)
        shared_run.check_parts(config, data, ranks.size, resumed=True)
        with shared_run.held(find, ranks) as run:
            with begun(run, ranks):
                if ranks.leads and run.path == path.parent:
                    _check_unchanged(path, stamps)
                session = Session(config, data, device, precision, run, checkpoint, ranks)
            return drive(session, request)


Stamp = tuple[int, int, int] | None


def _stamp(path: Path) -> Stamp:
    """What changes whenever a checkpoint is written: each is a file of its own, moved there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _check_unchanged(path: Path, stamps: list[Stamp]) -> None:
    """Refuse to go on from what another process, whose lock has just gone, has overtaken.

    Raises:
        OutputError: the file is no longer the one that was read.
    """
    if _stamp(path) not in stamps:
        raise OutputError(
            f"{path} was written by another process after it was read here",
            "That process has ended now: resume again.",
        )


def _what_to_go_on_with(
    checkpoint: Checkpoint, layers: list[configs.Layer]
) -> tuple[TrainConfig, str]:
    """The configuration of a checkpoint that can be resumed, and the data set to go on with.

    That is the one that was trained on, even where `auto` would choose another one now; the
    user's own may have been moved, and their fingerprint tells whether they are the same.
    """
    path = checkpoint.path
    if checkpoint.changes:
        raise CheckpointError(
            f"{path} was trained by other code, so resumed it would not end with the same bits: "
            + "; ".join(checkpoint.changes),
            "Bring back the source of then, or train anew. It can be evaluated: mnist eval.",
        )
    if checkpoint.config is None or checkpoint.data is None:
        raise CheckpointError(
            f"{path} is another program's state_dict: it holds weights, but nothing to resume from",
            "It can be evaluated: mnist eval.",
        )
    dataset, moved = checkpoint.data.name, _named("dataset", layers)
    if is_own_data(dataset) and is_own_data(moved):
        return checkpoint.config.model_copy(update={"dataset": moved}), moved
    return checkpoint.config, dataset


def _named(key: str, layers: list[configs.Layer]) -> str:
    """What the last layer that names ``key`` says; empty where none does."""
    return next((str(one.values[key]) for one in reversed(layers) if key in one.values), "")


def _resume_from(target: Path, runs: Path) -> Path:
    """The file to go on from: of a run, ``last.pt``."""
    from mnist_cli.runs import directory as rundir

    folder = rundir.find_run(target, runs)
    if folder is None:
        return target
    path = folder / "last.pt"
    if path.is_file():
        return path
    raise CheckpointError(f"the run {folder} has no last.pt to resume from")


def _config_on_resume(saved: TrainConfig, layers: list[configs.Layer]) -> TrainConfig:
    """The checkpoint's configuration with what may change; anything else is refused."""
    from mnist_cli.config import schema as configs

    wanted = configs.compose([configs.Layer(saved.to_plain(), {}), *layers])
    free = FREE_ON_RESUME | ({"epochs"} if saved.schedule in {"constant", "step"} else set())
    given = {key: layer.origin[key] for layer in layers for key in layer.values}
    for key, place in given.items():
        then, now = getattr(saved, key), getattr(wanted, key)
        if key not in free and then != now:
            raise UsageError(
                f"{place}: a resumed run keeps {key} = {then}; another value would change "
                "what the result means",
                f"Leave it out, or train anew. What may change: {', '.join(sorted(free))}.",
            )
    return wanted
