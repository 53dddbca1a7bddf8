"""A network of your own: 784-100-10. Train it with: mnist train --model docs/examples/net.py:Net."""

import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.hidden = nn.Linear(28 * 28, 100)
        self.out = nn.Linear(100, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28), normalised, to one score for each class (N, classes)."""
        return self.out(F.relu(self.hidden(images.flatten(1))))
