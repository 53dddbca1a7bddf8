"""The public callback: a class whose methods a run calls while it trains. Imports no torch.

:mod:`mnist_cli.training.calling` calls them. The program's own reports see more of a run: see
:class:`mnist_cli.training.observer.Observer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from mnist_cli.training.run_summary import Summary


@dataclass(frozen=True)
class ObservedRun:
    """The run that a callback follows.

    Attributes:
        name: the folder's name.
        path: the run's folder.
        config: the resolved configuration, as in ``config.toml``; a copy.
        dataset: name of the data set.
        device: ``cpu``, ``cuda:0``, …
        classes: names of the classes.
        mean, std: the normalisation of images whose pixels lie between 0 and 1.
        epochs: number of epochs to train.
        steps: number of steps to train.
        step: number of steps that were done when this process began; not 0 if the run is resumed.
        group: the sweep that the run belongs to; empty if it belongs to none.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    dataset: str
    device: str
    classes: tuple[str, ...]
    mean: float
    std: float
    epochs: int
    steps: int
    step: int = 0
    group: str = ""
    _copy: Callable[[], nn.Module] | None = field(default=None, repr=False, compare=False)
    _note: Callable[[str], None] | None = field(default=None, repr=False, compare=False)

    def note(self, message: str) -> None:
        """Show a message in the way that the program shows its own notes."""
        if self._note is not None:
            self._note(message)

    def model(self) -> nn.Module:
        """A copy of the network in its present state, in evaluation mode, on the run's device.

        It is the network that is validated: with averaged weights if the run averages them.
        Changing the copy does not change the run.

        Raises:
            RuntimeError: the run has ended.
        """
        if self._copy is None:
            raise RuntimeError(f"the run has ended; its network is in its folder, {self.path}")
        return self._copy()

    def let_go(self) -> None:
        """Release the network and the terminal at the end of the run. The program calls this."""
        object.__setattr__(self, "_copy", None)
        object.__setattr__(self, "_note", None)


@dataclass(frozen=True)
class Progress:
    """Metrics of some steps or of an epoch: plain numbers, named as in ``metrics.jsonl``.

    Attributes:
        kind: ``step`` or ``epoch``.
        epoch: the epoch that these steps belong to, from 1.
        step: number of steps in the run so far.
        epochs_done: number of epochs so far, with the fraction of the running one.
        train_loss: mean over the training images since the last call; for an epoch, over all of it.
        train_plain_loss: the same without label smoothing.
        train_accuracy: a fraction of 1.
        grad_norm: 2-norm of the whole gradient before clipping; mean over the steps.
        lr: learning rate of the last step.
        images_per_second: training images of all processes over the seconds of the steps alone.
        val_loss, val_accuracy: on the validation set; None for steps and without a validation set.
        norms: for an epoch, ``gradient``, ``weight`` and ``update`` of each parameter in the
            epoch's middle step (2-norms).
    """

    kind: str
    epoch: int
    step: int
    epochs_done: float
    train_loss: float
    train_plain_loss: float | None
    train_accuracy: float
    grad_norm: float
    lr: float
    images_per_second: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    norms: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)

    def figures(self) -> dict[str, float]:
        """The metrics that are not None, for a logger: such as ``epoch/val_loss``."""
        apart = ("kind", "epoch", "step", "norms")
        values = {name: value for name, value in vars(self).items() if name not in apart}
        return {f"{self.kind}/{name}": value for name, value in values.items() if value is not None}


class Callback:
    """Follows a run. Override the methods you need; by default, they do nothing.

    If several processes train a run, only the leading one calls them. A callback does not change
    the run's bits. After each call, the random generators and torch's settings are restored, with
    a warning if a setting had changed. :meth:`ObservedRun.model` gives a copy. Time in callbacks
    does not count as training time.

    If a method raises, the run ends with that exception: its checkpoint is saved, and the other
    callbacks' :meth:`on_error` is called. For each :meth:`on_start`, either :meth:`on_end` or
    :meth:`on_error` is called once.

    Attributes:
        every: number of steps between two calls of :meth:`on_step`, counted within each epoch; at
            most one epoch. It is read after :meth:`on_start`. 0 follows the run's ``log_every``: by
            default about 100 calls per run. Each call waits for the device.
    """

    every: int = 0

    def on_start(self, run: ObservedRun) -> None:
        """Called before the first step, also of a resumed run; an error here ends the run."""

    def on_step(self, run: ObservedRun, progress: Progress) -> bool | None:
        """Called after every :attr:`every` steps; if it returns True, the run stops.

        On CUDA, one replayed graph may take several steps; then one call follows all of them.
        """

    def on_epoch(self, run: ObservedRun, progress: Progress) -> bool | None:
        """Called after each epoch is validated and saved; if it returns True, the run stops."""

    def on_end(self, run: ObservedRun, summary: Summary) -> None:
        """Called at the end, with the score on the test set, also if a callback stopped the run."""

    def on_error(self, run: ObservedRun, error: BaseException) -> None:
        """Called if the run fails or is interrupted; afterwards, the run ends with ``error``."""
