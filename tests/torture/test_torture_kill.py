"""SIGKILL at any moment: what was saved is whole, and the run goes on to the same bits."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tally import Tally
from warm import RUN, Warm, Whole, damage, ends_alike, go_on, newest_run, unlike

SEED = 20261124


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


def test_killed_again_and_again(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """A chain of SIGKILLs in one run."""
    moments = random.Random(SEED + 1)
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
        tally.check(not wrong, f"seed {SEED + 1}, chain {chain}, after {kills} kills: {wrong}")
        lengths.append(kills)
    tally.note(f"{' and '.join(map(str, lengths))} kills in a run")
