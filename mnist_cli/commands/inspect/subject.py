"""Opens the network and the batch that the options of ``mnist inspect-grad`` ask for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.checkpoints.checkpoint import OtherNetworkError
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.errors import CheckpointError
from mnist_cli.gradients.batch_loss import BatchLoss
from mnist_cli.gradients.dump import make_dump
from mnist_cli.gradients.request import Request, open_batch
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.report.console import note, warn
from mnist_cli.runs.directory import find_checkpoint


@dataclass(frozen=True)
class Asked:
    """A request, and where its checkpoint is; ``target`` None is the newest run, if there is one.

    ``quiet`` omits how another program's file was read. ``told`` holds the warnings so
    far, which the other side of a comparison does not repeat.
    """

    target: Path | None
    runs: Path
    request: Request
    quiet: bool = False
    told: set[str] = field(default_factory=set)

    def graph(self, target: Path | None = None, **changes: Any) -> GradGraph:
        """The recorded graph of another target, or under another device, precision or mode."""
        other = replace(
            self, target=target or self.target, request=replace(self.request, **changes)
        )
        return make_dump(other.opened(quiet=True)).graph

    def opened(self, *, quiet: bool, computed: str = "") -> BatchLoss:
        """The network and its batch; prints what the user should know of them.

        ``computed`` is the precision, if it is not the batch's.
        """
        found = self._found()
        batch = open_batch(self.request, found)
        warnings = [*batch.notes]
        if found is None:
            fresh = f"inspecting a fresh network '{batch.name}' on {batch.dataset}"
            none = f"no checkpoint was named and {self.runs}/ has none: "
            warnings.insert(0, fresh if self.request.model is not None else none + fresh)
        for text in warnings:
            if text not in self.told:
                warn(text)
        self.told.update(warnings)
        if not quiet:
            note(batch.describe(computed))
            if found is not None:
                note_foreign(found)
        return batch

    def _found(self) -> OpenCheckpoint | None:
        """The checkpoint that was named, or the newest run's; None if there is no run at all.

        A network that is named without a checkpoint is fresh. For one of the user's own, the
        newest run is tried first: a checkpoint of it cannot be read without naming it.
        """
        model, named = self.request.model, self.target is not None
        if not named and model is not None and not model.is_own:
            return None
        try:
            find_checkpoint(self.target, self.runs)
        except CheckpointError:
            if named:
                raise
            return None
        try:
            return open_checkpoint(
                self.target,
                self.runs,
                model=model,
                device=self.request.device,
                precision=self.request.precision,
                source=self.request.source,
                quiet=self.quiet,
                normalise=self.request.normalise,
            )
        except OtherNetworkError:
            if named:
                raise
            return None
