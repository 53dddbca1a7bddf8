"""A network that reads digits in MNIST's form, for the commands that show it pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mnist_cli.commands import provenance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor, nn

    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.data.split import Normalisation
    from mnist_cli.devices.device import Precision


@dataclass(frozen=True)
class Reader:
    """A checkpoint on a device; ``precision_name`` None is the one that it was trained in."""

    checkpoint: Checkpoint
    device: torch.device
    precision_name: str | None = None

    @cached_property
    def model(self) -> nn.Module:
        """The network, or all that vote, on the device."""
        return self.checkpoint.build_model().to(self.device)

    @cached_property
    def network(self) -> nn.Module:
        """The network to look into: of an ensemble its first member."""
        from mnist_cli.networks.ensemble import first_member

        return first_member(self.model).eval()

    @cached_property
    def precision(self) -> Precision:
        """How the network computes.

        Raises:
            DeviceError: the precision that was named is not available.
        """
        from mnist_cli.devices.device import resolve_precision

        name = provenance.precision_name(self.precision_name, self.checkpoint, self.device)
        return resolve_precision(name, self.device)

    @property
    def normalisation(self) -> Normalisation:
        """The one that the network was trained with; MNIST's for another program's."""
        return provenance.own_normalisation(self.checkpoint)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return provenance.class_names(self.checkpoint)

    def probabilities(self, forms: npt.NDArray[np.uint8]) -> Tensor:
        """Probabilities (N, classes), float64 on the CPU, of images (N, 28, 28).

        Computed as ``mnist eval`` does; of an ensemble they are those of its vote.

        Raises:
            NonFiniteError: the network's answers are not finite.
            DeviceError: the precision is not available.
            OutOfMemory: the device has too little.
        """
        import numpy as np

        from mnist_cli.config.schema import TrainConfig
        from mnist_cli.data.split import Split
        from mnist_cli.training.scoring import predict

        split = Split.of("pictures", forms, np.zeros(len(forms), dtype=np.int64))
        size = (self.checkpoint.config or TrainConfig()).eval_batch_size
        log_probabilities = predict(
            self.model,
            split.to(self.device),
            self.normalisation,
            batch_size=size,
            precision=self.precision,
            option="",
        )
        provenance.require_finite(log_probabilities, self.checkpoint)
        return log_probabilities.double().softmax(1)
