"""Nodes that block a gradient entry by entry: ReLU, and tanh and sigmoid where they are flat.

Works on plain data. Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mnist_cli.autograd.graph import Node

RELU_NAMES = ("Relu", "Threshold", "Hardtanh", "ClampMin")
"""Beginnings of the names of nodes that pass a gradient or block it entry by entry."""


DEAD_UNITS = 0.1
"""Share of a ReLU's units that pass nothing on for the whole batch.

If units fire at rates spread evenly from 0 to 1, one of N + 1 is silent for N examples by chance:
1.5% for 64."""
FEW_PLACES = 64
"""Below this number of places in all images, the limit is ``DEAD_UNITS_OF_FEW``."""
DEAD_UNITS_OF_FEW = 0.75
"""Half of the units are silent in a layer that computes nearly the same for the few examples, as
deep in an untrained network."""
SATURATED = 0.5
"""Share of the arriving non-zero gradient entries that tanh or sigmoid blocks. Their slope rounds
to zero in float32 only beyond ±9 and ±17."""
SATURATING_NAMES = ("Tanh", "Sigmoid", "Hardsigmoid")
"""Beginnings of the names of nodes whose slope is zero for inputs far from zero."""
BLOCKED = 0.95
"""Share of the arriving non-zero gradient entries that a ReLU blocks, if units were not counted.

For inputs symmetric about zero, half are blocked. If nearly all are, units never fire.
"""


@dataclass(frozen=True)
class DeadUnits:
    """Units of a ReLU that received a gradient and passed none on, over the whole batch.

    ``places`` is the number of examples times the number of places in each.
    """

    dead: int
    total: int
    places: int = FEW_PLACES

    @property
    def many(self) -> bool:
        """Whether too many are dead for chance to explain it."""
        if self.places >= FEW_PLACES:
            return self.dead >= max(1, DEAD_UNITS * self.total)
        # Of few units, half plus three standard deviations can exceed this share.
        chance = self.total / 2 + 1.5 * math.sqrt(self.total)
        return self.dead >= max(1, min(self.total, max(DEAD_UNITS_OF_FEW * self.total, chance)))


def has_no_units(node: Node) -> bool:
    """Whether the node has no units: one entry for each example, as the hinge of a loss has."""
    return bool(node.outputs) and len(node.outputs[0].shape) < 2


def is_relu(node: Node) -> bool:
    """Whether the node passes or blocks each entry, as ReLU does."""
    clamps = node.name.startswith("Clamp") and node.attributes.get("min") == 0
    return clamps or node.name.startswith(RELU_NAMES)


def blocked_share(node: Node) -> float:
    """Share of the arriving non-zero entries that do not leave; 0 if none arrives."""
    if not node.grad_in or not node.grad_out or not node.grad_in[0] or not node.grad_out[0]:
        return 0.0
    came = 1 - node.grad_in[0].zeros
    left = 1 - node.grad_out[0].zeros
    return max(0.0, 1 - left / came) if came else 0.0


def saturated_share(node: Node) -> float:
    """Share of the non-zero entries that tanh or sigmoid blocks; 0 for other nodes."""
    return blocked_share(node) if node.name.startswith(SATURATING_NAMES) else 0.0
