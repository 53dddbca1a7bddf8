"""Fetching made-up data sets from servers of our own, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from made_up import Made
from servers import Server

from mnist_cli.data import fetch

Serve = Callable[..., Server]

# What a test waits for goes wrong at once or not at all; this only bounds a test that fails.
PATIENT = 60.0


def run(made: Made, root: Path, *urls: str, **options) -> fetch.FetchReport:
    """Fetch with short bounds; a keyword that is given wins.

    Not shorter: on a machine with more to do than it has cores, a good server was once given up.
    """
    bounds = {"connect_timeout": 2.0, "total_timeout": PATIENT, "slow_timeout": 2.0}
    return fetch.fetch(made.spec, root, mirrors=urls, **(bounds | options))


def files_in(root: Path) -> dict[str, bytes]:
    """Everything under ``root`` but the lock, by its path there."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name != fetch.LOCK)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def expected(made: Made) -> dict[str, bytes]:
    return {f"MNIST/raw/{name}": content for name, content in (made.raw | made.archives).items()}
