"""From a network's scores back to the pixels: saliency and class maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import NonFiniteError, UsageError, first_line
from mnist_cli.insight.called_operations import evaluation_mode


class NoPixelGradient(UsageError):
    """The scores have no finite gradient with respect to the pixels; the message says why."""


class NonFinitePixelGradient(NoPixelGradient):
    """The gradient with respect to the pixels is infinite or NaN."""

    code = NonFiniteError.code
    kind = NonFiniteError.kind


@dataclass(frozen=True)
class Saliency:
    """The gradient of an answer with respect to the pixels.

    Attributes:
        log_probabilities: (classes,), float32 on the CPU.
        predicted: the class with the highest score.
        rival: the class with the second highest score.
        gradient: (H, W), of the predicted class's score, for a brightness from 0 to 1.
        difference: (H, W), of the predicted class's score minus the rival's.
    """

    log_probabilities: Tensor
    predicted: int
    rival: int
    gradient: Tensor
    difference: Tensor


def saliency(model: nn.Module, image: Tensor, normalisation: Normalisation) -> Saliency:
    """The change of the scores for an image with each of its pixels, in evaluation mode.

    A score is the network's output: a logit, or a log-probability if the network ends in one.
    Differences of scores are the same for both. Source: Simonyan, Vedaldi and Zisserman, "Deep
    Inside Convolutional Networks", 2013.

    Args:
        model: a network, not compiled.
        image: (1, H, W), uint8, on the network's device.
        normalisation: of the network's data.

    Raises:
        NoPixelGradient: the scores have no such gradient.
    """
    with evaluation_mode(model), torch.enable_grad():
        pixels = (image[None].float() / 255).requires_grad_()
        scores = model(normalisation(255 * pixels)).float()[0]
        predicted, rival = scores.topk(2).indices.tolist()
        gradient = _pixels(scores[predicted], pixels)
        difference = gradient - _pixels(scores[rival], pixels)
    return Saliency(scores.detach().log_softmax(0).cpu(), predicted, rival, gradient, difference)


def _pixels(score: Tensor, pixels: Tensor) -> Tensor:
    return _gradient(score, pixels)[0, 0].cpu()


def _gradient(score: Tensor, pixels: Tensor) -> Tensor:
    """The gradient of a score () with respect to images (N, 1, H, W).

    Raises:
        NoPixelGradient: it does not exist, or is not finite.
    """
    try:
        (found,) = torch.autograd.grad(score, pixels, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise NoPixelGradient(
            f"torch computes no gradient with respect to the pixels: {first_line(error):.200}"
        ) from error
    if found is None:
        raise NoPixelGradient(
            "no gradient flows from the scores to the pixels: they become indices, or are detached"
        )
    if not bool(found.isfinite().all()):
        raise NonFinitePixelGradient(
            "the gradient of the scores with respect to the pixels is not finite"
        )
    gradient: Tensor = found
    return gradient


@dataclass(frozen=True)
class Ascent:
    """The settings of the gradient ascent of :func:`maximise`.

    Attributes:
        steps: number of steps.
        rate: root mean square of a step over the pixels, in brightness from 0 to 1.
        decay: share of its ink that each pixel loses in a step.
        blur: σ, in pixels, of the Gaussian that smooths the gradient, against speckles.
        shift: largest random shift of the image before a step, in pixels. It suppresses patterns
            that work in one place only.
        seed: of the initial noise and of the shifts.
    """

    steps: int = 100
    rate: float = 0.02
    decay: float = 0.05
    blur: float = 1.0
    shift: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Maximised:
    """Images (classes, 28, 28), brightness 0 to 1, and the network's confidence (classes,) in each."""

    images: Tensor
    confidences: Tensor


def maximise(
    model: nn.Module,
    normalisation: Normalisation,
    *,
    classes: int,
    ground: float = 0.0,
    ascent: Ascent = Ascent(),
) -> Maximised:
    """An image for each class, by gradient ascent on the pixels from faint noise.

    Climbs the log-probability of each class, for all classes at once. Source: Simonyan et al.
    2013; decay and blur, Yosinski et al., "Understanding Neural Networks Through Deep
    Visualization", 2015; shifts, Mordvintsev, Olah and Tyka 2015.

    Args:
        model: a network, not compiled; evaluated in evaluation mode.
        normalisation: of the network's data.
        classes: number of classes.
        ground: brightness of the background, 0 or 1; pixels decay towards it.
        ascent: the settings of the ascent.

    Raises:
        NoPixelGradient: the scores have no gradient to climb.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(ascent.seed)
    noise = 0.1 * torch.rand(classes, 1, 28, 28, generator=generator)
    pixels = (ground - noise).abs().to(device)
    shifts = (-ascent.shift, ascent.shift + 1)
    with evaluation_mode(model):
        for _ in range(ascent.steps):
            shift = torch.randint(*shifts, (2,), generator=generator).tolist()
            uphill = _uphill(model, normalisation, pixels, shift, ascent.blur)
            kept = (1 - ascent.decay) * pixels + ascent.decay * ground
            pixels = (kept + ascent.rate * uphill).clamp(0, 1)
        with torch.no_grad():
            answers = model(normalisation(255 * pixels)).float().softmax(1)
    return Maximised(pixels[:, 0].cpu(), answers.diagonal().cpu())


def _uphill(
    model: nn.Module, normalisation: Normalisation, pixels: Tensor, shift: list[int], blur: float
) -> Tensor:
    """Directions (classes, 1, H, W) in which log-probabilities rise, each of mean square 1."""
    from torchvision.transforms.v2.functional import gaussian_blur

    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        moved = torch.roll(pixels, tuple(shift), (2, 3))
        answers = model(normalisation(255 * moved)).float().log_softmax(1)
        gradient = _gradient(answers.diagonal().sum(), pixels)
    blurred: Tensor = gaussian_blur(gradient, [5, 5], [blur, blur])
    return blurred / blurred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
