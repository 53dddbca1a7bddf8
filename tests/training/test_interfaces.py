"""Which network the ranks talk over: loopback for one machine, the master's for several."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from mnist_cli.training.distributed.interfaces import GLOO, NCCL, choose_network
from mnist_cli.training.distributed.rank_environment import RankPlace

HERE_TWICE = RankPlace(0, 2, 0, 2, "127.0.0.1:29500")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the interface")


def on_two_machines(host: str) -> RankPlace:
    return RankPlace(0, 2, 0, 1, f"{host}:29500")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing chosen yet, and what is chosen gone again after the test."""
    for name in (GLOO, NCCL):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_loopback_is_named_to_both_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL takes a name for the beginning of one, unless it is told otherwise."""
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "lofty0")])
    monkeypatch.setenv(NCCL, "lofty0")
    choose_network(HERE_TWICE)
    assert os.environ[GLOO] == "lo"
    assert os.environ[NCCL] == "lofty0"  # the user knows better
    monkeypatch.delenv(NCCL)
    choose_network(HERE_TWICE)
    assert os.environ[NCCL] == "=lo"


@LINUX
@pytest.mark.parametrize(
    ("name", "host", "chosen", "interface"),
    [
        ("localhost", "127.0.0.1", "", "lo"),  # as on Debian: nobody else can call this address
        ("localhost", "127.0.0.1", "eth7", "eth7"),  # the user's choice
        ("localhost", "::1", "", ""),
        ("localhost", "no-such-host.invalid", "", ""),
        ("no-such-host.invalid", "127.0.0.1", "", "lo"),
        (64 * "h", "127.0.0.1", "", "lo"),  # longer than a name may be
    ],
)
def test_gloo_gets_the_interface_that_leads_to_the_master(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str, chosen: str, interface: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    if chosen:
        monkeypatch.setenv(GLOO, chosen)
    choose_network(on_two_machines(host))
    assert os.environ.get(GLOO, "") == interface
    assert NCCL not in os.environ  # it never chooses loopback, and is not made to


@pytest.mark.parametrize("address", ["203.0.113.5", "fe80::1%2"])
def test_a_name_that_others_can_call_is_left_to_gloo(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_values: found)
    choose_network(on_two_machines("127.0.0.1"))
    assert GLOO not in os.environ
