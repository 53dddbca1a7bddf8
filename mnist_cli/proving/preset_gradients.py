"""The gradient of one batch, for the network of each preset, against float64 on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_cli.base.seeding import derive
from mnist_cli.config.choices import preset_names
from mnist_cli.config.schema import TrainConfig, compose, find_config, from_file
from mnist_cli.devices.device import Precision, compute_settings, resolve_precision
from mnist_cli.networks import registry as models
from mnist_cli.proving import rounding
from mnist_cli.proving.claims import Row, Subject
from mnist_cli.training.state import fresh_model

IMAGES = 32
BITS = {"fp32": (12, 13, 14), "bf16": (5,)}
"""Significant bits of the emulations of which the worst sets the limit, for each precision.

bf16 has 8: emulated with 8, the error is within 25% of the CPU's own for each network, and 5 leave
a factor of about 2.5. fp32 has 24, but two activations that are next to each other under a max
pool can fall either way in the last bit, and move the gradient by far more than one rounding does.
12 to 14 bits allow for many such flips;
the worst of three emulations depends little on which of them happen.
"""


def networks() -> dict[str, TrainConfig]:
    """A configuration for each network that a preset trains; the default's comes first."""
    configs = {name: compose([from_file(find_config(name))]) for name in preset_names()}
    ordered = sorted(configs, key=lambda name: name != "default")
    found: dict[str, TrainConfig] = {}
    for name in ordered:
        found.setdefault(configs[name].model, configs[name])
    return found


def check(subject: Subject) -> Iterator[Row]:
    """A row for each network."""
    for name, config in networks().items():
        yield measure(name, config, subject)


@dataclass(frozen=True)
class _Batch:
    images: Tensor
    labels: Tensor


def measure(name: str, config: TrainConfig, subject: Subject) -> Row:
    """The row of one network, in fp32 and in the precision that training uses."""
    model = _without_dropout(fresh_model(config, len(subject.data.spec.classes)))
    batch = _batch(subject)
    loss = loss_of(model, config, batch.labels)
    exact = rounding.reference(model, batch.images, loss)
    errors, limits = {}, {}
    for precision in _precisions(subject.device):
        found = _on_device(model, config, batch, subject.device, precision)
        errors[precision.name] = rounding.distance(found, exact)
        limits[precision.name] = rounding.worst(model, batch.images, loss, BITS[precision.name])
    return Row(
        f"gradient of {name} against float64",
        passed=all(errors[key] <= limits[key] for key in errors),
        figure="; ".join(
            f"{key} error {errors[key]:.1e}, at most {limits[key]:.1e}" for key in errors
        ),
        values={"relative_error": errors, "limit": limits},
    )


def _precisions(device: torch.device) -> list[Precision]:
    fp32, chosen = Precision("fp32", device.type), resolve_precision("auto", device)
    return [fp32] if chosen == fp32 else [fp32, chosen]


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def _without_dropout(model: nn.Module) -> nn.Module:
    """The network in training mode, but for dropout, which each device draws differently."""
    norms = [m for m in model.modules() if isinstance(m, NORMS)]
    model.train(bool(norms))
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.eval()
    return model


def _batch(subject: Subject) -> _Batch:
    """The first images, each pixel raised by a random fraction of one grey level.

    Without it, neighbours under a max pool are often equal, and the order of summation decides.
    """
    chosen = subject.data.train.take(torch.arange(min(IMAGES, len(subject.data.train))))
    generator = torch.Generator().manual_seed(derive(0, "proof-dither"))
    pixels = chosen.images + torch.rand(chosen.images.shape, generator=generator)
    return _Batch(subject.data.normalisation(pixels), chosen.labels)


def loss_of(model: nn.Module, config: TrainConfig, labels: Tensor) -> rounding.Loss:
    """The training loss of a configuration: scores (N, classes) to ()."""
    log_probabilities = bool(getattr(model, "log_probabilities", False))

    def loss(scores: Tensor) -> Tensor:
        return models.loss(
            scores,
            labels.to(scores.device),
            log_probabilities=log_probabilities,
            smoothing=config.label_smoothing,
        )

    return loss


def _on_device(
    model: nn.Module,
    config: TrainConfig,
    batch: _Batch,
    device: torch.device,
    precision: Precision,
) -> rounding.Gradients:
    there = copy.deepcopy(model).to(device)
    loss = loss_of(model, config, batch.labels)
    with compute_settings(device, deterministic=True):
        return rounding.gradients(there, batch.images.to(device), loss, precision)
