"""A caller's module, switched to evaluation mode and restored afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from mnist_cli.api.cautions import caution
from mnist_cli.api.loaded import Classifier
from mnist_cli.config import choices
from mnist_cli.config.normalisations import NAMED, MeanStd
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.split import Normalisation
from mnist_cli.devices.device import resolve_precision
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import UsageError
from mnist_cli.inference.scorer import Scorer
from mnist_cli.networks.ensemble import Ensemble
from mnist_cli.networks.score_form import WARNING, are_probabilities
from mnist_cli.networks.source import reason
from mnist_cli.networks.stated import stated_by


class Guest(nn.Module):
    """Gives a module images in its own type, and checks what it returns.

    Args:
        module: maps images (N, 1, 28, 28), normalised, to scores (N, classes).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.guest = module
        weights = next((p for p in module.parameters() if p.is_floating_point()), None)
        self.dtype = torch.float32 if weights is None else weights.dtype

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to scores (N, classes).

        Raises:
            UsageError: the module cannot do that.
        """
        label = type(self.guest).__name__
        try:
            scores = self.guest(images.to(self.dtype))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            lower = torch.is_autocast_enabled(images.device.type)
            raise UsageError(
                f"{label} cannot classify images {tuple(images.shape)}: {reason(error)}",
                "A module maps images (N, 1, 28, 28) to scores (N, classes)."
                + " If it cannot compute in lower precision, pass precision='fp32'." * lower,
            ) from error
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
            raise UsageError(
                f"{label} returns {found} for images {tuple(images.shape)}",
                "A module maps images (N, 1, 28, 28) to scores (N, classes).",
            )
        return scores


@contextlib.contextmanager
def visiting(
    module: nn.Module, normalise: MeanStd | None, usual: MeanStd, precision: str | None
) -> Iterator[Scorer]:
    """A scorer of a module, where the module is; afterwards, the module is as it was.

    Args:
        module: the module, in any mode and on any device.
        normalise: of the images; None is what the module's class states, or else ``usual``.
        usual: of the data set.
        precision: None is the precision of a :class:`Classifier`, or else the module's own.

    Raises:
        UsageError: the module is on the device meta.
        DeviceError: there is no such precision.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise UsageError(
            f"{type(module).__name__} is on the device meta, so it has no weights",
            "Give it memory with module.to_empty(device='cpu'), and load its weights.",
        )
    network = Guest(module)
    plain = network.dtype == torch.float32
    own = normalise or stated_by(type(module), type(module).__name__) or usual
    name = "fp32" if precision is None else str(precision).lower()
    choices.check_precision(name)
    if any(map(_normalises, module.modules())):  # wrapped or traced
        own = normalise or NAMED["none"]
    if isinstance(module, Classifier):
        network = Guest(module.network)
        own = normalise or MeanStd(module.normalisation.mean, module.normalisation.std)
        name = module.precision if precision is None else name
    with _kept(module):
        yield Scorer(
            network.guest if plain and isinstance(network.guest, Ensemble) else network,
            device,
            Normalisation(*own),
            resolve_precision(name, device),
            TrainConfig().eval_batch_size,
            type(module).__name__,
        )


def classifier_in(module: nn.Module) -> Classifier | None:
    """The network that :func:`mnist_cli.load` has made: the module, or in it, as in torch.compile's."""
    return next((part for part in module.modules() if isinstance(part, Classifier)), None)


def _normalises(part: nn.Module) -> bool:
    """Whether a part is a :class:`Classifier`, or TorchScript of one, which keeps its class's name."""
    if not isinstance(part, torch.jit.ScriptModule):
        return isinstance(part, Classifier)
    try:
        name = str(next(part.graph.inputs()).type())
    except (AttributeError, RuntimeError, StopIteration):  # it has no forward
        return False
    return [word for word in name.split(".") if not word.startswith("___torch_mangle_")] == [
        *("__torch__", *Classifier.__module__.split("."), Classifier.__qualname__)
    ]


@contextlib.contextmanager
def _kept(module: nn.Module) -> Iterator[None]:
    """Put back every part's mode and buffers."""
    modes = [(part, getattr(part, "training", None)) for part in module.modules()]
    buffers = [
        (part, name, buffer, buffer.detach().clone())
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for part, training in modes:
            if training is not None:
                part.training = training
            else:  # TorchScript that was frozen has no mode
                vars(part).pop("training", None)
        with torch.no_grad():
            for part, name, buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
                if getattr(part, name, None) is not buffer:
                    setattr(part, name, buffer)


def width_of(scorer: Scorer) -> int:
    """The number of a module's classes.

    Raises:
        UsageError: the module does not take images (N, 1, 28, 28), or has no evaluation mode.
    """
    images = torch.zeros(2, 1, 28, 28, device=scorer.device)
    was_training = scorer.model.training
    try:
        scorer.model.eval()
    except NotImplementedError as error:
        raise UsageError(
            f"{scorer.name} has no evaluation mode: {reason(error)}",
            "Evaluate the module that it was exported from.",
        ) from error
    try:
        with torch.no_grad(), scorer.precision.autocast():
            scores = cast(Tensor, scorer.model(images))
    finally:
        scorer.model.train(was_training)
    if are_probabilities(scores):
        caution(f"{scorer.name} {WARNING}")
    return scores.shape[1]
