"""What needs no torch and is done before it is imported: checks of the command line, reading data.

Each check raises what the code that does the work would raise later.
"""

from __future__ import annotations

from pathlib import Path

from mnist_cli import catalogue
from mnist_cli.base.files import is_there
from mnist_cli.config import choices
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError, UsageError


def check_choices(
    device: str | None = None,
    model: ModelName | None = None,
    precision: str | None = None,
    dataset: str | None = None,
) -> None:
    """Refuse a device, network, precision or data set that no machine has; None is not given.

    Raises:
        DeviceError: no such device or precision.
        UsageError: no such network or data set.
        DataError: the file or folder of the user's own data does not exist.
    """
    if device is not None:
        choices.check_device(device)
    if model is not None and not choices.is_known_model(model):
        message, hint = choices.unknown_model(model)
        raise UsageError(f"--model: {message}", hint)
    if precision is not None:
        choices.check_precision(precision)
    if dataset is not None:
        check_dataset(dataset)


def check_dataset(name: str) -> None:
    """Refuse a data set that does not exist; whether its files are on disk is not asked.

    Raises:
        UsageError: no data set has this name.
        DataError: there is no file or folder of this path.
    """
    from mnist_cli.data.own_data import check_exists, path_of

    own = path_of(name)
    if own is not None:
        check_exists(own)
    elif name != "auto":
        catalogue.get(name)


def begin_reading(name: str, root: Path) -> None:
    """Read a known data set's training images in another thread, while torch is imported."""
    from mnist_cli.base.cores import usable_cores
    from mnist_cli.data import store
    from mnist_cli.data.own_data import path_of

    if usable_cores() > 1 and path_of(name) is None:
        store.begin_reading(catalogue.get("mnist" if name == "auto" else name), root)


def check_checkpoint(target: Path | None, runs: Path) -> None:
    """Refuse a checkpoint that does not exist.

    Raises:
        CheckpointError: there is none.
    """
    from mnist_cli.runs.directory import find_checkpoint

    find_checkpoint(target, runs)


def check_resumed(target: Path, runs: Path) -> None:
    """Refuse a run or checkpoint to resume that does not exist.

    Raises:
        CheckpointError: there is none.
    """
    from mnist_cli.runs.directory import find_run, known_runs

    try:
        found = find_run(target, runs) is not None or is_there(target)
    except OSError:
        return  # reading it says why
    if not found:
        raise CheckpointError(f"no checkpoint or run {target}", known_runs(runs))
