"""The contents of plots: a run's epochs and its network's results. Each part is made when read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnist_cli.checkpoints.checkpoint import Course, read_course
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.split import Split
from mnist_cli.errors import UsageError
from mnist_cli.inference.opened import LIGHT, OpenCheckpoint, title_name
from mnist_cli.insight import embedding, pixels
from mnist_cli.insight.layers import Layer, trace_layers
from mnist_cli.runs.directory import RunDirectory, find_checkpoint
from mnist_cli.runs.history import Metrics, read_metrics
from mnist_cli.runs.results import EpochResult, Norms
from mnist_cli.training.norms import by_layer
from mnist_cli.training.optim import learning_rates
from mnist_cli.training.scoring import Evaluation, Mistake


class CannotDraw(UsageError):
    """This run has no such plot; the message says why."""


@dataclass(frozen=True)
class RunCurves:
    """A run's epochs. Its network is not built, so the user need not name an own network.

    Attributes:
        path: the run's checkpoint.
        whole: use all epochs of the run rather than those up to the checkpoint.
    """

    path: Path
    whole: bool

    @classmethod
    def find(cls, target: Path | None, runs: Path) -> RunCurves:
        """The curves of a run, or of a checkpoint's file up to that checkpoint.

        Raises:
            CheckpointError: there is no run or file.
        """
        path = find_checkpoint(target, runs)
        return cls(path, target is None or target.resolve() != path.resolve())

    @property
    def name(self) -> str:
        """The name in titles: the run's, or the file's."""
        return title_name(self.path)

    @property
    def folder(self) -> Path:
        """The default folder of plots: in the run directory, or beside the checkpoint."""
        return RunDirectory(self.path.parent).plots

    @cached_property
    def course(self) -> Course | None:
        """The checkpoint's record of its training; None for another program's weights.

        Raises:
            CheckpointError: the checkpoint is damaged.
        """
        return read_course(self.path)

    @cached_property
    def metrics(self) -> Metrics:
        """The epochs so far and, for a whole run, its steps.

        Raises:
            CheckpointError: ``metrics.jsonl`` is garbled.
        """
        if self.whole:
            return read_metrics(RunDirectory(self.path.parent))
        return Metrics(self.course.history if self.course else ())

    @property
    def history(self) -> tuple[EpochResult, ...]:
        """The epochs, at least one.

        Raises:
            CannotDraw: no epoch has ended, or another program trained the network.
            CheckpointError: ``metrics.jsonl`` is garbled.
        """
        if epochs := self.metrics.epochs:
            return epochs
        if self.course is None:
            raise CannotDraw("another program's weights have no training history")
        raise CannotDraw("the run has not finished an epoch yet")

    @property
    def rates(self) -> list[tuple[float, float]]:
        """Learning rates over those epochs: pairs of epochs done and rate."""
        config = self.course.config if self.course else TrainConfig()
        return learning_rates(config, self.history, self.metrics.steps)

    @property
    def augmented(self) -> bool | None:
        """Whether the run augments its images; None if that is not known."""
        return self.course.config.augments if self.course else None

    @cached_property
    def norms(self) -> dict[str, list[tuple[int, Norms]]]:
        """For each layer, its norms in the middle step of each epoch that has them.

        Raises:
            CannotDraw: no epoch has norms: an older version or another program trained the run.
        """
        layers: dict[str, list[tuple[int, Norms]]] = {}
        for result in self.history:
            for layer, norms in by_layer(result.norms).items():
                layers.setdefault(layer, []).append((result.epoch, norms))
        if not layers:
            raise CannotDraw(
                "the version of mnist_cli that trained the run did not measure its layers",
                "Train it again.",
            )
        return layers


@dataclass(frozen=True)
class NetworkViews:
    """What a network computes for one image and for the test set, and what it shows by itself.

    Attributes:
        opened: the network, with a data set.
        image: number of the test image to follow through the network.
    """

    opened: OpenCheckpoint
    image: int = 0

    @property
    def network_name(self) -> str:
        """The name, in titles, of the network that is inspected."""
        first = ", first member" if self.opened.checkpoint.members > 1 else ""
        return f"{self.opened.name}{first}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.opened.classes

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers for a black image, which is enough for their weights.

        Raises:
            CannotDraw: the user's own network has no such layer.
        """
        black = torch.zeros(1, 1, 28, 28, device=self.opened.device)
        layers = trace_layers(self.opened.network, black)
        if not layers:
            raise CannotDraw("the network has no convolution or linear layer of whole images")
        return layers

    @cached_property
    def followed(self) -> Tensor:
        """The image to follow (1, H, W), uint8, on the device.

        Raises:
            UsageError: there is no such image.
        """
        test = self.opened.split("test")
        if self.image >= len(test):
            raise UsageError(
                f"test image {self.image} does not exist: {self.opened.data.spec.title} has "
                f"{len(test):,}",
                f"Choose 0 to {len(test) - 1}.",
            )
        return test.images[self.image].to(self.opened.device)

    @property
    def caption(self) -> str:
        """The followed image in titles."""
        label = int(self.opened.split("test").labels[self.image])
        return f"test image #{self.image} ({self.classes[label]})"

    @cached_property
    def activations(self) -> list[Layer]:
        """The layers for the followed image."""
        assert self.layers
        return trace_layers(self.opened.network, self._normalised())

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """The network's probability (classes,) of each class for the followed image."""
        with torch.no_grad():
            scores: Tensor = self.opened.network(self._normalised())
        return scores[0].float().softmax(0).cpu().numpy()

    def _normalised(self) -> Tensor:
        return self.opened.normalisation(self.followed[None].float())

    @cached_property
    def saliency(self) -> pixels.Saliency:
        """How the scores depend on each pixel of the followed image.

        Raises:
            CannotDraw: the network has one class.
            NoPixelGradient: it has no finite gradient with respect to the pixels.
        """
        if self.opened.checkpoint.classes < 2:
            raise CannotDraw("a network of one class has no second choice")
        return pixels.saliency(self.opened.network, self.followed, self.opened.normalisation)

    @cached_property
    def maximised(self) -> pixels.Maximised:
        """For each class, an image that maximises its score.

        Raises:
            NoPixelGradient: the network has no finite gradient with respect to the pixels.
        """
        return pixels.maximise(
            self.opened.network,
            self.opened.normalisation,
            classes=self.opened.checkpoint.classes,
            ground=1.0 if self.opened.ground == LIGHT else 0.0,
        )

    @cached_property
    def evaluation(self) -> Evaluation:
        """The results on the test set, the same as those of ``mnist eval``.

        Raises:
            NonFiniteError: the network's outputs are not finite.
        """
        return self.opened.scorer.evaluate(self.opened.split("test"), self.opened.classes)

    @cached_property
    def features(self) -> Tensor:
        """The inputs of the last linear layer (N, D) for every test image."""
        assert self.layers
        return embedding.describe(
            self.opened.network,
            self.opened.split("test").to(self.opened.device),
            self.opened.normalisation,
            batch_size=self.opened.batch_size,
        )


def mistaken_images(split: Split, mistakes: Sequence[Mistake]) -> npt.NDArray[np.uint8]:
    """The images (N, H, W) of mistakes on a split, in their order."""
    rows = {number: row for row, number in enumerate(split.indices.tolist())}
    chosen = torch.tensor([rows[one.index] for one in mistakes], dtype=torch.int64)
    return split.images.index_select(0, chosen).squeeze(1).cpu().numpy()
