"""Aligns two sequences of keys, in time linear in their lengths.

Knows only whether keys are equal, not what they stand for.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence, Set

WINDOW = 300
"""Number of keys that difflib gets at once: it takes cubic time if every key is repeated."""

Places = tuple[int, int]
"""A place in the first sequence, and one in the second."""


def aligned(keys: Sequence[Hashable], others: Sequence[Hashable]) -> Iterator[Places]:
    """Pairs of places with equal keys, in increasing order on both sides.

    What both share at the start and at the end is paired first, then keys that occur once on each
    side, as in a patience diff, and then the stretches between these.
    """
    start = _shared(keys, others)
    end = _shared(keys[start:][::-1], others[start:][::-1])
    stop, other_stop = len(keys) - end, len(others) - end
    yield from ((place, place) for place in range(start))
    a = b = start
    inner = _once_in_both(keys[start:stop], others[start:other_stop])
    for i, j in [*((start + i, start + j) for i, j in inner), (stop, other_stop)]:
        yield from ((a + x, b + y) for x, y in _in_windows(keys[a:i], others[b:j]))
        if i < stop:
            yield i, j
        a, b = i + 1, j + 1
    yield from zip(range(stop, len(keys)), range(other_stop, len(others)), strict=True)


def _shared(keys: Sequence[Hashable], others: Sequence[Hashable]) -> int:
    """The length of the longest common prefix."""
    both = zip(keys, others, strict=False)
    return next((n for n, (a, b) in enumerate(both) if a != b), min(len(keys), len(others)))


def _once_in_both(keys: Sequence[Hashable], others: Sequence[Hashable]) -> list[Places]:
    """The longest increasing sequence of pairs whose keys occur once on each side."""
    counts, other_counts = Counter(keys), Counter(others)
    where = {key: place for place, key in enumerate(others) if other_counts[key] == 1}
    pairs = [(i, where[k]) for i, k in enumerate(keys) if counts[k] == 1 and k in where]
    # By length - 1: the lowest place in others that can end an increasing sequence.
    ends: list[int] = []
    # Each pair, with the length - 1 of the longest sequence that it ends.
    chains: list[tuple[Places, int]] = []
    for pair in pairs:
        length = bisect_left(ends, pair[1])
        ends[length : length + 1] = [pair[1]]
        chains.append((pair, length))
    found: list[Places] = []
    wanted = len(ends) - 1
    for pair, length in reversed(chains):
        if length == wanted and (not found or pair[1] < found[-1][1]):
            found.append(pair)
            wanted -= 1
    return found[::-1]


def _in_windows(keys: Sequence[Hashable], others: Sequence[Hashable]) -> Iterator[Places]:
    """Pairs of a stretch, window by window.

    Keys after a window could change its last pairs, so each window but the last keeps only the
    first half.
    """
    ours, theirs = _held_by(set(others), keys), _held_by(set(keys), others)
    keys, others = [keys[i] for i in ours], [others[j] for j in theirs]
    a = b = 0
    while a < len(keys) and b < len(others):
        window, other = keys[a : a + WINDOW], others[b : b + WINDOW]
        blocks = difflib.SequenceMatcher(None, window, other, autojunk=False).get_matching_blocks()
        pairs = [(a + x + n, b + y + n) for x, y, size in blocks for n in range(size)]
        if a + WINDOW < len(keys) or b + WINDOW < len(others):
            pairs = pairs[: (len(pairs) + 1) // 2]
        yield from ((ours[i], theirs[j]) for i, j in pairs)
        if pairs:
            a, b = pairs[-1][0] + 1, pairs[-1][1] + 1
        else:
            a, b = a + WINDOW, b + WINDOW


def _held_by(known: Set[Hashable], keys: Sequence[Hashable]) -> list[int]:
    """The places of keys that the other side has: a window full of others would find no pair."""
    return [place for place, key in enumerate(keys) if key in known]
