"""Networks of a user's own that ask more of several ranks than ours do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Unused(nn.Module):
    """Has a layer that no step uses, and cannot take 0 images apart in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.later = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1) if self.training else images.view(images.size(0), -1)
        return self.fc(rows)


class Flat(nn.Module):
    """Batch norm over (N, C, L), without weights, and over (N, C), which takes the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = nn.BatchNorm1d(28, affine=False)
        self.fc1 = nn.Linear(784, 12, bias=False)
        self.norm = nn.BatchNorm1d(12, momentum=None)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        lines = self.lines(images.squeeze(1)).flatten(1)
        return self.fc2(self.norm(self.fc1(lines)).tanh())


class Deep(nn.Module):
    """Batch norm over (N, C, D, H, W), with running figures and without."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(1, affine=False, track_running_stats=False)
        self.conv = nn.Conv3d(1, 3, 3, stride=3, bias=False)
        self.norm2 = nn.BatchNorm3d(3)
        self.fc = nn.Linear(3 * 9 * 9, 10)

    def forward(self, images: Tensor) -> Tensor:
        volumes = self.norm1(images.unsqueeze(2).expand(-1, -1, 3, -1, -1))
        return self.fc(self.norm2(self.conv(volumes)).tanh().flatten(1))


class Remembering(nn.Module):
    """Remembers, in a buffer that it replaces and in one that it changes, what it has seen."""

    seen: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * images.detach().sum() / max(len(images), 1)
            self.steps += 1
        return self.fc(images.flatten(1)) * (1 + self.seen / 1000)


class Upright(nn.Module):
    """Cannot take 0 images apart: what ``-1`` stands for is then anything."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.view(images.size(0), -1))


class Spoilt(Upright):
    """Takes none, and is spoilt by it: the mean of no images is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.mean = images.detach().mean()
        return self.fc(images.flatten(1))
