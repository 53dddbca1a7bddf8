"""A run that several processes share: what each does to be one of them, and how they are started.

Where one process trains alone, nothing here does more than look.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli import __version__
from mnist_cli.base.process import abandon_stdout, leave
from mnist_cli.base.signals import Termination
from mnist_cli.config.names import is_own_network, label
from mnist_cli.errors import Interrupted, MnistError, RankError, Terminated, UsageError
from mnist_cli.training.expected_errors import expected

if TYPE_CHECKING:
    import torch

    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.data.load import LoadedData
    from mnist_cli.devices.device import Precision
    from mnist_cli.runs.directory import RunDirectory
    from mnist_cli.training.distributed.rank_environment import Place
    from mnist_cli.training.ranks import Ranks

OWN = frozenset({"device", "threads", "workers"})
"""Keys of the configuration in which ranks may differ."""


def check_ranks(config: TrainConfig, size: int) -> None:
    """Refuse what so many ranks cannot train together.

    Raises:
        UsageError: with the reason.
    """
    if size == 1:
        return
    if config.ensemble > 1:
        raise UsageError(
            f"an ensemble of {config.ensemble} is trained by one process, not by {size} ranks",
            "Leave out --ensemble, or train it on one device.",
        )
    if config.compile:
        raise UsageError(
            f"--compile is for one process, not for {size} ranks, which talk in the middle of a step",
            "Leave it out, or train with one process.",
        )
    if config.batch_size % size:
        whole = config.batch_size // size * size
        raise UsageError(
            f"batch_size {config.batch_size} cannot be shared evenly by {size} ranks",
            f"Take a multiple of {size}, as {max(whole, size)}: it is all ranks' together.",
        )


def check_parts(config: TrainConfig, data: LoadedData, size: int, *, resumed: bool) -> None:
    """Refuse a network of the user's own that fails on no images, where a rank would get none.

    Raises:
        UsageError: with the network's own failure.
    """
    from mnist_cli.data.loader import last_batch
    from mnist_cli.data.split import training_size

    images = training_size(config.train_size, config.val_size, len(data.train))
    left = last_batch(config, images)
    if left >= size or not is_own_network(config.model):
        return
    from mnist_cli.networks import own_network

    try:
        own_network.try_on_none(config.model, len(data.spec.classes))
    except UsageError as error:
        error.message = (
            f"the last batch of an epoch has {left} images for {size} ranks, so that a rank has "
            f"none, and {error.message}"
        )
        fewer = f"at most {left} ranks" if left > 1 else "one process"
        dropped = "leave that batch out (--set drop_last=true), or " if images > left else ""
        error.hint = (
            f"Resume with {fewer}."
            if resumed
            else f"Train with {fewer}, or {dropped}take another batch_size or train_size."
        )
        raise


def launch(arguments: Sequence[str], ranks: int, config: TrainConfig | None) -> None:
    """Start the ranks, each with these arguments, and wait for their end.

    What their configuration forbids is said before, where it is known: a resumed run's is not.

    Raises:
        MnistError: why they failed or stopped.
    """
    from mnist_cli.training.distributed.rank_environment import check_system

    check_system()
    if config is not None:
        check_ranks(config, ranks)
    from mnist_cli.training.distributed.launch import launch

    launch(arguments, ranks)


@contextlib.contextmanager
def as_rank(place: Place | None) -> Iterator[None]:
    """Be quiet where another rank speaks, and leave a failure where the launcher looks for it.

    The process of a rank ends here, unless it is to say what failed.
    """
    if place is None:
        yield
        return
    from mnist_cli.training.distributed import failures

    # torch is imported below: of what it would warn in its words, we tell what matters in ours
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    launched, speaks = bool(place.folder), place.rank == 0
    if not speaks:
        _be_quiet()
    try:
        yield
        leave(0)
    except KeyboardInterrupt as stop:  # before or after training: the launcher got the signal too
        if not launched and speaks:
            raise
        leave(Terminated.code if isinstance(stop, Termination) else Interrupted.code)
    except BrokenPipeError:  # whoever read us has gone: no failure
        if not launched:
            raise
        abandon_stdout()
        leave(0)
    except (Exception, SystemExit) as error:  # a network of the user's own may call sys.exit()
        if known := expected(error):
            told = failures.write(known)
            if told and (launched or not speaks):
                leave(known.code)
            sys.stderr = sys.__stderr__
            known.message = known.message if speaks else f"rank {place.rank}: {known.message}"
            raise
        sys.stderr = sys.__stderr__
        if failures.write(error) and launched:
            import traceback

            traceback.print_exc()
            leave(MnistError.code)
        raise


def _be_quiet() -> None:
    """Print nothing more, on either stream."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stderr = nowhere


