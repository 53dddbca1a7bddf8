"""Chooses the network interface over which the ranks communicate."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from ipaddress import ip_address

from mnist_cli.training.distributed.rank_environment import RankPlace

GLOO, NCCL = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"
"""The variables that name the interface; a value set by the user is kept."""

_SIOCGIFADDR = 0x8915
"""Linux's request for an interface's address, netdevice(7)."""


def choose_network(place: RankPlace) -> None:
    """Name loopback if all ranks run here, else the interface that gloo would not find.

    gloo gives the others the address to which this machine's host name resolves. On many machines
    this is 127.0.1.1 or another loopback address, which no other machine reaches. In that case,
    this names the interface towards MASTER_ADDR. NCCL never chooses loopback.
    """
    if place.on_one_machine:
        names = {name for _, name in socket.if_nameindex()}
        for loopback in names & {"lo", "lo0"}:
            os.environ.setdefault(GLOO, loopback)
            os.environ.setdefault(NCCL, f"={loopback}")  # without "=" it is a prefix
    elif GLOO not in os.environ and _name_is_loopback():
        host, _, port = place.address.rpartition(":")
        if interface := _interface_towards(host, int(port)):
            os.environ[GLOO] = interface


def _name_is_loopback() -> bool:
    try:
        addresses = socket.getaddrinfo(socket.gethostname(), None)
    except (OSError, UnicodeError):  # UnicodeError: the name is too long
        return True  # the name does not resolve: gloo takes loopback
    return ip_address(str(addresses[0][4][0]).partition("%")[0]).is_loopback


def _interface_towards(host: str, port: int) -> str:
    """The interface that leads to an IPv4 address, on Linux; empty if it is unknown."""
    if sys.platform != "linux":
        return ""
    import fcntl

    with (
        contextlib.suppress(OSError, UnicodeError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.connect((host, port))  # picks a route; nothing is sent
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no such address
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == own:
                    return name
    return ""
