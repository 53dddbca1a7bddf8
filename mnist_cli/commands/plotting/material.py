"""What pictures are made of: a run's epochs, its network, the test images; each got when needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mnist_cli.commands import provenance
from mnist_cli.commands.digit_reader import Reader
from mnist_cli.errors import DataError, NonFiniteError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mnist_cli.checkpoints.checkpoint import Checkpoint, Course
    from mnist_cli.data.load import LoadedData
    from mnist_cli.data.split import Normalisation, Split
    from mnist_cli.insight.layers import Layer
    from mnist_cli.insight.pixels import Maximised, Saliency
    from mnist_cli.runs.results import EpochResult, Norms
    from mnist_cli.training.scoring import Evaluation


class CannotDraw(UsageError):
    """A picture that this run cannot give, and why."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for; None is "as the checkpoint says"."""

    target: Path | None
    runs: Path
    model: str | None = None
    dataset: str | None = None
    data_dir: Path = Path("data")
    device: str | None = None
    image: int = 0


def open_material(request: Request) -> Material:
    """Find the checkpoint; everything else waits until a picture needs it.

    Raises:
        UsageError, CheckpointError: there is none, or the device is not available.
    """
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.runs.directory import find_checkpoint

    device = resolve_device(request.device or "auto")
    return Material(request, device, find_checkpoint(request.target, request.runs))


