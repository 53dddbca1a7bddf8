"""Processes that a warm one forks: the program without the seconds that its imports take."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from systems import one_thread
from zygote import MOST

PR_SET_CHILD_SUBREAPER = 36


@cache
def zygote() -> socket.socket:
    """The way to the warm process of these tests; it ends with them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("zygote.py"), str(theirs.fileno())],
        cwd=Path(__file__).parent,  # not a test's folder, which may hold another torch.py
        env=one_thread(PYTHONPATH=os.pathsep.join(sys.path)),
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # called first: the warm process ends
    return ours


class Forked(subprocess.Popen[str]):
    """``function(*values)`` in a fork of the warm process; Linux only.

    Args:
        function: ``module:function``, as the warm process imports it.
        values: what it is called with, fit for JSON.
        closed: numbers of the standard streams that are closed.
        options: as of :class:`subprocess.Popen`; ``env`` is the whole environment.
    """

    def __init__(
        self, function: str, *values: object, closed: Sequence[int] = (), **options: Any
    ) -> None:
        self._order = {"function": function, "values": values, "closed": closed}
        super().__init__([function, *map(str, values)], text=True, **options)

    def _execute_child(self, *values: Any) -> None:
        """Ask the warm process for a child, where Popen would fork and execute."""
        cwd, environment = values[5:7]
        ends = values[10:16]
        own = (ends[0], ends[3], ends[5])
        streams = [number if end < 0 else end for number, end in enumerate(own)]
        order = self._order | {
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "session": values[21],
        }
        # Children whose parent has ended come to us, but only while the fork is made.
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            socket.send_fds(zygote(), [json.dumps(order).encode()], streams)
            self.pid = int(zygote().recv(20))
        finally:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]
