"""Resumes a run: which keys may change, and what is refused."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from mnist_cli.base.files import is_there
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.names import ModelName, is_own_data
from mnist_cli.config.schema import Layer, TrainConfig, compose
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.runs import directory
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.listing import command_on, read_run, way_on
from mnist_cli.training import rank_agreement
from mnist_cli.training.run import RunRequest, compute_for, load_data, session_in
from mnist_cli.training.session import Session

FREE_ON_RESUME = frozenset(
    {
        *("device", "threads", "workers", "cuda_graph"),
        *("checkpoint_every", "log_every"),
        *("early_stopping", "target_accuracy", "max_steps", "max_time"),
    }
)
"""Keys that may change when a run is resumed: where it computes and when it stops."""


@contextlib.contextmanager
def resume(target: Path | None, layers: Sequence[Layer], request: RunRequest) -> Iterator[Session]:
    """A session that continues a run from its last checkpoint, or a file in a new directory.

    Args:
        target: a run, its number, or a checkpoint; None is the newest unfinished run.
        layers: the options of this run; they may change the keys of :data:`FREE_ON_RESUME`.
        request: what to do with the run.

    Raises:
        CheckpointError: no checkpoint can be resumed there.
        UsageError: ``layers`` would change the meaning of the result.
        OutputError: another process is writing the run.
    """
    with rank_agreement.joined(request.place, request.patience) as ranks, ExitStack() as held:

        def find_file() -> Path:
            path = _file_of(target, request.runs)
            if run := _run_of(path):  # lock it before reading, against other writers
                held.enter_context(run.locked())
            return path

        named = ModelName(_named("model", layers))
        own = named if named.is_own else None
        checkpoint = rank_agreement.shared_checkpoint(find_file, own, ranks)
        config = _configuration(checkpoint, layers)
        rank_agreement.check_ranks(config, request.place)
        compute = compute_for(config, ranks, request.place, checkpoint.environment["precision"])
        assert checkpoint.data is not None
        # The data set of the training, even if auto would now choose another one. Data of the
        # user's own may have been moved; their fingerprint shows whether they are the same.
        own_data = is_own_data(config.dataset)
        data = load_data(config.dataset if own_data else checkpoint.data.name, request)

        def find_run() -> RunDirectory:
            run = _run_of(checkpoint.path)
            if run is None:
                run = directory.create(request.runs, data.spec.name, config.model)
                held.enter_context(run.locked())
            return run

        with session_in(find_run, config, data, compute, checkpoint) as session:
            session.recipe = str(read_run(session.run.path).environment.get("recipe", ""))
            judged = any(one.val for one in session.state.history[: session.state.epoch])
            best = session.run.best.is_file() or session.state.at_best
            session.lacks_best = judged and not best
            yield session


def _file_of(target: Path | None, runs: Path) -> Path:
    """The file to resume from; for a run, its ``last.pt``."""
    if target is None:
        return _newest_unfinished(runs).last
    folder = directory.find_run(target, runs)
    if folder is None and not is_there(target):
        raise CheckpointError(f"no checkpoint or run {target}", directory.known_runs(runs))
    if folder is None:
        return target
    run = RunDirectory(folder)
    if run.last.is_file():
        return run.last
    raise CheckpointError(
        f"the run {folder} has no last.pt to resume from",
        f"Name its best checkpoint: {shlex.quote(str(run.best))}"
        if run.best.is_file()
        else "Name another run, or the file of a checkpoint.",
    )


def _newest_unfinished(runs: Path) -> RunDirectory:
    """The newest run that is not finished.

    Raises:
        CheckpointError: there is none; if the newest run stopped early, the hint has the command that
            continues it.
    """
    try:
        return directory.newest_unfinished(runs)
    except CheckpointError as error:
        newest = next((run for run in directory.numbered(runs) if run.last.is_file()), None)
        record = read_run(newest.path) if newest is not None else None
        if record is not None and record.stop_reason:
            error.hint = (
                f"The newest, {record.path}, has stopped early: {record.stop_reason}. Continue it "
                f"with: {way_on(record.path, record.config)}"
            )
        raise


def _run_of(path: Path) -> RunDirectory | None:
    """The run that has this file as its last checkpoint; it is continued in place."""
    run = RunDirectory(path.parent)
    return run if path.name == run.last.name and run.config.is_file() else None


def _named(key: str, layers: Sequence[Layer]) -> str:
    """The value of ``key`` in the last layer that has it; empty if none does."""
    return next((str(one.values[key]) for one in reversed(layers) if key in one.values), "")


def _configuration(checkpoint: Checkpoint, layers: Sequence[Layer]) -> TrainConfig:
    """The checkpoint's configuration with the keys that may change.

    Raises:
        CheckpointError: it cannot be resumed.
        UsageError: a layer changes another key.
    """
    path = checkpoint.path
    if checkpoint.changes:
        raise CheckpointError(
            f"{path} was trained by other code, so a resumed run would not end with the same bits: "
            + "; ".join(checkpoint.changes),
            "Restore the source, or train a new run. The checkpoint can be evaluated: mnist eval.",
        )
    if checkpoint.config is None or checkpoint.data is None:
        raise CheckpointError(
            f"{path} is another program's state_dict: it holds weights, but nothing to resume from",
            "It can be evaluated (mnist eval), and a new run can start from it (mnist train --from).",
        )
    saved, moved = checkpoint.config, _named("dataset", layers)
    if is_own_data(checkpoint.data.name) and is_own_data(moved):
        saved = saved.model_copy(update={"dataset": moved})
    wanted = compose([Layer(saved.to_plain(), {}), *layers])
    free = FREE_ON_RESUME | ({"epochs"} if saved.schedule in {"constant", "step"} else set())
    given = {key: layer.origin[key] for layer in layers for key in layer.values}
    for key, place in given.items():
        then, now = getattr(saved, key), getattr(wanted, key)
        if key not in free and then != now:
            raise UsageError(
                f"{place}: a resumed run keeps {key} = {then}; another value would change "
                "the meaning of the result",
                "Omit it, or train a new run from these weights: "
                f"{command_on('train', '--from', checkpoint.path, model=saved.model)}. "
                f"Keys that may change: {', '.join(sorted(free))}.",
            )
    return wanted
