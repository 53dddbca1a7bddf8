"""Measures recipes side by side: each run a process of its own, the recipes in turn."""
