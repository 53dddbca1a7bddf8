"""A small data set made on the spot, and servers on loopback, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_up import Made, make
from servers import Server


@pytest.fixture
def made() -> Made:
    return make()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers; a proxy in the environment does not come between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    servers: list[Server] = []

    def start(certificate: Path | None = None) -> Server:
        servers.append(Server(certificate))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
