"""How the commands open a checkpoint, with the options that they share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.commands import early
from mnist_cli.config.names import EXAMPLE, ModelName
from mnist_cli.config.normalisations import MeanStd

if TYPE_CHECKING:
    from mnist_cli.inference.opened import DataSource, OpenCheckpoint


def open_checkpoint(
    target: Path | None,
    runs: Path,
    *,
    model: ModelName | None,
    device: str | None = None,
    precision: str | None = None,
    source: DataSource | None = None,
    quiet: bool = False,
    normalise: MeanStd | None = None,
) -> OpenCheckpoint:
    """Open the checkpoint that the options name, on the device that they name.

    Prints how another program's file was read.

    Args:
        target: a checkpoint, a run directory or a run's number; None is the newest run.
        runs: folder of the run directories.
        model: the network's name; a Python file of the user's is executed.
        device: None is ``auto``.
        precision: None is the run's; fp32 for another program's weights.
        source: of the images, if the command uses a data set.
        quiet: print nothing.
        normalise: None is the normalisation that is known.

    Raises:
        UsageError: the network or the device is not available.
        CheckpointError: missing, damaged, hostile, or of another network.
    """
    from mnist_cli.api.checkpoint_given import open_target, unfinished
    from mnist_cli.report.console import note

    early.check_choices(model=model)
    with naming_the_flag():
        opened = open_target(
            target,
            runs,
            network=model,
            device=device,
            precision=precision,
            source=source,
            normalise=normalise,
        )
    for text in () if quiet else (*opened.checkpoint.notes, *unfinished(opened.path)):
        note(text)
    return opened


def naming_the_flag() -> AbstractContextManager[None]:
    """Name the option in the hint if the user must name a checkpoint's network."""
    from mnist_cli.api.checkpoint_given import saying_how

    return saying_how(f"--model {EXAMPLE}")


def note_foreign(opened: OpenCheckpoint) -> None:
    """Say on stderr how another program's network is used, which its file may not say."""
    from mnist_cli.report.console import note

    if opened.checkpoint.foreign:
        note(
            f"another program's weights: images are normalised with {opened.scale.words}, "
            f"computed in {opened.precision.name}"
        )
