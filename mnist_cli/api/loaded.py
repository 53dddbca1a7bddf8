"""A trained network as a module that takes images as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cli.checkpoints.weight_check import dtype_name
from mnist_cli.config.normalisations import in_words
from mnist_cli.devices.device import Precision
from mnist_cli.errors import UsageError
from mnist_cli.networks.ensemble import Ensemble, vote

if TYPE_CHECKING:
    from mnist_cli.inference.opened import OpenCheckpoint

LARGEST = 2.0
"""Beyond this, values are not images from 0 to 1; an experiment may leave the range a little."""


class Classifier(nn.Module):
    """A trained network with its normalisation and its precision.

    It maps images (N, 1, 28, 28) to log-probabilities (N, classes), float32. The images are light
    on dark: uint8 from 0 to 255, or floating point from 0 to 1, as torchvision's ``ToTensor``
    gives them, without ``Normalize``. On the same device and with the same batches, the
    log-probabilities equal those of ``mnist eval`` and ``mnist predict`` bit for bit.

    Its ``state_dict`` holds the network's weights alone. It can be copied and pickled, trained
    further, moved to another device, and given to :func:`mnist_cli.evaluate`,
    :func:`mnist_cli.predict` and :func:`mnist_cli.inspect`.

    Attributes:
        network: the network itself, which takes normalised images.
        classes: names of the classes.
        normalisation: mean and standard deviation of the training, as fractions of 255.
        precision: ``fp32``, ``bf16`` or ``fp16``: what the network computes in.
        dataset: name of the data set of the training; ``auto`` if the file does not state it.
        path: the checkpoint's file.
        whole_pictures: whether pictures are not cropped, since the training images were not.
        notes: sentences on how another program's file was read.
    """

    def __init__(self, opened: OpenCheckpoint) -> None:
        super().__init__()
        data = opened.checkpoint.data
        self.network = opened.model
        self.classes = opened.classes
        self.normalisation = opened.normalisation
        self.precision = opened.precision.name
        self.dataset = data.name if data is not None else "auto"
        self.path = opened.path
        self.whole_pictures = opened.whole_pictures
        self.notes = opened.checkpoint.notes

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to log-probabilities (N, classes), float32.

        Raises:
            UsageError: no tensor, images of another shape or type, or far beyond 0 to 1.
        """
        if not isinstance(images, Tensor):
            raise UsageError(
                f"the images are a {type(images).__name__}, not a tensor",
                "Convert an array with torch.from_numpy; mnist_cli.predict takes pictures.",
            )
        with Precision(self.precision, images.device.type).autocast():
            normalised = self.normalisation(self._levels(images))
            if isinstance(self.network, Ensemble):
                return vote(F.log_softmax(self.network.scores(normalised).float(), dim=2))
            scores = self.network(normalised)
        return F.log_softmax(scores.float(), dim=1)

    def _levels(self, images: Tensor) -> Tensor:
        """The images as new tensors of floating-point levels from 0 to 255."""
        if images.ndim != 4 or images.shape[1:] != (1, 28, 28):
            raise UsageError(
                f"the images have the shape {tuple(images.shape)}, not (N, 1, 28, 28)",
                "For N images of 28×28, use images.reshape(-1, 1, 28, 28).",
            )
        weights = next((p for p in self.parameters() if p.is_floating_point()), None)
        kind = torch.float32 if weights is None else weights.dtype
        if images.dtype == torch.uint8:
            return images.to(kind)
        if not images.is_floating_point():
            raise UsageError(
                f"the images are {dtype_name(images)}, neither uint8 nor floating point",
                "Give levels from 0 to 255 as uint8: images.to(torch.uint8).",
            )
        if not torch.compiler.is_compiling() and images.numel():
            _check_range(images)
        return images.to(kind) * 255

    def extra_repr(self) -> str:
        """The normalisation and the precision, for ``repr``."""
        scaled = in_words(self.normalisation.mean, self.normalisation.std)
        return f"images from 0 to 1, normalised with {scaled}, computed in {self.precision}"


def _check_range(images: Tensor) -> None:
    low, high = (float(one) for one in images.detach().aminmax())
    if high > LARGEST or low < -LARGEST:
        raise UsageError(
            f"the images have values from {low:.4g} to {high:.4g}, not from 0 to 1",
            "Divide levels of 0 to 255 by 255, and do not normalise: the network does.",
        )
