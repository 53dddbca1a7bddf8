"""The seed of every random choice, from the run's seed, a purpose and numbers such as the epoch.

Each purpose has a stream of its own, and the stream of an epoch does not depend on earlier epochs.
This makes a resumed run equal to an uninterrupted one.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A seed below 2**63 for ``purpose``, from SHA-256 over the seed, the purpose and numbers."""
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
