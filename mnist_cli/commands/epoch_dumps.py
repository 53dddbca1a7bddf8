"""``mnist train --dump-grad 1,5,last``: the gradients of one fixed batch during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.config.names import dataset_label
from mnist_cli.errors import UsageError
from mnist_cli.training.observer import Observer

if TYPE_CHECKING:
    from mnist_cli.runs.results import EpochResult
    from mnist_cli.training.session import Session


@dataclass(frozen=True)
class EpochDumps(Observer):
    """Writes a gradient dump after the chosen epochs."""

    epochs: frozenset[int] = frozenset()
    last: bool = False

    @classmethod
    def parse(cls, text: str | None) -> EpochDumps:
        """Read ``1,5,last``.

        Raises:
            UsageError: something that is neither an epoch, counted from 1, nor ``last``.
        """
        words = [word.strip().lower() for word in (text or "").split(",") if word.strip()]
        for word in words:
            if word != "last" and not (word.isdecimal() and int(word) > 0):
                raise UsageError(
                    f"--dump-grad {text}: '{word}' is not an epoch",
                    "Give epochs counted from 1, or last: --dump-grad 1,5,last.",
                )
        epochs = frozenset(int(word) for word in words if word != "last")
        return cls(epochs, "last" in words)

    def check(self, epochs: int, done: int = 0) -> None:
        """Refuse epochs that the run does not have, or has trained already.

        Args:
            epochs: number of epochs of the run.
            done: number of epochs that are done before it goes on.

        Raises:
            UsageError: names the epoch.
        """
        beyond = [one for one in self.epochs if one > epochs]
        if beyond:
            has = "1 epoch" if epochs == 1 else f"{epochs} epochs"
            raise UsageError(
                f"--dump-grad {max(beyond)}: the run has {has}",
                f"Give epochs up to {epochs}, or last.",
            )
        before = [one for one in self.epochs if one <= done]
        if before:
            raise UsageError(
                f"--dump-grad {min(before)}: the run has already trained that epoch",
                f"It goes on with epoch {done + 1}." if done < epochs else "It is complete.",
            )

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Check the epochs of the run, and say which were not reached.

        Raises:
            UsageError: see :meth:`check`.
        """
        from mnist_cli.report.console import warn

        self.check(session.config.epochs, session.state.epoch)
        if self.last and session.state.finished:
            raise UsageError("--dump-grad last: the run is complete", "Omit --dump-grad.")
        yield
        missed = sorted(one for one in self.epochs if one > len(session.state.history))
        if missed and session.state.finished:
            named = ", ".join(map(str, missed))
            warn(f"--dump-grad {named}: nothing was dumped, since the run stopped before")

    def epoch(self, session: Session, result: EpochResult) -> bool:
        """Write the dump if this epoch was chosen; never ends the run."""
        if result.epoch in self.epochs or (self.last and session.state.finished):
            write_epoch_dump(session, result.epoch)
        return False


def write_epoch_dump(session: Session, epoch: int) -> Path:
    """Write ``grad/epoch-NNNN.json``, always of the batch that ``mnist inspect-grad`` takes.

    Uses a copy of the network, or of an ensemble's first member, since a batch norm in training
    mode would remember the batch. Random numbers come from forked generators. The dump therefore
    does not change the run's bits.
    """
    from mnist_cli.autograd import dumps
    from mnist_cli.base.files import atomic_write
    from mnist_cli.gradients.batch_loss import BatchLoss, choose_batch
    from mnist_cli.gradients.dump import make_dump
    from mnist_cli.inference.run_data import cut
    from mnist_cli.networks.ensemble import first_member

    state, config, data, compute = session.state, session.config, session.data, session.compute
    batch = choose_batch(cut(config, data).train, None, config.seed)
    subject = BatchLoss(
        model=first_member(state.model).train(),
        name=config.model.label,
        images=session.normalisation(batch.images.to(compute.device).float()),
        labels=batch.labels.to(compute.device),
        indices=tuple(batch.indices.tolist()),
        dataset=dataset_label(data.spec.name),
        split="train",
        device=compute.device,
        precision=compute.precision,
        seed=config.seed,
        training=True,
        smoothing=config.label_smoothing,
        deterministic=config.deterministic,
        source=session.run.last,
    )
    graph = make_dump(subject).graph.with_context(epoch=epoch, step=state.step)
    path = session.run.gradients / f"epoch-{epoch:04d}.json"
    atomic_write(path, dumps(graph), parents=True)
    return path
