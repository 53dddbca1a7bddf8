"""The network as other programs use it: raw pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation
from mnist_cli.exporting.formats import Input
from mnist_cli.networks.ensemble import Ensemble

if TYPE_CHECKING:
    from torch.export import ExportedProgram

IMAGE = (1, 28, 28)
INPUT, OUTPUT, BATCH = "images", "probabilities", "batch"

Answer = Callable[[Tensor], Tensor]
"""Probabilities (N, classes), float32, of images as the program's :class:`Input` says."""


class CaptureError(Exception):
    """torch.export cannot follow the network; the cause says why."""


class Classifier(nn.Module):
    """Normalises images and computes probabilities; for several networks their mean, the vote.

    The softmax of log-probabilities is the probabilities, so networks may end in a log-softmax or
    in logits.
    """

    def __init__(
        self, model: nn.Module, normalisation: Normalisation, taken: Input | None = None
    ) -> None:
        """Copy a network or an ensemble, in the default memory format.

        Args:
            model: as from :meth:`mnist_cli.checkpoints.checkpoint.Checkpoint.build_model`.
            normalisation: that of the network's training.
            taken: the images that the exported program takes; None is uint8, any number.
        """
        super().__init__()
        networks = [model]
        if isinstance(model, Ensemble):
            networks = [model.member(number) for number in range(model.size)]
        self.networks = nn.ModuleList(networks).to(memory_format=torch.contiguous_format).eval()
        self.mean, self.std = 255 * normalisation.mean, 255 * normalisation.std
        self.taken = taken or Input()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28), grey levels, to probabilities (N, classes), float32."""
        x = (images.float() - self.mean) / self.std
        answers = [network(x).float().softmax(1) for network in self.networks]
        # A sum of operands, not a mean of stacked ones: OpenCV 4.14 gives another mean for two or
        # more images, and onnx2torch 1.5.15 has none of this opset.
        total: Tensor = sum(answers[1:], answers[0])
        return total / len(answers) if len(answers) > 1 else total


def capture(classifier: Classifier) -> ExportedProgram:
    """The computation as torch.export's graph.

    Removes the locations of the source, which name folders of this machine.

    Raises:
        CaptureError: torch.export fails.
    """
    from torch.export import Dim  # imports SymPy and more, which weights alone do not need

    taken = classifier.taken
    # As an example of any number, 1 would become a constant.
    example = torch.zeros(taken.batch or 2, *IMAGE, dtype=getattr(torch, taken.dtype))
    shapes = None if taken.batch else ({0: Dim(BATCH)},)
    try:
        with silence(), torch.no_grad():
            program = torch.export.export(classifier, (example,), dynamic_shapes=shapes)
    except Exception as error:  # whatever the network or torch raises
        raise CaptureError from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress what exporters warn of and print: results are checked, errors are explained."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
