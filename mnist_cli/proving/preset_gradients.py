"""Claims about the gradient of one batch for each preset's network, against float64 on the CPU."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

from mnist_cli.base.seeding import derive
from mnist_cli.config.choices import preset_names
from mnist_cli.config.schema import TrainConfig, compose, find_config, from_file
from mnist_cli.devices.device import Precision, compute_settings, resolve_precision
from mnist_cli.networks import registry as models
from mnist_cli.proving import rounding
from mnist_cli.proving.claims import Claims, Outcome, Subject
from mnist_cli.training.state import fresh_model

IMAGES = 32
BITS = {"fp32": (12, 13, 14), "bf16": (5,)}
"""Significant bits of the emulations for each precision; the worst emulation sets the limit.

bf16 has 8. Emulated with 8, the error is within 25% of the CPU's own for each network; 5 leave a
factor of about 2.5. fp32 has 24, but rounding can change which of two nearly equal activations
under a max pool is larger. Such a flip moves the gradient by far more than one rounding does. 12
to 14 bits allow for many flips. The worst of three depends little on which flips happen.
"""


def networks() -> dict[str, TrainConfig]:
    """A configuration for each network that a preset trains; the default's comes first."""
    configs = {name: compose([from_file(find_config(name))]) for name in preset_names()}
    ordered = sorted(configs, key=lambda name: name != "default")
    found: dict[str, TrainConfig] = {}
    for name in ordered:
        found.setdefault(configs[name].model, configs[name])
    return found


def claims(subject: Subject) -> Claims:
    """A claim for each network."""
    return {
        f"gradient of {name} against float64": partial(measure, config, subject)
        for name, config in networks().items()
    }


def measure(config: TrainConfig, subject: Subject) -> Outcome:
    """The error of one network's gradient, in fp32 and in the precision that training uses."""
    device = subject.device
    model = _without_dropout(fresh_model(config, len(subject.data.spec.classes)))
    images, labels = _batch(subject)
    loss = loss_of(model, config, labels)
    exact = rounding.reference(model, images, loss)
    there = copy.deepcopy(model).to(device)
    errors, limits = {}, {}
    for precision in _precisions(device):
        with compute_settings(device, deterministic=True):
            found = rounding.gradients(there, images.to(device), loss, precision)
        errors[precision.name] = rounding.distance(found, exact)
        limits[precision.name] = rounding.worst(model, images, loss, BITS[precision.name])
    return Outcome(
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
    """Training mode for networks with batch norm; no dropout, which differs between devices."""
    model.train(any(isinstance(module, NORMS) for module in model.modules()))
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.eval()
    return model


def _batch(subject: Subject) -> tuple[Tensor, Tensor]:
    """The first images (N, 1, H, W), normalised, and their labels (N,).

    Each pixel is raised by a random fraction of one grey level. Without that, neighbours under a
    max pool are often equal, and the order of summation decides.
    """
    chosen = subject.data.train.take(torch.arange(min(IMAGES, len(subject.data.train))))
    generator = torch.Generator().manual_seed(derive(0, "proof-dither"))
    pixels = chosen.images + torch.rand(chosen.images.shape, generator=generator)
    return subject.data.normalisation(pixels), chosen.labels


def loss_of(model: nn.Module, config: TrainConfig, labels: Tensor) -> rounding.Loss:
    """The training loss of a configuration: from scores (N, classes) on any device to ()."""
    log_probabilities = bool(getattr(model, "log_probabilities", False))

    def loss(scores: Tensor) -> Tensor:
        return models.loss(
            scores,
            labels.to(scores.device),
            log_probabilities=log_probabilities,
            smoothing=config.label_smoothing,
        )

    return loss
