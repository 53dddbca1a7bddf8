"""Every operator of PyTorch's own database: a replay equals autograd, bit for bit."""

from __future__ import annotations

from collections import Counter

import operators
import pytest
from tally import Tally

pytest.importorskip("expecttest", reason="torch's operator database needs expecttest")

SKIP = 29
"""In short form every 29th operator is tried, each dtype with others."""
EXACT = {"exact", "no gradient"}


@pytest.mark.filterwarnings("ignore")
def test_every_operator(tally: Tally) -> None:
    """Operators of PyTorch's database in four dtypes: each gradient, bit for bit."""
    counts: Counter[str] = Counter()
    for offset, dtype in enumerate(operators.DTYPES):
        every = operators.operators(dtype)
        chosen = every if tally.full else every[offset * 7 :: SKIP]
        for operator in chosen:
            for one in operators.outcomes(operator, dtype, tally.times(1, 1000)):
                kind = one.verdict.partition(":")[0]
                counts[kind] += 1
                tally.check(kind in EXACT or kind == "refused", f"{one.label}: {one.verdict}")
    assert counts["exact"] > 0.9 * counts.total()
    tally.note(", ".join(f"{count:,} {kind}" for kind, count in counts.most_common()))
