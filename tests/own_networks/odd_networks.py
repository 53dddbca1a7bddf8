"""Sound networks with unusual parts, as users bring them; each file of a user's holds one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint


class Vit(nn.Module):
    """Patches, a class token, attention, and LayerNorm after everything."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 7, stride=7)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 17, 8) * 0.02)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(8) for _ in range(3))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm3(x)[:, 0])


class Reshaped(nn.Module):
    """A ReLU after the maps have become rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=4)
        self.fc = nn.Linear(144, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).flatten(1).relu())


class Maxout(nn.Module):
    """The larger of two halves of the channels, and of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5, stride=4)
        self.a, self.b = nn.Linear(144, 10), nn.Linear(144, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        rows = torch.maximum(maps[:, :4], maps[:, 4:]).flatten(1)
        return torch.maximum(self.a(rows), self.b(rows))


class Indices(nn.Module):
    """Pixels become indices, through which no gradient flows."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 2)
        self.fc = nn.Linear(1568, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.embedding(images.flatten(1).clamp(0, 3).long()).flatten(1))


class Sparse(Indices):
    """The same, with gradients that most optimisers do not take."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 2, sparse=True)


class Convolutional(nn.Module):
    """No linear layer: the scores are means of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, stride=4), nn.Conv2d(4, 10, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv2(self.conv1(images).relu()).mean((2, 3))


class Products(nn.Module):
    """No layer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(784, 8) * 0.04)
        self.second = nn.Parameter(torch.randn(8, 10) * 0.3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nh,hk->nk", (images.flatten(1) @ self.first).tanh(), self.second)


class Waves(nn.Module):
    """Complex weights beside integers: a batch norm counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(28, 15, dtype=torch.complex64))
        self.fc1 = nn.Linear(420, 8, dtype=torch.complex64)
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("phases", torch.ones(8, dtype=torch.complex64))
        self.fc2 = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        waves = (torch.fft.rfft2(images.squeeze(1)) * self.filter).flatten(1)
        return self.fc2(self.norm((self.fc1(waves) * self.phases).abs()))


class Nested(nn.Module):
    """A part that gives a dictionary with a tuple in it."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 5, stride=4)

        def forward(self, images: Tensor) -> dict[str, object]:
            maps = self.conv(images)
            return {"maps": maps.relu(), "others": (maps, [maps.mean((1, 2, 3))[:, None]])}

    def __init__(self) -> None:
        super().__init__()
        self.part = self.Part()
        self.fc = nn.Linear(144, 10)

    def forward(self, images: Tensor) -> Tensor:
        found = self.part(images)
        return self.fc(found["maps"].flatten(1)) + found["others"][1][0]


class Recurrent(nn.Module):
    """Rows one after the other, the batch second."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 8)
        self.fc = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.lstm(images.squeeze(1).transpose(0, 1))[0])[-1]


class Volumes(nn.Module):
    """A convolution in three dimensions, then one in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(1, 2, 3, stride=3), nn.Conv1d(18, 10, 3)

    def forward(self, images: Tensor) -> Tensor:
        volumes = self.conv1(images.unsqueeze(2).expand(-1, -1, 3, -1, -1)).relu()
        return self.conv2(volumes.flatten(1, 3)).amax(2)


class Causal(nn.Module):
    """A mask that holds -inf, a table that holds NaN, indices, and a table that is not saved."""

    mask: Tensor
    order: Tensor
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 10)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(28))
        self.register_buffer("unset", torch.full((3,), float("nan")))
        self.register_buffer("order", torch.arange(27, -1, -1))
        self.register_buffer("table", torch.linspace(0, 1, 28)[:, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.embed(images.squeeze(1)[:, self.order]) + self.table
        return self.fc(self.attention(rows, rows, rows, attn_mask=self.mask)[0][:, -1])


class Checkpointed(nn.Module):
    """Computes batch norm and dropout again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        parts = nn.Linear(784, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2)
        self.block = nn.Sequential(*parts)
        self.fc = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(checkpoint(self.block, images.flatten(1), use_reentrant=False))


class Reentrant(Checkpointed):
    """The same in the older way, which refuses gradients of single tensors."""

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1).requires_grad_()
        return self.fc(checkpoint(self.block, rows, use_reentrant=True))


class Normed(nn.Module):
    """Weights that are computed from others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv2d(1, 4, 5, stride=4))
        self.fc = spectral_norm(nn.Linear(144, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).relu().flatten(1))


class Patches(nn.Module):
    """Patches as if they were images, and a linear layer on maps with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(49, 4), nn.Linear(4, 4), nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = F.unfold(images, 7, stride=7).transpose(1, 2)
        units = self.fc1(patches.reshape(-1, 49)).relu().view(-1, 4, 4, 4)
        return self.fc3(self.fc2(units).flatten(1))


class Detached(nn.Module):
    """A frozen part without gradient, in float64 and bfloat16; named arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=4).double().requires_grad_(False)
        self.fc1 = nn.Linear(144, 8).bfloat16()
        self.fc2 = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            maps = F.relu(input=self.conv(images.double()))
        units = self.fc1(maps.bfloat16().flatten(1)).float()
        return F.linear(input=units, weight=self.fc2.weight, bias=self.fc2.bias)


NAMES = (
    *("Vit", "Reshaped", "Maxout", "Indices", "Sparse", "Convolutional", "Products", "Waves"),
    *("Nested", "Recurrent", "Volumes", "Causal", "Checkpointed", "Reentrant", "Normed"),
    *("Patches", "Detached"),
)
