"""The claims of ``mnist doctor --prove``, in the order in which they are checked."""

from __future__ import annotations

from mnist_cli.proving import (
    arithmetic,
    memory_and_speed,
    preset_gradients,
    programs,
    training_steps,
)
from mnist_cli.proving.claims import Claims, Subject


def all_claims(subject: Subject) -> Claims:
    """Every claim about a device, with its check; nothing is checked yet."""
    return {
        **arithmetic.claims(subject),
        **preset_gradients.claims(subject),
        **training_steps.claims(subject),
        **programs.claims(subject),
        **memory_and_speed.claims(subject),
    }
