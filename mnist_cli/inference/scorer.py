"""A network with everything that its results on images depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation, Split
from mnist_cli.devices.device import Precision, compute_settings
from mnist_cli.errors import NonFiniteError
from mnist_cli.networks.ensemble import vote
from mnist_cli.training import scoring

Forms = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
"""Images in MNIST's form (N, 28, 28): 0 is black, 255 is white."""


@dataclass(frozen=True)
class Scorer:
    """A network on its device, and how it computes.

    Attributes:
        model: the network, or the ensemble.
        device: where it is.
        normalisation: of every image.
        precision: of the network.
        batch_size: images per batch, unless a call sets another number.
        name: of the network, for messages.
    """

    model: nn.Module
    device: torch.device
    normalisation: Normalisation
    precision: Precision
    batch_size: int
    name: str

    def log_probabilities(
        self, split: Split, *, batch_size: int | None = None, option: str = ""
    ) -> Tensor:
        """Log-probabilities (M, N, classes), float32 on the CPU, of each of M networks that vote.

        Args:
            split: N images.
            batch_size: images per batch; None is :attr:`batch_size`.
            option: the user's option for the batch size, if any, for the message about memory.

        Raises:
            NonFiniteError: the network's outputs are not finite.
            OutOfMemory: the device has too little memory.
        """
        with compute_settings(self.device):
            scores = scoring.predict(
                self.model,
                split.to(self.device),
                self.normalisation,
                batch_size=batch_size or self.batch_size,
                precision=self.precision,
                option=option,
                by_member=True,
            )
        wrong = int((~scores.isfinite().all(dim=2).all(dim=0)).sum())
        if wrong:
            other = "" if self.precision.name == "fp32" else "Try precision fp32; "
            raise NonFiniteError(
                f"{self.name}: the network's outputs for {wrong:,} of {len(split):,} images are "
                "not finite",
                f"{other}`mnist inspect-grad` shows where it begins.",
            )
        return scores

    def probabilities(self, forms: Forms) -> Tensor:
        """Probabilities (N, classes), float64 on the CPU, of the vote on images (N, 28, 28).

        Raises:
            MnistError: as :meth:`log_probabilities`.
        """
        split = Split.of("pictures", forms, np.zeros(len(forms), dtype=np.int64))
        return vote(self.log_probabilities(split)).double().softmax(1)

    def evaluate(
        self,
        split: Split,
        classes: tuple[str, ...],
        *,
        batch_size: int | None = None,
        option: str = "",
    ) -> scoring.Evaluation:
        """All results on a split. Arguments and errors are those of :meth:`log_probabilities`."""
        scores = self.log_probabilities(split, batch_size=batch_size, option=option)
        return scoring.evaluate(scores, split, classes)
