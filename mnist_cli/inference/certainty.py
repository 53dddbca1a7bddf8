"""When an answer is unsure. Imports nothing."""

from __future__ import annotations

UNSURE = 0.6
"""An answer with a smaller probability is unsure: most wrong answers are, and few right ones."""
