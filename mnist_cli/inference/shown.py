"""A network to summarise: with fresh weights, or from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_cli.config.names import ModelName
from mnist_cli.config.schema import compose, from_flags
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.training.state import fresh_model


@dataclass(frozen=True)
class Shown:
    """A network and its origin.

    Attributes:
        network: an ensemble's first member.
        name: of the network.
        classes: number of classes.
        origin: the source of the network, in one line.
        members: number of networks that vote.
        checkpoint: its file; None for fresh weights.
        warnings: messages for the user.
        notes: how another program's file was read.
    """

    network: nn.Module
    name: ModelName
    classes: int
    origin: str
    members: int = 1
    checkpoint: Path | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fresh(name: ModelName, classes: int, origin: str) -> Shown:
    """A network as ``mnist train`` begins with it, its memory order included.

    Raises:
        UsageError: the name is unknown, or the user's own network cannot be built.
    """
    return Shown(
        fresh_model(compose([from_flags({"model": name})]), classes), name, classes, origin
    )


def saved(opened: OpenCheckpoint) -> Shown:
    """The network of a checkpoint."""
    members, name = opened.checkpoint.members, opened.checkpoint.model
    first = f"the first of {members} networks that vote: " if members > 1 else ""
    return Shown(
        network=opened.network,
        name=name,
        classes=opened.checkpoint.classes,
        origin=f"{opened.path}: {first}{name}",
        members=members,
        checkpoint=opened.path,
        warnings=opened.warnings,
        notes=opened.checkpoint.notes,
    )
