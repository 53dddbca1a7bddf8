"""Draws a run's ``curves.png`` in another process, which imports matplotlib while the run trains.

The import takes longer than drawing does, and holds Python's lock, so that a thread would stop the
training. The process imports no torch. It ends without output if its parent ends.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from mnist_cli.base.cores import usable_cores
from mnist_cli.base.process import again
from mnist_cli.report import themes
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.history import read_metrics

MODULE = "mnist_cli.report.curve_process"

PATIENCE = 60.0
"""Seconds after which this process draws instead; on an idle machine, drawing takes about one."""


class CurveProcess:
    """A process that waits for a run to draw. It ends with this object, such as after Ctrl-C."""

    def __init__(self) -> None:
        self._asked = False
        self._process = subprocess.Popen(
            again(module=MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._limit = threading.Timer(PATIENCE, self._process.kill)
        self._limit.daemon = True
        weakref.finalize(self, _end, self._process)

    def ask(
        self, run: Path, *, rates: Sequence[tuple[float, float]], title: str, augmented: bool
    ) -> None:
        """Let the process draw the run's curves; see :func:`.figures.save_learning_curves`.

        Args:
            run: its directory, whose ``metrics.jsonl`` is whole.
            rates: pairs of epochs done and the learning rate then.
            title: of the figure.
            augmented: whether the recipe augments images.
        """
        request = {
            "run": str(run),
            "rates": list(rates),
            "title": title,
            "augmented": augmented,
            "dark": themes.colours() is themes.DARK,
        }
        stdin = self._process.stdin
        assert stdin is not None
        self._limit.start()
        with contextlib.suppress(OSError):  # it has ended
            stdin.write(json.dumps(request).encode())
            stdin.close()
            self._asked = True

    def has_drawn(self) -> bool:
        """Wait for the process, and return whether it has drawn; if not, drawing here shows the cause."""
        if not self._asked:
            self._process.kill()
        with self._process as process:  # closes the pipe, and waits
            pass
        self._limit.cancel()
        return process.returncode == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError), process:
        process.kill()


def begin() -> CurveProcess | None:
    """Start the process, unless it would gain nothing: on one core, or with matplotlib imported."""
    if usable_cores() < 2 or "matplotlib" in sys.modules:
        return None
    try:
        return CurveProcess()
    except OSError:  # too many processes, or too little memory: this one draws
        return None


def main(stdin: IO[str]) -> None:
    """Draw the run that stdin names; nothing if it is closed before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent handles Ctrl-C
    from mnist_cli.report.figures import save_learning_curves

    asked = stdin.read()
    if not asked:
        return
    request = json.loads(asked)
    run = RunDirectory(Path(request["run"]))
    metrics = read_metrics(run)
    rates = cast("list[tuple[float, float]]", request["rates"])
    with themes.figures(dark=request["dark"]):
        save_learning_curves(
            metrics.epochs,
            run.curves,
            rates=rates,
            title=request["title"],
            steps=metrics.steps,
            augmented=request["augmented"],
        )


if __name__ == "__main__":
    main(sys.stdin)
