"""Changes training images at random, in whole batches on the device.

The random numbers come from a separate generator, so that they do not depend on dropout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """The largest changes of an image; each is drawn uniformly between minus and plus its value.

    Attributes:
        shift: pixels in each direction.
        rotate: degrees.
        scale: a fraction.
        shear: degrees.
        erase: the probability that a random rectangle is erased (Zhong et al. 2017: 2 to 33 % of
            the area, aspect ratio 0.3 to 3.3).
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
        """Change images (N, 1, H, W), float with a background of 0.

        Args:
            images: the images.
            generator: the source of random numbers.
            batch: the size of the larger batch to which they belong. Random numbers are drawn for
                all of it, so that those of an image do not depend on the part.
            first: the index of the first image in that batch.
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
    grid = _affine_grid(theta, images.shape[-2], images.shape[-1])
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _affine_grid(theta: Tensor, height: int, width: int) -> Tensor:
    """The result of ``F.affine_grid`` for maps (N, 2, 3): (N, H, W, 2), in a tenth of its time.

    A point is the sum of a term of its row and one of its column. This needs no product of
    matrices, which TF32 would round.
    """
    y, x = (
        (2 * torch.arange(size, device=theta.device) + 1) / size - 1 for size in (height, width)
    )
    of_x, of_y, constant = theta[..., None].unbind(2)
    columns, rows = of_x * x + constant, of_y * y
    return (columns[:, :, None, :] + rows[..., None]).permute(0, 2, 3, 1)


def _erase(images: Tensor, probability: float, draw: Tensor) -> Tensor:
    """Set one random rectangle of some images to the background; ``draw`` is (5, N, 1, 1, 1)."""
    height, width = images.shape[-2:]
    area = (0.02 + 0.31 * draw[1]) * height * width
    aspect = torch.exp((2 * draw[2] - 1) * math.log(3.3))
    tall, wide = (area * aspect).sqrt(), (area / aspect).sqrt()
    top, left = draw[3] * (height - tall), draw[4] * (width - wide)
    # Compare the pixels' middles: with their corners, the first row and column are never erased.
    rows = torch.arange(height, device=images.device).view(1, 1, height, 1) + 0.5
    columns = torch.arange(width, device=images.device).view(1, 1, 1, width) + 0.5
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return images.masked_fill(inside & (draw[0] < probability), 0.0)