@contextlib.contextmanager
def joined(place: Place | None, patience: float) -> Iterator[Ranks]:
    """The ranks that share the run: this process alone where it has no place among any."""
    if place is None:
        from mnist_cli.training.ranks import ALONE

        yield ALONE
        return
    from mnist_cli.training.distributed.group import joined

    with joined(place, patience) as group:
        yield group


def resolve_device(name: str, place: Place | None) -> torch.device:
    """The device that ``name`` means here: for one of several ranks, its own."""
    if place is None:
        from mnist_cli.devices.device import resolve_device

        return resolve_device(name)
    from mnist_cli.training.distributed.group import device_of

    return device_of(name, place)


def read_checkpoint(find: Callable[[], Path], model: str | None, ranks: Ranks) -> Checkpoint:
    """The checkpoint that the leading rank finds, on every rank, wherever it runs.

    ``model`` is the user's own network, where one is named.
    """
    from mnist_cli.checkpoints import checkpoint as checkpoints

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


@contextlib.contextmanager
def held(find: Callable[[], RunDirectory], ranks: Ranks) -> Iterator[RunDirectory]:
    """The run directory that the leading rank finds or makes, and holds; others know its path."""
    from mnist_cli.runs.directory import RunDirectory

    if not ranks.leads:
        yield RunDirectory(Path(os.fsdecode(ranks.share())))
        return
    run = find()
    with run.locked():
        ranks.share(os.fsencode(run.path))
        yield run


def check_alike(
    config: TrainConfig,
    precision: Precision,
    data: LoadedData,
    ranks: Ranks,
    checkpoint: Checkpoint | None = None,
) -> None:
    """See to it that every rank trains the same network on the same data, from the same place.

    Raises:
        UsageError: this rank would do otherwise than the leading one.
        RankError: another would.
    """
    if ranks.size == 1:
        return
    mine = _identity(config, precision, data, checkpoint)
    theirs = json.loads(ranks.share(json.dumps(mine).encode()))
    differences = [
        f"{key} is {mine.get(key)} here and {theirs.get(key)} there"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]
    elsewhere = ranks.agree(int(bool(differences)))
    if differences:
        raise UsageError(
            f"rank {ranks.rank} would train otherwise than rank 0: {'; '.join(differences)}",
            "Give all ranks the same flags, data and versions.",
        )
    if elsewhere:
        raise RankError("another rank would train otherwise than this one, and says in what")


def _identity(
    config: TrainConfig, precision: Precision, data: LoadedData, checkpoint: Checkpoint | None
) -> dict[str, Any]:
    """What must be the same on every rank, as JSON holds it."""
    import torch

    same = {key: value for key, value in config.to_plain().items() if key not in OWN}
    if is_own_network(config.model):
        from mnist_cli.networks import own_network

        recorded = own_network.provenance(config.model)
        same |= {key: value for key, value in recorded.items() if key != "path"}
        same["model"] = label(config.model)
    same |= {"kind of device": precision.device_type, "precision": precision.name}
    same |= {"data": data.fingerprint, "torch": torch.__version__, "mnist_cli": __version__}
    same["position"] = None if checkpoint is None else checkpoint.document["position"]
    plain: dict[str, Any] = json.loads(json.dumps(same))
    return plain


def resuming(place: Place | None) -> str:
    """The command that resumes a run, up to the run."""
    return f"{place.command if place else 'mnist train'} --resume"


def tell_launcher(resume: str, place: Place | None) -> None:
    """Let ``mnist train --nproc`` know how the run is resumed."""
    if place is not None:
        place.write_resume(resume)
