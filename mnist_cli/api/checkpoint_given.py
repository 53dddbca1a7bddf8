"""Opens a trained network by path, number or name, for the commands and for calls."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.api.cautions import caution
from mnist_cli.api.places import named_path
from mnist_cli.api.run_folder import RunFolder, network_of, target_of
from mnist_cli.config import choices, normalisations
from mnist_cli.config.names import EXAMPLE, ModelName
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.errors import UsageError
from mnist_cli.runs.directory import find_checkpoint

if TYPE_CHECKING:
    from mnist_cli.inference.opened import DataSource, OpenCheckpoint


def open_target(
    target: Path | None,
    runs: Path,
    *,
    network: ModelName | None,
    device: str | None,
    precision: str | None,
    source: DataSource | None,
    normalise: MeanStd | None,
) -> OpenCheckpoint:
    """Open a checkpoint on a device.

    Args:
        target: a checkpoint, a run directory or a run's number; None is the newest run.
        runs: folder of the run directories.
        network: the network's name; a Python file of the user's is executed.
        device: None is ``auto``.
        precision: None is the run's; fp32 for another program's weights.
        source: of the images, if a data set is used.
        normalise: None is the normalisation that is known.

    Raises:
        UsageError: the device is not available.
        CheckpointError: missing, damaged, hostile, or of another network.
    """
    path = find_checkpoint(target, runs)  # before torch is imported
    from mnist_cli.checkpoints.checkpoint import read
    from mnist_cli.data.split import Normalisation
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.inference.opened import OpenCheckpoint

    where = resolve_device(device or "auto")
    normalised = None if normalise is None else Normalisation(*normalise)
    return OpenCheckpoint(read(path, network), where, precision, source, normalised)


def unfinished(path: Path) -> list[str]:
    """A sentence that says so if a checkpoint is of a run that has not ended; else nothing."""
    from mnist_cli.runs.listing import RUNNING, UNFINISHED, read_run

    if not (path.parent / "config.toml").is_file():
        return []
    run = read_run(path.parent)
    if run.state not in (RUNNING, UNFINISHED):
        return []
    done = "" if run.planned is None else f": {run.epochs or 0} of {run.planned} epochs"
    return [f"{run.path} is {'still running' if run.state == RUNNING else 'unfinished'}{done}"]


def check_given(what: Any, runs: str | os.PathLike[str]) -> None:
    """Refuse a missing checkpoint before torch is imported; a possible module passes.

    Raises:
        UsageError: ``what`` is of another type.
        CheckpointError: there is no such checkpoint.
    """
    if "torch" not in sys.modules:
        find_checkpoint(None if what is None else target_of(what), named_path(runs))


def open_given(
    what: RunFolder | str | os.PathLike[str] | int | None,
    *,
    runs: str | os.PathLike[str],
    network: object,
    device: str | None,
    precision: str | None,
    normalise: object,
    source: DataSource | None = None,
) -> OpenCheckpoint:
    """As :func:`open_target`, from the arguments of a call; warns of what was guessed.

    Args:
        what: a run, a path, a number or a name; None is the newest run.
        runs: folder of the run directories.
        network: the network's name, or a class in a file; None is what ``what`` knows.
        device: None is ``auto``.
        precision: None is the run's; fp32 for another program's weights.
        normalise: a name, or a mean and a standard deviation; None is the normalisation that is known.
        source: of the images, if a data set is used.

    Raises:
        UsageError: an argument is not of its type, or names nothing.
        CheckpointError: as for :func:`open_target`.
    """
    named: Any = network_of(what) if network is None else network
    if device is not None:
        choices.check_device(device := str(device).lower())
    if precision is not None:
        choices.check_precision(precision := str(precision).lower())
    with saying_how(f"network='{EXAMPLE}'"):
        opened = open_target(
            None if what is None else target_of(what),
            named_path(runs),
            network=None if named is None else network_name(named),
            device=device,
            precision=precision,
            source=source,
            normalise=normalisation_given(normalise),
        )
    for text in opened.warnings:
        caution(text)
    return opened


def network_name(network: object) -> ModelName:
    """The network's name, from a text or from a class in a file.

    Raises:
        UsageError: no network has the name, or the class is not in a file of its own.
    """
    if isinstance(network, type):
        return class_name(network)
    if not isinstance(network, str):
        raise UsageError(
            f"{network!r:.60} is not a network",
            f"Give a name, such as 'conv2' or '{EXAMPLE}', or a class.",
        )
    name = choices.plain_model(ModelName.typed(network))
    if not choices.is_known_model(name):
        raise UsageError(*choices.unknown_model(name))
    return name


def class_name(network: type) -> ModelName:
    """The name ``path/net.py:Net`` of a class: later processes build the network from its file.

    Raises:
        UsageError: the class is not a module, or was not defined at the top of a file.
    """
    from torch import nn

    label = network.__qualname__
    if not issubclass(network, nn.Module):
        raise UsageError(
            f"{label} is not a subclass of torch.nn.Module",
            "Derive it from torch.nn.Module, or give a network's name.",
        )
    file = getattr(sys.modules.get(network.__module__), "__file__", None)
    home = sys.modules.get(network.__module__)
    if not file or not file.endswith(".py") or getattr(home, label, None) is not network:
        raise UsageError(
            f"{label} is not a class at the top of a Python file, so no later process could build "
            "it to resume or evaluate the run",
            f"Write it to a file, in a notebook with %%writefile net.py, and name it: "
            f"'net.py:{network.__name__}'.",
        )
    return ModelName.typed(f"{file}:{label}")


def normalisation_given(normalise: object) -> MeanStd | None:
    """The normalisation that ``mnist``, ``none``, ``half``, or a mean and a standard deviation name.

    Raises:
        UsageError: it is neither.
    """
    if normalise is None:
        return None
    if isinstance(normalise, str):
        return normalisations.parse(normalise)
    try:
        mean, std = (float(one) for one in normalise)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return normalisations.parse(str(normalise))
    return normalisations.checked(mean, std)


@contextlib.contextmanager
def saying_how(example: str) -> Iterator[None]:
    """Say by an example how to name the network of a checkpoint, if the user must."""
    from mnist_cli.checkpoints.checkpoint import OwnNetworkError

    try:
        yield
    except OwnNetworkError as error:
        error.hint = f"The program runs no file named by a checkpoint. Name it: {example}."
        raise
