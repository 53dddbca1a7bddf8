"""The proofs of ``mnist doctor --prove``, in the order in which they run."""

from __future__ import annotations

from mnist_cli.proving import arithmetic, limits, preset_gradients, programs, training_steps
from mnist_cli.proving.claims import Proof

PROOFS = (
    Proof("arithmetic against float64", arithmetic.check),
    Proof("gradients against float64", preset_gradients.check),
    Proof("captured steps against steps one by one", training_steps.check_captured),
    Proof("no wait for the device within an epoch", training_steps.check_waits),
    Proof("replay of inspect-grad", programs.check_replay),
    Proof("interrupted and resumed", programs.check_resume),
    Proof("two processes against one", programs.check_two_processes),
    Proof("a batch too large is refused with one that fits", limits.check_memory),
    Proof("speed", limits.check_fast),
)
