"""A process with everything imported, which forks itself into the program on request.

A start of the program costs seconds, most of them imports; a fork of this process costs a few
hundredths, so that a hundred kills can be afforded. What runs in the fork is the program's own
``main``. Orders and answers are lines of JSON on stdin and stdout; :mod:`warm` gives them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

IMPORTED = (
    *("torch.utils.data", "sklearn.datasets", "matplotlib.figure", "torchvision.transforms"),
    *("matplotlib.backends.backend_agg", "mnist_cli.cli", "mnist_cli.training.run"),
    *("mnist_cli.report.figures", "mnist_cli.data.load", "mnist_cli.data.fetch", "PIL.Image"),
    *("mnist_cli.report.training", "mnist_cli.training.tensorboard", "mnist_cli.report.evaluation"),
    *("mnist_cli.training.scoring", "mnist_cli.proving.diagnosis", "rich.progress"),
    *(
        "matplotlib.backends.backend_svg",
        "mnist_cli.report.view_figures",
        "mnist_cli.vision.digits",
    ),
    *("mnist_cli.report.plot_pictures", "mnist_cli.report.prediction"),
)
HUNG = 999
"""The exit code given to a process that did not end in time."""


def serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a fork's collector would copy every page
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        answer = _wait(**order["wait"]) if "wait" in order else _fork(order["start"])
        print(json.dumps(answer), flush=True)


def _fork(order: dict[str, Any]) -> int:
    return os.fork() or _run(order)


def _run(order: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        _become_the_program(**order)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    _end(code)


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but without taking all of torch apart: that takes a second."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _become_the_program(
    arguments: list[str],
    folder: str,
    streams: list[str | None],
    environment: dict[str, str | None],
    faults: list[list[Any]],
    limit: int | None,
    user: int | None,
) -> None:
    os.setsid()
    # As in a terminal, even where the tests run in the background and Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for descriptor, path in enumerate(streams):
        _point(descriptor, path)
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(encoding=encoding)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if user is not None and os.geteuid() == 0:
        os.setgid(user)
        os.setuid(user)
    sys.argv = ["mnist", *arguments]
    import faults as known

    for name, *values in faults:
        getattr(known, name)(*values)
    from mnist_cli.__main__ import main

    main()


def _point(descriptor: int, path: str | None) -> None:
    """Let a standard stream be a file, a pipe or a terminal; None closes it."""
    if path is None:
        os.close(descriptor)
        setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)
        return
    flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = os.open(path, flags, 0o666)
    os.dup2(opened, descriptor)
    os.close(opened)


def _wait(pid: int, seconds: float) -> int:
    """The exit code as a shell's ``Popen.returncode`` gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG


if __name__ == "__main__":
    serve()
