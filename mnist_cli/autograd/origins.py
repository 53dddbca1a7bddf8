"""Which operation of a forward pass makes the first NaN, and which the first infinity.

Knows operations as they run, not graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from mnist_cli.autograd.bits import entries, tensors_in, without_values
from mnist_cli.autograd.torch_private import each_operation, next_sequence_number


@dataclass(frozen=True)
class Made:
    """The operation that makes the first NaN or infinity.

    Attributes:
        operation: its name, as ``aten.log``.
        sequence: the sequence number of its node.
        has_node: whether it has a node: an input requires a gradient.
        from_finite: whether all its inputs are finite.
    """

    operation: str
    sequence: int
    has_node: bool
    from_finite: bool


@contextmanager
def first_made() -> Iterator[dict[str, Made]]:
    """Look at each operation while the block runs; fills in ``NaN`` and ``infinity``."""
    found: dict[str, Made] = {}

    def look(operation: str, given: object, result: object) -> None:
        if "empty" in operation or len(found) == 2:  # memory that nobody has written yet
            return
        for kind in _kinds(result) - found.keys():
            inputs = list(tensors_in(given))
            needs = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
            # The node is made before the operation runs.
            last = next_sequence_number() - 1
            found[kind] = Made(operation, last, needs, not _kinds(inputs))

    with each_operation(look):
        yield found


def _kinds(value: object) -> set[str]:
    """Which of NaN and infinity the tensors in a value have."""
    kinds: set[str] = set()
    for one in tensors_in(value):
        if not (one.is_floating_point() or one.is_complex()) or without_values(one):
            continue
        values = entries(one)
        checks: dict[str, Any] = {"NaN": torch.isnan, "infinity": torch.isinf}
        kinds |= {kind for kind, check in checks.items() if bool(check(values).any())}
    return kinds
