"""The networks and their registry.

Every network maps images (N, 1, 28, 28), float, normalised, to scores (N, 10). Those whose
origin ends in ``log_softmax`` return log-probabilities: cross-entropy is then the same figure,
since log-softmax leaves log-probabilities as they are.
"""

from __future__ import annotations
