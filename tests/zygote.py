"""A process with everything imported, which forks itself into the program on request.

A start of the program costs seconds, most of them imports; a fork of this process costs a few
hundredths. Orders come from :mod:`forked` as JSON over the socket whose number is the first
argument, with the three standard streams; the answer is the process's id.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import platform
import signal
import socket
import sys
import tempfile
import traceback
from typing import Any, NoReturn

import mnist_cli
from mnist_cli.data import bundled

THIRD_PARTY = (
    *("torch.utils.data", "torchvision.transforms", "sklearn.datasets", "PIL.Image"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("rich.progress", "filelock"),
)
"""What the program imports in its functions."""
STREAMS = (("stdin", "r", "strict"), ("stdout", "w", "strict"), ("stderr", "w", "backslashreplace"))
MOST = 1 << 20
"""Bytes of an order."""


def warm_up() -> None:
    """Do once what each command would do again."""
    import torch

    ours = (one.name for one in pkgutil.walk_packages(mnist_cli.__path__, "mnist_cli."))
    for name in (*THIRD_PARTY, *ours):
        importlib.import_module(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork would wait for ever for other threads
    torch.nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3))
    torch.set_num_threads(threads)
    bundled.read("test")
    platform.platform()  # runs uname, once
    gc.freeze()  # a fork's collector would copy every page


def serve(orders: socket.socket) -> None:
    """Answer orders until the other side is closed."""
    while True:
        message, streams, *_ = socket.recv_fds(orders, MOST, 3)
        if not message:
            return
        orders.send(str(fork(orders, json.loads(message), streams)).encode())
        for stream in streams:
            os.close(stream)


def fork(orders: socket.socket, order: dict[str, Any], streams: list[int]) -> int:
    """Fork twice: the process between ends, so that the asking process becomes the parent."""
    readable, writable = os.pipe()
    between = os.fork()
    if between == 0:
        process = os.fork()
        if process == 0:
            os.close(readable)
            os.close(writable)
            orders.close()
            run(streams, **order)
        os.write(writable, str(process).encode())
        os._exit(0)
    os.waitpid(between, 0)
    number = int(os.read(readable, 20))
    os.close(readable)
    os.close(writable)
    return number


def run(streams: list[int], function: str, values: list[Any], **surroundings: Any) -> NoReturn:
    """Call ``module:function`` in these surroundings, and end as the interpreter does."""
    code = 1
    try:
        settle(streams, **surroundings)
        module, _, name = function.partition(":")
        getattr(importlib.import_module(module), name)(*values)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)  # to take all of torch apart would take a second


def settle(
    streams: list[int], closed: list[int], folder: str, environment: dict[str, str], session: bool
) -> None:
    """Take a folder, an environment and streams, as a new process has them."""
    if session:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for number, (name, mode, errors) in enumerate(STREAMS):
        if number in closed:
            os.close(number)
        ours = number not in closed and os.fdopen(number, mode, encoding=encoding, errors=errors)
        setattr(sys, name, ours or None)


if __name__ == "__main__":
    warm_up()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as of a process that Python has not begun yet
    serve(socket.socket(fileno=int(sys.argv[1])))
