"""Where everything random comes from: a seed, a purpose and numbers such as the epoch.

Two purposes never share a stream, and the stream of an epoch does not depend on what was drawn
in the epochs before it: this is what makes a resumed run equal to one never stopped.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A seed below 2**63 for ``purpose``, from SHA-256 over the seed, the purpose and numbers."""
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
