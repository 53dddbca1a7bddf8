"""Random changes of training images: a batch at a time, each image its own, on the device.

Uses a generator of its own, so that what is drawn here does not depend on dropout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed: each amount is drawn evenly from minus to plus the figure.

    ``shift`` in pixels, ``rotate`` and ``shear`` in degrees, ``scale`` as a fraction;
    ``erase`` is the probability that a random rectangle is blanked (Zhong et al. 2017:
    2 to 33 % of the area, aspect 0.3 to 3.3).
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    erase: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether images are moved at all."""
        return bool(self.shift or self.rotate or self.scale or self.shear)

    def __call__(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        batch: int | None = None,
        first: int = 0,
    ) -> Tensor:
        """Change images (N, 1, H, W), float with a background of 0; draws from ``generator``.

        Where they are the part of a larger batch of ``batch`` images that begins at ``first``,
        it draws for all of that batch, so that each image draws what it would draw in the whole.
        """
        count = len(images) if batch is None else batch
        part = slice(first, first + len(images))
        if self.moves:
            theta = self.matrices(count, images.shape[-1], generator)
            images = _move(images, theta[part])
        if self.erase:
            draw = torch.rand((5, count, 1, 1, 1), generator=generator, device=generator.device)
            images = _erase(images, self.erase, draw[:, part])
        return images

    def matrices(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """Draw affine maps (count, 2, 3) from output to input in affine_grid's coordinates.

        Rotation after shear, divided by the scale: the inverse of moving the picture.
        """
        device = generator.device
        draw = torch.rand((5, count), generator=generator, device=device).mul_(2).sub_(1)
        angle = draw[0] * math.radians(self.rotate)
        shear = (draw[1] * math.radians(self.shear)).tan()
        zoom = 1 + draw[2] * self.scale
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        shift = draw[3:] * (2 * self.shift / size)
        rows = [cos, cos * shear - sin, shift[0], sin, sin * shear + cos, shift[1]]
        return torch.stack(rows, dim=1).view(count, 2, 3)


def _move(images: Tensor, theta: Tensor) -> Tensor:
    """Images (N, 1, H, W) through affine maps (N, 2, 3) from output to input."""
    if not len(images):  # affine_grid refuses
        return images
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _erase(images: Tensor, probability: float, draw: Tensor) -> Tensor:
    """Set one random rectangle of some images to the background; ``draw`` is (5, N, 1, 1, 1)."""
    height, width = images.shape[-2:]
    area = (0.02 + 0.31 * draw[1]) * height * width
    aspect = torch.exp((2 * draw[2] - 1) * math.log(3.3))
    tall, wide = (area * aspect).sqrt(), (area / aspect).sqrt()
    top, left = draw[3] * (height - tall), draw[4] * (width - wide)
    # By the pixels' middles: by their corners the first row and column were never erased.
    rows = torch.arange(height, device=images.device).view(1, 1, height, 1) + 0.5
    columns = torch.arange(width, device=images.device).view(1, 1, 1, width) + 0.5
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return images.masked_fill(inside & (draw[0] < probability), 0.0)
