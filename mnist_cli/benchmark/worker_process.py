"""Runs one worker process and returns what it measured, or raises its error."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from mnist_cli.base.process import run
from mnist_cli.errors import MnistError, error_class


@dataclass(frozen=True)
class Answer:
    """A worker's result, and the wall time of its whole process in seconds."""

    result: Mapping[str, Any]
    seconds: float


def launch(recipe: str, task: str, order: Mapping[str, Any], worker: str) -> Answer:
    """Run one task of a worker module in a separate process.

    Args:
        recipe: its name, for error messages.
        task: the task's name.
        order: the arguments of the task as plain values.
        worker: the module to run, which reads the order from stdin and prints its result.

    Raises:
        MnistError: the worker failed; its own error, with its own exit code.
    """
    # The folder is removed even if the worker is killed.
    with tempfile.TemporaryDirectory(prefix="mnist-bench-") as runs:
        started = perf_counter()
        done = run(task, module=worker, stdin=json.dumps({**order, "runs": runs}))
        seconds = perf_counter() - started
    if done.returncode:
        raise _crashed(recipe, done.returncode, done.stderr)
    result = json.loads(done.stdout)
    if "error" in result:
        error = result["error"]
        message = f"the recipe '{recipe}' failed: {error['message']}"
        raise error_class(error["kind"])(message, error["hint"])
    return Answer(result, seconds)


def _crashed(recipe: str, code: int, stderr: str) -> MnistError:
    """The error for a worker that was killed, or that met a bug, whose last line is shown."""
    last = stderr.strip().splitlines()[-1:] or ["without a message"]
    ended = f"killed by signal {-code}" if code < 0 else last[0]
    return MnistError(
        f"the recipe '{recipe}' failed: {ended}", "Try it alone with `mnist train --config`."
    )
