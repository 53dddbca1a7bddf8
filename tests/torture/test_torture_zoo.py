"""Graphs of every kind that PyTorch builds: a replay equals autograd, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from systems import one_thread
from tally import Tally

pytest.importorskip("torchvision", reason="the zoo has torchvision's networks")

from zoo.registry import Graph
from zoo.run import every

PROGRAM = Path(__file__).parent / "zoo" / "run.py"
SKIP = 9
"""In short form every 9th quick graph is tried."""


def outcomes(names: list[str]) -> Iterator[tuple[str, str]]:
    """Each graph's outcome; one that ends its process is a fault, and the next ones go on."""
    left = list(names)
    while left:
        ended = subprocess.run(
            [sys.executable, PROGRAM, *left],
            env=one_thread(PYTHONPATH=":".join(filter(None, sys.path))),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("[")]
        yield from ((name, answer) for name, answer, _ in lines)
        left = left[len(lines) :]
        if left:
            yield left.pop(0), f"ends the process with {ended.returncode}: {ended.stderr[-500:]}"


def as_expected(graph: Graph, answer: str) -> bool:
    """Whether a graph fares as it should; one that cannot be built here counts."""
    return answer.startswith((graph.expects, "missing"))


def test_every_kind_of_graph(tally: Tally) -> None:
    """Graphs of each kind that PyTorch builds: each gradient, bit for bit, and nothing changed."""
    zoo = every()
    quick = [name for name, graph in zoo.items() if not graph.slow]
    names = list(zoo) if tally.full else quick[::SKIP]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, answer in outcomes(names):
        counts[zoo[name].kind][answer.partition(":")[0]] += 1
        tally.check(as_expected(zoo[name], answer), f"{name}: {answer}")
    total = sum(counts.values(), Counter())
    assert total["exact"] > 0.9 * total.total()
    if tally.full:
        for kind, found in sorted(counts.items()):
            print(f"{kind}: {dict(found)}")
    tally.note(", ".join(f"{count} {answer}" for answer, count in total.most_common()))
