"""Restores generators and settings of Python, NumPy and torch after a user's code has run.

Then the code changes no other computation of the process, and a run repeats.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from mnist_cli.devices.float32 import Products
from mnist_cli.errors import Caution

_SETTINGS: tuple[tuple[str, Callable[[], Any], Callable[[Any], object]], ...] = (
    ("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("torch's default device", torch.get_default_device, torch.set_default_device),
    ("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    ("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    (
        "torch's anomaly detection",
        torch.is_anomaly_enabled,
        lambda on: torch.autograd.set_detect_anomaly(on),
    ),
    (
        "torch's deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    ("torch's precision of float32 products", Products.now, Products.apply),
    ("the working directory", os.getcwd, os.chdir),
)
"""Each setting: its name, the function that reads it, and the function that sets it."""


@contextlib.contextmanager
def settings_kept(who: str) -> Iterator[None]:
    """Restore the settings that the code in the block changes, and warn about each.

    The warning names ``who``: the file or the network.
    """
    before = [_read(read) for _, read, _ in _SETTINGS]
    changed = []
    try:
        yield
    finally:
        for (name, read, write), value in zip(_SETTINGS, before, strict=True):
            now = _read(read)
            if str(now) != str(value):
                _write(write, value)
                changed.append(f"{name} to {now} (restored to {value})")
    if changed:
        # Warn from this line: then Python shows it once, even if the code runs many times.
        warnings.warn(f"{who} changes {', and '.join(changed)}", Caution, stacklevel=1)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError:  # the working directory was deleted
        return None


def _write(write: Callable[[Any], object], value: Any) -> None:
    if value is None:
        return
    # A default device of "cpu" would be a mode that sees every function; None is not a mode.
    write(None if value == torch.device("cpu") else value)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch for the CPU; then restore their states."""
    with torch.random.fork_rng(devices=[]), others_seeded(seed):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def others_kept() -> Iterator[None]:
    """Restore the states of the global generators of Python and NumPy at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def others_seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and NumPy; then restore their states."""
    with others_kept():
        seed_others(seed)
        yield


def seed_others(seed: int) -> None:
    """Seed the global generators of Python and NumPy from a number below 2**64."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
