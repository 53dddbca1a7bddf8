"""Brings what resuming reads of an older checkpoint into today's form, one named step each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

Document = Mapping[str, Any]


def add_graphs_and_ranks(document: Document) -> Document:
    """Programs without CUDA graphs and ranks recorded neither."""
    environment = {"cuda_graph": False, "ranks": 1, **document["environment"]}
    return {**document, "environment": environment}


def add_norms(document: Document) -> Document:
    """Programs that measured no norms of parameters kept none of the running epoch."""
    return {**document, "running": {"norms": None, **document["running"]}}


def add_steps(document: Document) -> Document:
    """Programs that logged no steps kept none."""
    empty = {"rows": torch.zeros(0, 8).double(), "marks": torch.zeros(0, 9).double()}
    return {"steps": empty, **document}


MIGRATIONS = (add_graphs_and_ranks, add_norms, add_steps)


def migrate(document: Document) -> Document:
    """The document with everything that later programs added; the one given is not changed.

    Raises:
        LookupError, TypeError: the document is not a checkpoint's.
    """
    for migration in MIGRATIONS:
        document = migration(document)
    return document
