"""SIGKILL at any moment: what was saved is whole, and the run goes on to the same bits."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tally import Tally
from warm import RUN, Warm, Whole, damage, ends_alike, go_on, newest_run, unlike

SEED = 20261124
SAVES = 10
"""The first save, before training, and one after each of nine steps."""

pytestmark = pytest.mark.skipif("not hasattr(__import__('os'), 'fork')")


def test_killed_at_a_random_moment(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """SIGKILL at a random moment."""
    moments = random.Random(SEED)
    begun = 0
    for number in range(tally.times(2, 50)):
        folder = tmp_path / str(number)
        moment = moments.uniform(0, whole.seconds)
        process = warm.start(*RUN, folder=folder)
        time.sleep(moment)
        process.kill()
        process.wait()
        begun += newest_run(folder) is not None
        wrong = ends_alike(warm, whole, folder)
        tally.check(not wrong, f"seed {SEED}, try {number}, after {moment:.4f} s: {wrong}")
    tally.note(f"{begun} of {tally.tries} had a checkpoint already")


def test_killed_inside_a_save(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """SIGKILL aimed inside a save."""
    moments = random.Random(SEED + 1)
    inside = torn = 0
    for number in range(tally.times(3, 50)):
        folder, marker = tmp_path / str(number), tmp_path / f"{number}.saving"
        save, delay = moments.randint(1, SAVES), moments.uniform(0, whole.save_seconds)
        fault = ["kill_in_save", save, delay, str(marker)]
        process = warm.start(*RUN, folder=folder, faults=[fault])
        code = process.wait().code
        inside += marker.exists()
        torn += bool(list(folder.rglob("*.tmp")))
        wrong = "" if code == -9 else f"it ended with {code}"
        wrong = wrong or ends_alike(warm, whole, folder)
        case = f"seed {SEED + 1}, try {number}, {1000 * delay:.2f} ms into save {save}: {wrong}"
        tally.check(not wrong, case)
    tally.note(f"{inside} of {tally.tries} died inside the save, {torn} leaving a temporary file")


def test_killed_again_and_again(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """A chain of SIGKILLs in one run."""
    moments = random.Random(SEED + 2)
    lengths = []
    for chain in range(tally.times(1, 3)):
        folder = tmp_path / str(chain)
        wrong, kills = "", 0
        while kills < tally.times(3, 20) and not wrong:
            run = newest_run(folder)
            words = ["train", "--resume", run.relative_to(folder)] if run else RUN
            process = warm.start(*words, folder=folder)
            time.sleep(moments.uniform(0, whole.seconds / 3))
            process.kill()
            if process.wait().code != -9:
                break  # the run has ended
            kills += 1
            wrong = damage(folder)
        done = go_on(warm, folder)
        wrong = wrong or done.err * bool(done.code) or "; ".join(unlike(whole, folder)[:3])
        tally.check(not wrong, f"seed {SEED + 2}, chain {chain}, after {kills} kills: {wrong}")
        lengths.append(kills)
    tally.note(f"{' and '.join(map(str, lengths))} kills in a run")
