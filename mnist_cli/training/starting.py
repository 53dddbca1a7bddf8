"""Starts a run from a checkpoint's weights: fine-tuning, training longer, another program's file.

The checkpoint determines only the network and its weights. Optimiser, schedule, seed and data
belong to the new run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_cli.checkpoints.checkpoint import Checkpoint
from mnist_cli.config.names import ModelName
from mnist_cli.config.normalisations import in_words
from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.split import Normalisation
from mnist_cli.errors import UsageError
from mnist_cli.networks import ensemble
from mnist_cli.runs.directory import find_checkpoint
from mnist_cli.training import rank_agreement
from mnist_cli.training.ranks import Ranks


@dataclass(frozen=True)
class Start:
    """A checkpoint whose weights a run begins with.

    Attributes:
        checkpoint: the checkpoint; ranks that do not lead read it from a copy.
        record: ``path`` and ``sha256`` of the file, for the run's records.
    """

    checkpoint: Checkpoint
    record: Mapping[str, str]

    def configured(self, config: TrainConfig) -> TrainConfig:
        """The configuration with this checkpoint's network and absolute path.

        Raises:
            UsageError: the run trains another number of networks than the checkpoint holds.
        """
        self._check_members(config.ensemble)
        update = {"model": self.checkpoint.model, "start": self.record["path"]}
        return config.model_copy(update=update)

    def _check_members(self, members: int) -> None:
        found, path = self.checkpoint.members, self.record["path"]
        if found == members:
            return
        if found == 1:
            raise UsageError(
                f"an ensemble of {members} cannot start from {path}, which holds one network: all "
                "members would be the same",
                "Train one network (ensemble = 1), or start from an ensemble.",
            )
        raise UsageError(
            f"{path} holds an ensemble of {found} networks, and this run trains {members}",
            f"Train the same number: ensemble = {found}.",
        )

    def load_into(self, model: nn.Module, classes: int) -> None:
        """Replace a network's fresh weights, except those that :meth:`made_anew` names."""
        fresh = model.state_dict()
        kept = {name: fresh[name] for name in self.made_anew(classes)}
        model.load_state_dict({**self.checkpoint.weights, **kept})

    def made_anew(self, classes: int) -> list[str]:
        """The weights that depend on the number of classes, if the checkpoint's number differs."""
        one = self.checkpoint
        if one.classes == classes:
            return []
        here = ensemble.expected_weights(one.model, classes, one.members)
        return [name for name, new in here.items() if new.shape != one.weights[name].shape]

    def notes(self, classes: int, used: Normalisation) -> list[str]:
        """In words: what the run starts from, the weights that it does not use, what else differs."""
        one = self.checkpoint
        notes = [f"starting from the weights of {self.record['path']}", *one.notes]
        if one.changes:
            notes.append(f"the code has changed since they were trained: {'; '.join(one.changes)}")
        if anew := self.made_anew(classes):
            notes.append(
                f"reinitialised for {classes} classes instead of {one.classes}: {', '.join(anew)}"
            )
        known = (one.data.mean, one.data.std) if one.data is not None else one.stated
        if known is not None and known != (used.mean, used.std):
            notes.append(
                f"they were trained on images normalised with {in_words(*known)}; this run uses "
                f"{in_words(used.mean, used.std)}"
            )
        return notes


def located(config: TrainConfig, runs: Path) -> TrainConfig:
    """The configuration with the absolute path of the checkpoint to start from.

    Raises:
        CheckpointError: there is none.
    """
    if config.start is None:
        return config
    path = find_checkpoint(Path(config.start), runs)
    return config.model_copy(update={"start": str(path.absolute())})


def find_start(
    config: TrainConfig, runs: Path, named: ModelName | None, ranks: Ranks
) -> Start | None:
    """The checkpoint that the configuration starts from; None if it starts from fresh weights.

    Args:
        config: the run's configuration.
        runs: folder of the run directories.
        named: the network that the user has named; None accepts any.
        ranks: the processes that share the run; the leading one finds the file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds another network than ``named``.
        UsageError: the user's own network cannot be built.
    """
    if config.start is None:
        return None
    paths: list[Path] = []

    def find() -> Path:
        paths.append(Path(located(config, runs).start or ""))
        return paths[0]

    checkpoint = rank_agreement.shared_checkpoint(find, named, ranks)
    if not paths:
        return Start(checkpoint, {"path": config.start, "sha256": ""})
    digest = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    return Start(checkpoint, {"path": str(paths[0]), "sha256": digest})
