"""How long torch's threads look for work before they sleep. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

SPINS = "5000"
"""How often a thread of torch looks for work before it sleeps; GNU OpenMP's default is 300,000.

Measured with the preset ``fast`` on two cores (2 to 3 runs each, alternating). On a quiet machine,
training takes 1.2 to 1.3 s instead of 1.1 to 1.2. Beside another busy process, it takes 5 s instead
of 16 to 66: a thread that spins holds the core needed by the thread for which it waits.
"""
_VARIABLE = "GOMP_SPINCOUNT"


def spin_briefly() -> None:
    """Let OpenMP's threads sleep soon, unless the user's environment says how they are to wait.

    It reads its environment when torch is imported, so this comes before.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_VARIABLE, SPINS)


@contextlib.contextmanager
def spinning_briefly() -> Iterator[None]:
    """As :func:`spin_briefly` while torch is imported inside; the environment is then as before."""
    before = os.environ.get(_VARIABLE)
    spin_briefly()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