@dataclass(frozen=True)
class Material:
    """A checkpoint's file, and what follows from it."""

    request: Request
    device: torch.device
    path: Path

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What is in the file.

        Raises:
            CheckpointError, UsageError: see :func:`provenance.open_checkpoint`.
        """
        return provenance.open_checkpoint(self.path, self.request.runs, self.request.model)

    @cached_property
    def course(self) -> Course | None:
        """What the file tells of its training, whether or not its network is available.

        Raises:
            CheckpointError: it is damaged.
        """
        from mnist_cli.checkpoints.checkpoint import read_course

        return read_course(self.path)

    @property
    def folder(self) -> Path:
        """Where its pictures go: into the run directory, or beside the checkpoint."""
        from mnist_cli.runs.directory import RunDirectory

        return RunDirectory(self.path.parent).plots

    @property
    def name(self) -> str:
        """What titles call it: the run's name, or the file's."""
        return provenance.title_name(self.path)

    @cached_property
    def history(self) -> tuple[EpochResult, ...]:
        """All epochs of the run, or of another's file those up to the checkpoint.

        Raises:
            CannotDraw: not one has ended, or they are not known.
            CheckpointError: ``metrics.jsonl`` is garbled.
        """
        from mnist_cli.runs.directory import RunDirectory
        from mnist_cli.runs.history import read_history

        run, target = RunDirectory(self.path.parent), self.request.target
        whole = target is None or target.resolve() != self.path.resolve()
        found = read_history(run) if whole else self.course.history if self.course else ()
        if found:
            return found
        if self.course is None:
            raise CannotDraw("another program's weights say nothing of their training")
        raise CannotDraw("the run has not ended an epoch yet")

    @property
    def rates(self) -> list[tuple[float, float]]:
        """The course of the learning rate over those epochs: epochs done and the rate then."""
        from mnist_cli.config.schema import TrainConfig
        from mnist_cli.training.optim import learning_rates

        return learning_rates(self.course.config if self.course else TrainConfig(), self.history)

    @cached_property
    def norms(self) -> dict[str, list[tuple[int, Norms]]]:
        """By layer its norms in the middle step of each epoch that was measured.

        Raises:
            CannotDraw: none was: an older program trained it, or another one.
        """
        from mnist_cli.training.norms import by_layer

        layers: dict[str, list[tuple[int, Norms]]] = {}
        for result in self.history:
            for layer, norms in by_layer(result.norms).items():
                layers.setdefault(layer, []).append((result.epoch, norms))
        if not layers:
            raise CannotDraw(
                "the run was trained by an mnist_cli that did not measure its layers",
                "Train it again.",
            )
        return layers

    @cached_property
    def reader(self) -> Reader:
        """The network on the device, in the precision that it was trained in."""
        return Reader(self.checkpoint, self.device)

    @property
    def model(self) -> nn.Module:
        """The network, or all that vote, on the device."""
        return self.reader.model

    @property
    def network(self) -> nn.Module:
        """The network to look into: of an ensemble its first member."""
        return self.reader.network

    @property
    def network_name(self) -> str:
        """What titles call :attr:`network`."""
        first = ", first member" if self.checkpoint.members > 1 else ""
        return f"{self.name}{first}"

    @cached_property
    def data(self) -> LoadedData:
        """The data set that the network was trained on, if it is at hand.

        Raises:
            DataError: it is not, or is damaged.
            CheckpointError: it has other classes.
        """
        from mnist_cli.data.load import load
        from mnist_cli.report.console import warn

        checkpoint, request = self.checkpoint, self.request
        trained_on = checkpoint.data.name if checkpoint.data is not None else "auto"
        data = load(request.dataset or trained_on, request.data_dir, download=False, whole=False)
        if data.fallback:
            warn(
                f"MNIST is not available; these are scikit-learn's bundled digits ({data.fallback})"
            )
        provenance.check_classes(checkpoint, data)
        if other := provenance.elsewhere(checkpoint, data):
            warn(other)
        return data

    @cached_property
    def test(self) -> Split:
        """The test images, on the device."""
        return self.data.test.to(self.device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; numbers where neither run nor data give any."""
        if self.checkpoint.data is not None:
            return self.checkpoint.data.classes
        return tuple(str(number) for number in range(self.checkpoint.classes))

    @cached_property
    def normalisation(self) -> Normalisation:
        """The one that the network was trained with; for another program's, the data set's.

        Raises:
            DataError: another program's, and no data are at hand.
        """
        from mnist_cli.data.split import Normalisation

        known = self.checkpoint.data
        if known is not None:
            return Normalisation(known.mean, known.std)
        return provenance.normalisation(self.checkpoint, self.data)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, seen on a black image: enough for the weights.

        Raises:
            CannotDraw: a network of the user's own has none.
        """
        import torch

        from mnist_cli.insight.layers import trace_layers

        found = trace_layers(self.network, torch.zeros(1, 1, 28, 28, device=self.device))
        if not found:
            raise CannotDraw(
                "the network has no convolution or linear layer of which to draw the answers"
            )
        return found

    @cached_property
    def followed(self) -> Tensor:
        """The image to follow (1, H, W), uint8, on the device.

        Raises:
            UsageError: there is no such image.
        """
        index = self.request.image
        if index >= len(self.test):
            raise UsageError(
                f"--image {index}: {self.data.spec.title} has {len(self.test):,} test images",
                f"Choose 0 to {len(self.test) - 1}.",
            )
        return self.test.images[index]

    @property
    def caption(self) -> str:
        """What titles call the image that is followed."""
        label = self.classes[int(self.test.labels[self.request.image])]
        return f"test image #{self.request.image} ({label})"

    @cached_property
    def activations(self) -> list[Layer]:
        """The layers, seen on the image that is followed."""
        from mnist_cli.insight.layers import trace_layers

        assert self.layers
        return trace_layers(self.network, self.normalisation(self.followed[None].float()))

    @property
    def probabilities(self) -> Tensor:
        """How likely (classes,) the network finds each class for that image."""
        import torch

        with torch.no_grad():
            scores = self.network(self.normalisation(self.followed[None].float()))
        return cast("Tensor", scores[0].float().softmax(0).cpu())

    @cached_property
    def saliency(self) -> Saliency:
        """Which pixels of that image the answer hangs on."""
        from mnist_cli.insight.pixels import saliency

        if self.checkpoint.classes < 2:
            raise CannotDraw("a network of one class has no second choice")
        return saliency(self.network, self.followed, self.normalisation)

    @cached_property
    def maximised(self) -> Maximised:
        """For each class an image made for it: the network's own idea of it."""
        from mnist_cli.insight.pixels import maximise

        light = provenance.own_ground(self.checkpoint) == provenance.LIGHT
        return maximise(
            self.network,
            self.normalisation,
            classes=self.checkpoint.classes,
            ground=1.0 if light else 0.0,
        )

    @property
    def own(self) -> bool:
        """Whether its images are the user's own."""
        return provenance.trained_on_own_data(self.checkpoint)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The figures on the test set, as ``mnist eval`` gives them.

        Raises:
            NonFiniteError: the network's answers are not finite.
        """
        from mnist_cli.devices.device import compute_settings
        from mnist_cli.training.scoring import evaluate, predict_members

        with compute_settings(self.device):
            answers = predict_members(
                self.model,
                self.test,
                self.normalisation,
                batch_size=self.batch_size,
                precision=self.reader.precision,
                option="",
            )
        if not bool(answers.isfinite().all()):
            raise NonFiniteError(f"{self.checkpoint.path}: the network's answers are not finite")
        return evaluate(answers, self.data.test, self.classes)

    @cached_property
    def features(self) -> Tensor:
        """What the last linear layer is given (N, D) for every test image."""
        from mnist_cli.insight.embedding import describe

        assert self.layers
        return describe(self.network, self.test, self.normalisation, batch_size=self.batch_size)

    @property
    def batch_size(self) -> int:
        """Images at once: the run's own."""
        from mnist_cli.config.schema import TrainConfig

        return (self.checkpoint.config or TrainConfig()).eval_batch_size


MISSING = (CannotDraw, DataError)
"""For what reasons a picture that was not named is left out."""
