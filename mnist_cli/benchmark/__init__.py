"""Measures recipes on this machine, each run in a separate process, one after the other."""

FACTORS = ("images", "batch", "width", "threads")
"""What the cost of training may grow with."""
