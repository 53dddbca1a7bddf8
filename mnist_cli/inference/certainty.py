"""The limit below which an answer is unsure. Imports nothing."""

from __future__ import annotations

UNSURE = 0.6
"""Answers with a smaller probability are unsure: so are most wrong answers, and few right ones."""
