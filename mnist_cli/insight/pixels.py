"""Back from a network's scores to the pixels: what it listens to, and what it would like best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_cli.data.split import Normalisation

# --- saliency


@dataclass(frozen=True)
class Saliency:
    """Which pixels an answer hangs on.

    Attributes:
        log_probabilities: (classes,), float32 on the CPU.
        predicted: the class with the highest score.
        rival: the class with the second highest.
        gradient: (H, W), of the predicted class's score by the pixels' brightness, 0 to 1.
        difference: (H, W), the same of the predicted score less the rival's.
    """

    log_probabilities: Tensor
    predicted: int
    rival: int
    gradient: Tensor
    difference: Tensor


def saliency(model: nn.Module, image: Tensor, normalisation: Normalisation) -> Saliency:
    """How the scores for an image (1, H, W), uint8, change with each of its pixels.

    The backward pass's own answer to "why": brighten a red pixel a little, and the score rises.
    A score is what the network returns: a logit, or a log-probability where it ends in one.
    Differences of scores are the same for both.

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            pixels = (image[None].float() / 255).requires_grad_()
            scores = model(normalisation(255 * pixels)).float()[0]
            predicted, rival = scores.topk(2).indices.tolist()
            gradient = _pixels(scores[predicted], pixels)
            difference = gradient - _pixels(scores[rival], pixels)
    finally:
        model.train(was_training)
    return Saliency(scores.detach().log_softmax(0).cpu(), predicted, rival, gradient, difference)


def _pixels(score: Tensor, pixels: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, pixels, retain_graph=True)
    return gradient[0, 0].cpu()


# --- class maximisation


@dataclass(frozen=True)
class Ascent:
    """How :func:`maximise` climbs.

    Attributes:
        steps: how many.
        rate: a step's root mean square over the pixels, in brightness from 0 to 1.
        decay: share of its ink that each pixel loses a step: it must earn its place.
        blur: σ in pixels of the Gaussian that the gradient is blurred by, against speckles.
        shift: the most pixels by which the image is moved before a step, at random: what only
            works in one place is not drawn.
        seed: of the faint noise that it begins with, and of the shifts.
    """

    steps: int = 100
    rate: float = 0.02
    decay: float = 0.05
    blur: float = 1.0
    shift: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Maximised:
    """Images (classes, H, W), brightness 0 to 1, and how sure (classes,) the network is of each."""

    images: Tensor
    confidences: Tensor


def maximise(
    model: nn.Module,
    normalisation: Normalisation,
    *,
    classes: int,
    size: int = 28,
    ground: float = 0.0,
    ascent: Ascent = Ascent(),
) -> Maximised:
    """For each class an image made for it: gradient ascent on the pixels, from faint noise.

    Climbs the class's log-probability, all classes at once; pixels stay between black and white,
    and go back towards ``ground``, 0 or 1, the brightness of what nothing is drawn on.

    Source: Simonyan et al. 2013; decay and blur, Yosinski et al., "Understanding Neural Networks
    Through Deep Visualization", 2015; shifts, Mordvintsev, Olah and Tyka 2015.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(ascent.seed)
    noise = 0.1 * torch.rand(classes, 1, size, size, generator=generator)
    pixels = (ground - noise).abs()
    pixels = pixels.to(device)
    shifts = (-ascent.shift, ascent.shift + 1)
    was_training = model.training
    model.eval()
    try:
        for _ in range(ascent.steps):
            shift = torch.randint(*shifts, (2,), generator=generator).tolist()
            uphill = _uphill(model, normalisation, pixels, shift, ascent.blur)
            kept = (1 - ascent.decay) * pixels + ascent.decay * ground
            pixels = (kept + ascent.rate * uphill).clamp(0, 1)
        with torch.no_grad():
            answers = model(normalisation(255 * pixels)).float().softmax(1)
    finally:
        model.train(was_training)
    return Maximised(pixels[:, 0].cpu(), answers.diagonal().cpu())


def _uphill(
    model: nn.Module, normalisation: Normalisation, pixels: Tensor, shift: list[int], blur: float
) -> Tensor:
    """Where each class's log-probability rises: (classes, 1, H, W), each with a mean square of 1."""
    from torchvision.transforms.v2.functional import gaussian_blur

    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        moved = torch.roll(pixels, tuple(shift), (2, 3))
        answers = model(normalisation(255 * moved)).float().log_softmax(1)
        (gradient,) = torch.autograd.grad(answers.diagonal().sum(), pixels)
    blurred: Tensor = gaussian_blur(gradient, [5, 5], [blur, blur])
    return blurred / blurred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
