"""A checkpoint opened for use: its network, its data, and how it computes.

Every command that uses a trained network begins here. Each part is made when it is first read, so
a command pays only for the parts that it uses. This module prints nothing: messages for the user
are in :attr:`OpenCheckpoint.warnings`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from mnist_cli import catalogue
from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.names import is_own_data
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.load import LoadedData, load
from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import Precision, resolve_precision
from mnist_cli.inference.pixel_scale import PixelScale, known_scale
from mnist_cli.inference.run_data import (
    SplitOfRun,
    check_classes,
    choose_split,
    data_warnings,
    trained_on,
)
from mnist_cli.inference.scorer import Scorer
from mnist_cli.networks.ensemble import first_member
from mnist_cli.runs.directory import RunDirectory

LIGHT, DARK = "light", "dark"


@dataclass(frozen=True)
class DataSource:
    """Which data set to use, and where it is.

    Attributes:
        folder: folder of the data sets.
        name: name of the data set, or a path to the user's own; None is the data set that the
            network was trained on.
        download: whether missing files may be downloaded.
        notify: called with a line of text before a step that takes long.
    """

    folder: Path
    name: str | None = None
    download: bool = True
    notify: Callable[[str], None] | None = None


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint on a device, with its network and its data.

    Attributes:
        checkpoint: the contents of the file.
        device: where the network computes.
        precision_name: None is the precision that the network was trained in, or fp32 for another
            program's weights.
        source: of the images; None if no data set is used.
        normalised: the requested normalisation; None is the known one.
    """

    checkpoint: Checkpoint
    device: torch.device
    precision_name: str | None = None
    source: DataSource | None = None
    normalised: Normalisation | None = None

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.checkpoint.path

    @property
    def label(self) -> str:
        """The network's name, without the folder of a user's own file."""
        return self.checkpoint.model.label

    @property
    def name(self) -> str:
        """The name in titles of pictures: the run's, or the file's if it belongs to no run."""
        return title_name(self.path)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages for the user about the network's source, and about data once they are loaded."""
        messages = []
        if self.checkpoint.changes:
            changes = "; ".join(self.checkpoint.changes)
            messages.append(
                f"the code of {self.path} has changed, but its weights still fit: {changes}"
            )
        if self.normalised is not None and (text := self.scale.contradiction(self.path)):
            messages.append(text)
        if "data" in vars(self):
            messages += data_warnings(self.checkpoint, self.data)
        return tuple(messages)

    @cached_property
    def model(self) -> nn.Module:
        """The network or the ensemble, on the device, in evaluation mode."""
        return self.checkpoint.build_model().to(self.device)

    @cached_property
    def network(self) -> nn.Module:
        """The network to inspect, on the device; for an ensemble, its first member."""
        return first_member(self.model).eval()

    @cached_property
    def precision(self) -> Precision:
        """The requested precision, or else the run's, so that results have the same bits.

        Another program's weights are computed in fp32, the default of other programs. A run in
        fp16, which is for GPUs, is evaluated on a CPU in the best precision of that CPU.

        Raises:
            DeviceError: the requested precision is not available.
        """
        name = self.precision_name or self.checkpoint.precision or "fp32"
        if self.precision_name is None and name == "fp16" and self.device.type == "cpu":
            name = "auto"
        return resolve_precision(name, self.device)

    @property
    def batch_size(self) -> int:
        """Images per batch in evaluation, as in the run."""
        return (self.checkpoint.config or TrainConfig()).eval_batch_size

    @cached_property
    def data(self) -> LoadedData:
        """The data set, on the CPU.

        Raises:
            DataError: the data set is not available, or is damaged.
            CheckpointError: it has another number of classes than the network.
        """
        assert self.source is not None, "opened without a data set"
        trained_on = self.checkpoint.data.name if self.checkpoint.data else "auto"
        data = load(
            self.source.name or trained_on,
            self.source.folder,
            download=self.source.download,
            say=self.source.notify,
            whole=False,
        )
        check_classes(self.checkpoint, data)
        return data

    def split(self, name: SplitOfRun) -> Split:
        """The images of ``test``, ``val`` or ``train``; the last two as the run divided them.

        Without a run on this data set, ``train`` is the whole training set.

        Raises:
            UsageError: ``val``, but there is no validation set.
            DataError, CheckpointError: as for :attr:`data`.
        """
        data, config = self.data, self.checkpoint.config
        if name != "test" and not trained_on(self.checkpoint, data):
            config = None
        return choose_split(name, data, config)

    def files(self, split: str) -> Sequence[str]:
        """File names of a split's images, by their numbers; empty unless each image has a file."""
        config = self.checkpoint.config
        own_val = self.data.val is not None and (config is None or config.val_size is None)
        return self.data.files.get(split if split == "test" or own_val else "train", ())

    @cached_property
    def scale(self) -> PixelScale:
        """The normalisation of every image, and its origin.

        It is the requested one; else the known one of the training; else, for another program's
        weights, the data set's, or MNIST's without a data set.

        Raises:
            UsageError: the normalisation in the class of a user's own network is invalid.
            DataError, CheckpointError: as for :attr:`data`.
        """
        known = known_scale(self.checkpoint)
        if self.normalised is not None:
            return PixelScale(self.normalised, "asked", known=known)
        if known is not None:
            return known
        spec = self.data.spec if self.source is not None else catalogue.get("mnist")
        return PixelScale(Normalisation(spec.mean, spec.std), "dataset", spec.title)

    @property
    def scale_used(self) -> PixelScale | None:
        """The normalisation, if it has been read; some plots need neither images nor data."""
        return self.scale if "scale" in vars(self) else None

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation of every image, from :attr:`scale`."""
        return self.scale.values

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; for another program's weights, the data set's names, or numbers."""
        if self.checkpoint.data is not None:
            return self.checkpoint.data.classes
        if self.source is not None:
            return self.data.spec.classes
        return tuple(map(str, range(self.checkpoint.classes)))

    @property
    def on_own_data(self) -> bool:
        """Whether the network was trained on the user's own images, which may not be digits."""
        return self.checkpoint.data is not None and is_own_data(self.checkpoint.data.name)

    @property
    def whole_pictures(self) -> bool:
        """Whether pictures are not cropped: the user's training images were not in MNIST's form."""
        data = self.checkpoint.data
        return data is not None and self.on_own_data and not data.mnist_form

    @property
    def ground(self) -> str | None:
        """Whether the training images are mostly light or dark; None if in MNIST's form."""
        if self.checkpoint.data is None or not self.whole_pictures:
            return None
        data = self.checkpoint.data
        return LIGHT if (data.mean if data.brightness is None else data.brightness) > 0.5 else DARK

    @property
    def scorer(self) -> Scorer:
        """The network with everything that its results depend on."""
        return Scorer(
            self.model,
            self.device,
            self.normalisation,
            self.precision,
            self.batch_size,
            str(self.path),
        )


def title_name(path: Path) -> str:
    """A checkpoint's name in titles of pictures: its run's, or the file's if it has no run."""
    parent = path.resolve().parent
    return parent.name if RunDirectory(parent).metrics.is_file() else path.name
