"""The networks of the PyTorch MNIST example since 2017, and of the notebook series.

Their weights have the names of the originals, so that checkpoints of those programs load.
Source: github.com/pytorch/examples (mnist), github.com/motus/pytorch-annotated.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Notebook(nn.Module):
    """The network of the notebook series "PyTorch MNIST example dissected".

    5×5 convolution to 10 channels, pool, ReLU; 5×5 to 20, Dropout2d, pool, ReLU; 320 to 50,
    ReLU, dropout; 10. It is the network of the PyTorch MNIST example as of 2017-2018, with the
    same weight names, so that checkpoints of either load.

    Source: github.com/motus/pytorch-annotated, github.com/pytorch/examples (mnist).
    """

    log_probabilities = True

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to log-probabilities (N, classes)."""
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.dropout(x, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class Example2018(nn.Module):
    """The network of the PyTorch MNIST example from December 2018 to November 2019.

    5×5 convolution to 20 channels, ReLU, pool; 5×5 to 50, ReLU, pool; 800 to 500, ReLU; 10.
    431,000 parameters, with the example's weight names.

    Source: github.com/pytorch/examples, mnist/main.py, commits d8dd8ca to 60108ed.
    """

    log_probabilities = True
    divisible = True

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5, 1)
        self.conv2 = nn.Conv2d(20, 50, 5, 1)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to log-probabilities (N, classes)."""
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return F.log_softmax(self.fc2(x), dim=1)


class Example(nn.Module):
    """The network of the PyTorch MNIST example since March 2020, weight names included.

    3×3 convolution to 32 channels, ReLU; 3×3 to 64, ReLU, pool, dropout ¼; 9216 to 128, ReLU,
    dropout ½; 10. There are 1.2 million parameters, nearly all in the first linear layer.

    Source: github.com/pytorch/examples, mnist/main.py.
    """

    log_probabilities = True

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1: nn.Module = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to log-probabilities (N, classes)."""
        x = F.relu(self.conv1(images))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout1(x).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


class Example2019(Example):
    """The network of the PyTorch MNIST example from November 2019 to March 2020.

    Unlike :class:`Example`, it has no ReLU after the second convolution, and Dropout2d in place of
    the first dropout. Weights have the same names and shapes, so files do not distinguish the two.

    Source: github.com/pytorch/examples, mnist/main.py, commits 0634306 to 6c51ca5.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__(classes)
        self.dropout1 = nn.Dropout2d(0.25)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to log-probabilities (N, classes)."""
        x = self.conv2(F.relu(self.conv1(images)))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)
