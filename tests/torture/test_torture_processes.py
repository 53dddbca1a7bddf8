"""Other processes: two runs in one directory, and workers that die."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from program import wait_until
from tally import Tally
from warm import RUN, WORKERS, Warm, Whole, ends_alike, newest_run, unlike

STEP = "mnist_cli.training.step:Stepper.__call__"


def test_two_runs_in_one_directory(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two runs in one directory: the second is refused; the lock ends with its owner."""
    ways: list[tuple[list[str], Whole]] = [([], whole)]
    if tally.full:  # workers inherit what their parent had open, and live a little longer
        ways.append((WORKERS, request.getfixturevalue("whole_with_workers")))
    for words, right in ways:
        for number in range(tally.times(1, 10)):
            folder = tmp_path / f"{len(words)}-{number}"
            wrong = second_is_refused(warm, folder, words)
            wrong = wrong or ends_alike(warm, right, folder, *words)
            tally.check(not wrong, f"{words}, try {number}: {wrong}")
    tally.note("half of them with DataLoader workers")


def second_is_refused(warm: Warm, folder: Path, words: list[str]) -> str:
    """Resume a run that lingers in a step, then kill it; what is wrong, or ""."""
    marker = folder / "lingers"
    first = warm.start(*RUN, *words, folder=folder, faults=[["linger", STEP, 5, str(marker)]])
    wait_until(marker.exists)
    run = newest_run(folder)
    assert run is not None
    second = warm.run("train", "--resume", run, folder=folder)
    first.kill()
    first.wait()
    marker.unlink()
    refused = second.code == 5 and f"being written by process {first.pid}" in second.err
    return "" if refused else f"the second: {second.code} {second.err}"


def test_a_worker_that_is_killed(
    warm: Warm, whole_with_workers: Whole, tally: Tally, tmp_path: Path
) -> None:
    """A DataLoader worker killed: a clear error, no hang, and the run can be resumed."""
    slowest = 0.0
    steps = range(1, 10) if tally.full else [4]
    images = range(1, 96, 5) if tally.full else [40]  # of 96 that a worker loads in an epoch
    faults = [["kill_a_worker", STEP, step] for step in steps]
    for number, fault in enumerate([*faults, *(["lose_a_worker", image] for image in images)]):
        folder = tmp_path / str(number)
        began = time.monotonic()
        done = warm.run(*RUN, *WORKERS, folder=folder, faults=[fault])
        slowest = max(slowest, time.monotonic() - began)
        told = done.code == 3 and "a worker process of the DataLoader died" in done.err
        # The batches of an epoch may all have been there already when the worker died.
        wrong = (
            "" if told or (done.code == 0 and not unlike(whole_with_workers, folder)) else done.err
        )
        wrong = wrong or ends_alike(warm, whole_with_workers, folder, *WORKERS)
        tally.check(not wrong, f"{fault}: exit code {done.code}: {wrong}")
    tally.note(f"reported after {slowest:.1f} s at the latest, start and training included")
