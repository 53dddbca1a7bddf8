"""Other processes: two runs in one directory, and workers that die."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from program import wait_until
from tallying import Tally
from warm import RUN, Warm, Whole, ends_alike, newest_run, train_whole, unlike

STEP = "mnist_cli.training.loop:Stepper.__call__"
WORKERS = ["--loader", "dataloader", "--workers", "2"]


@pytest.mark.parametrize("workers", [[], WORKERS], ids=["alone", "with workers"])
def test_two_runs_in_one_directory(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path, workers: list[str]
) -> None:
    """Two runs in one directory: the second is refused; the lock dies with its owner."""
    if workers:
        tally.fault += " (with DataLoader workers)"
        whole = train_whole(warm, tmp_path / "whole", *workers)
    for number in range(tally.times(1, 10)):
        folder, marker = tmp_path / str(number), tmp_path / "lingers"
        words = [*RUN, *workers]
        first = warm.start(*words, folder=folder, faults=[["linger", STEP, 5, str(marker)]])
        wait_until(marker.exists)
        run = newest_run(folder)
        assert run is not None
        second = warm.run("train", "--resume", run, folder=folder)
        refused = second.code == 5 and f"being written by process {first.pid}" in second.err
        first.kill()
        first.wait()
        marker.unlink()
        wrong = "" if refused else f"the second: {second.code} {second.err}"
        wrong = wrong or ends_alike(warm, whole, folder, *workers)
        tally.check(not wrong, f"try {number}: {wrong}")


def test_a_worker_that_is_killed(warm: Warm, tally: Tally, tmp_path: Path) -> None:
    """A DataLoader worker killed: a clear error, no hang, and the run goes on."""
    whole = train_whole(warm, tmp_path / "whole", *WORKERS)
    slowest = 0.0
    steps = range(1, 10) if tally.full else [4]
    for step in steps:
        folder = tmp_path / str(step)
        began = time.monotonic()
        fault = ["kill_a_worker", STEP, step]
        done = warm.run(*RUN, *WORKERS, folder=folder, faults=[fault])
        slowest = max(slowest, time.monotonic() - began)
        told = done.code == 3 and "a worker process of the DataLoader died" in done.err
        # The batches of an epoch may all have been there already when the worker died.
        wrong = "" if told or (done.code == 0 and not unlike(whole, folder)) else done.err
        wrong = wrong or ends_alike(warm, whole, folder, *WORKERS)
        tally.check(not wrong, f"before step {step}: {wrong}")
    tally.note(f"told after {slowest:.1f} s at the latest, start and training included")
