"""Every operator and module of PyTorch's own databases: a replay equals autograd, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from systems import one_thread
from tally import Tally

pytest.importorskip("expecttest", reason="torch's operator database needs expecttest")

PROGRAM = Path(__file__).with_name("operators.py")
SKIP = 29
"""In short form every 29th operator is tried, each kind with others."""
FINE = {"exact", "no gradient", "refused", "no sample", "cut"}
"""``refused`` by torch itself; ``cut`` is a sample left out, as its operator is slow."""


def test_every_operator(tally: Tally) -> None:
    """Operators and modules of PyTorch's databases: each gradient, bit for bit."""
    step, most = tally.times(SKIP, 1), tally.times(1, 1000)
    # A process of its own: torch's own tests change switches of torch for good.
    ended = subprocess.run(
        [sys.executable, PROGRAM, str(step), str(most)],
        env=one_thread(PYTHONPATH=":".join(filter(None, sys.path))),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    counts: Counter[str] = Counter()
    for line in ended.stdout.splitlines():
        kind, label, verdict = json.loads(line)
        answer = verdict.partition(":")[0]
        counts[answer] += 1
        tally.check(answer in FINE, f"{kind}, {label}: {verdict}")
    assert counts["exact"] > 0.8 * counts.total()
    tally.note(", ".join(f"{count:,} {kind}" for kind, count in counts.most_common()))
