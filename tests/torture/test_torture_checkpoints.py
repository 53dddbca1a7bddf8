"""Checkpoints from strangers: refused with exit 4, nothing of them run, little memory taken."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from checkpoint_files import replaced, saved
from hostile import CONTAINERS, bombs, payloads
from hostile_containers import container_bombs
from hypothesis import given
from hypothesis import strategies as st
from readers import READERS, WAYS_IN, document, feed, fuzz, good, taken_in
from tally import Tally
from victim import ALLOWED, MEGABYTE, End, Victim

UNSAFE = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


def note_peak(tally: Tally, ends: list[End]) -> None:
    peak = max(end.peak for end in ends)
    tally.note(f"{peak / MEGABYTE:.0f} MB, {max(end.seconds for end in ends):.1f} s")


def check(
    tally: Tally, ends: list[End], case: str, readers: Sequence[str] = tuple(READERS)
) -> None:
    """Each reader refused it, and took no more than is allowed."""
    for name, end in zip(readers, ends, strict=True):
        survived = end.refused(4) and end.peak < ALLOWED
        tally.check(survived, f"{case}: {name}: {end.code} {end.seen} {end.message[-300:]}")


def test_code(tally: Tally, victim: Victim) -> None:
    """Checkpoints whose pickle runs code, even with torch's switch that allows it."""
    proof = victim.folder / "proof"
    attacks = payloads(proof)
    turns = itertools.cycle(attacks)
    for switch, container in itertools.product(({}, UNSAFE), CONTAINERS):
        names = list(attacks) if tally.full else [next(turns)]
        ways = tuple(WAYS_IN if tally.full or container == "zip" else READERS)
        files = [CONTAINERS[container](attacks[name]) for name in names]
        answers = feed(victim, files, ways, environment=switch)
        for name, ends in zip(names, answers, strict=True):
            check(tally, ends, f"{name} in {container} {switch}", ways)
    assert not proof.exists()
    tally.note("nothing ran")


def test_memory(tally: Tally, victim: Victim) -> None:
    """Checkpoints that expand to gigabytes when read, with 500 MB of memory."""
    readers = list(WAYS_IN) if tally.full else ["train"]
    worst = []
    for name, data in bombs(victim, tally.full):
        (ends,) = feed(victim, [data], readers)
        check(tally, ends, name, readers)
        worst += ends
    note_peak(tally, worst)


def test_memory_of_other_containers(tally: Tally, victim: Victim) -> None:
    """Old files, tars and safetensors that claim gigabytes, with 500 MB of memory."""
    readers = list(READERS) if tally.full else ["train"]
    files = dict(container_bombs(tally.full))
    ends = feed(victim, files.values(), readers)
    for name, answers in zip(files, ends, strict=True):
        check(tally, answers, name, readers)
    note_peak(tally, list(itertools.chain(*ends)))


# --- damage


def damaged(whole: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """A checkpoint cut short, with a bit flipped, and with bytes replaced, each somewhere."""
    at = chance.randrange(len(whole))
    yield f"cut at {at}", whole[:at]
    yield f"a bit flipped at {at}", whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]
    # The directory is near the end: there is more to get wrong.
    at = len(whole) - chance.randrange(3000)
    yield f"bytes replaced at {at}", whole[:at] + chance.randbytes(8) + whole[at + 4 :]


def test_damage(tally: Tally, victim: Victim) -> None:
    """A checkpoint cut short, with a flipped bit, or with bytes replaced, anywhere."""
    whole = good(victim).read_bytes()
    ((truth, *_),) = feed(victim, [whole])
    assert truth.code == 0
    chance, same = random.Random(0), 0
    for _ in range(tally.times(2, 200)):
        for case, data in damaged(whole, chance):
            (ends,) = feed(victim, [data])
            if all(map(taken_in, READERS, ends)):  # the change is in padding
                answers = [end.out.partition('"model"')[2] for end in (ends[0], truth)]
                tally.check(answers[0] == answers[1], f"{case}: another answer")
                same += 1
            else:
                check(tally, ends, case)
    tally.note(f"{same} in padding, the same answer")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["cuda", "mps", "conv4", "sgd", "kmnist", "../../etc", "[red]", "\x1b[2J", "é\0"]
    ),
)
TENSORS = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]),
)
VALUES = st.recursive(
    st.one_of(SCALARS, TENSORS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Every place in a document, as :func:`replaced` names it."""
    if isinstance(value, dict):
        pairs: Any = value.items()
    else:
        pairs = enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if isinstance(key, str) or isinstance(value, list):
            yield f"{prefix}{key}"
            yield from paths(inner, f"{prefix}{key}/")


def test_fuzzed_values(tally: Tally, victim: Victim) -> None:
    """Values of a checkpoint replaced at random: refused by name, or harmless."""
    plain = document(victim)
    codes: dict[int, int] = {}

    @fuzz(tally.times(5, 300))
    @given(place=st.sampled_from(sorted(paths(plain))), value=VALUES)
    def attack(place: str, value: Any) -> None:
        data = saved(replaced(plain, place, value))
        for name, end in zip(READERS, feed(victim, [data])[0], strict=True):
            codes[end.code] = codes.get(end.code, 0) + 1
            # A seed may be any number, and a name another data set's or device's.
            fine = end.refused(2, 3, 4) or taken_in(name, end)
            tally.check(fine, f"{place} = {value!r:.80}: {name}: {end.code} {end.message[-300:]}")

    attack()
    tally.note(", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items())))
