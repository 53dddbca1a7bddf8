"""The network as other programs use it: raw pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation
from mnist_cli.networks.ensemble import Ensemble

if TYPE_CHECKING:
    from torch.export import ExportedProgram

IMAGE = (1, 28, 28)
INPUT, OUTPUT, BATCH = "images", "probabilities", "batch"

Answer = Callable[[Tensor], Tensor]
"""Probabilities (N, classes), float32, of images (N, 1, 28, 28), uint8."""


class Classifier(nn.Module):
    """Normalises images and computes probabilities; for several networks their mean, the vote.

    The softmax of log-probabilities is the probabilities, so networks may end in a log-softmax or
    in logits.
    """

    def __init__(self, model: nn.Module, normalisation: Normalisation) -> None:
        """Copy a network or an ensemble, in the default memory format.

        Args:
            model: as from :meth:`mnist_cli.checkpoints.checkpoint.Checkpoint.build_model`.
            normalisation: that of the network's training.
        """
        super().__init__()
        networks = [model]
        if isinstance(model, Ensemble):
            networks = [model.member(number) for number in range(model.size)]
        self.networks = nn.ModuleList(networks).to(memory_format=torch.contiguous_format).eval()
        self.mean, self.std = 255 * normalisation.mean, 255 * normalisation.std

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28), uint8, to probabilities (N, classes), float32."""
        x = (images.float() - self.mean) / self.std
        answers = [network(x).float().softmax(1) for network in self.networks]
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)


def capture(classifier: Classifier) -> ExportedProgram:
    """The computation as torch.export's graph, for any number of images.

    Removes the locations of the source, which name folders of this machine.
    """
    from torch.export import Dim  # imports SymPy and more, which weights alone do not need

    example = torch.zeros(2, *IMAGE, dtype=torch.uint8)  # 1 would become a constant
    with silence(), torch.no_grad():
        program = torch.export.export(classifier, (example,), dynamic_shapes=({0: Dim(BATCH)},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress the warnings of exporters; their results are checked."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
