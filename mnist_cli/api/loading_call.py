"""Loads a checkpoint or a run: ``mnist.load``. Imports no torch until it is called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mnist_cli.api.checkpoint_given import check_given, open_given
from mnist_cli.api.places import RUNS
from mnist_cli.api.run_folder import RunFolder
from mnist_cli.api.surroundings import briefly, undisturbed

if TYPE_CHECKING:
    from torch import nn

    from mnist_cli.api.loaded import Classifier


@briefly
def load(
    what: RunFolder | str | os.PathLike[str] | int | None = None,
    *,
    network: str | type[nn.Module] | None = None,
    device: str = "cpu",
    precision: str | None = None,
    normalise: str | tuple[float, float] | None = None,
    runs: str | os.PathLike[str] = RUNS,
) -> Classifier:
    """Load a trained network as a module, in evaluation mode.

    Args:
        what: a :class:`Run`, the path of a run or a checkpoint, or a run's number or name; None
            is the newest run. Other programs' files of weights are read too.
        network: the network's name, if the file does not state it. A class in your own file must
            be named, such as ``net.py:Net``: no file that a checkpoint names is ever run.
        device: where to put the network: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``.
        precision: ``fp32``, ``bf16`` or ``fp16``; None is the training's precision, or fp32 for
            another program's weights.
        normalise: mean and standard deviation as fractions of 255, or ``mnist``, ``none`` or
            ``half``; None is the training's normalisation if known, or else MNIST's.
        runs: folder of the run directories, for numbers and names.

    Raises:
        CheckpointError: no such checkpoint, or it is damaged, hostile or of another network.
        UsageError: an argument is wrong, or the device is not available.
    """
    check_given(what, runs)
    with undisturbed():
        opened = open_given(
            what,
            runs=runs,
            network=network,
            device=device,
            precision=precision,
            normalise=normalise,
        )
        from mnist_cli.api.loaded import Classifier

        return Classifier(opened).eval()
