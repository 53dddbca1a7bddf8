"""Data that are not what they claim to be: exit 3, the file named, memory flat."""

from __future__ import annotations

import shutil
import struct
import zlib
from functools import cache

from made_up import Made, idx_bytes, lay
from small_world import BY_NAME, MADE
from tally import Tally
from victim import MEGABYTE, End, Victim

COMMANDS = (
    ("data", "show", "NAME", "--split", "test"),
    ("data", "verify", "NAME"),
    ("train", "--dataset", "NAME", "--config", "smoke", "--dry-run", "--quiet"),
)
FLAT = 64 * MEGABYTE
"""Above the warm program: a thousandth of what the bombs would hold."""

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes)


@cache
def bomb(start: bytes, megabytes: int) -> bytes:
    """A gzip of zeros without end, in a thousandth of their bytes."""
    engine = zlib.compressobj(9, wbits=31)
    parts = [engine.compress(start)]
    parts += [engine.compress(bytes(MEGABYTE)) for _ in range(megabytes)]
    return b"".join([*parts, engine.flush()])


def tampered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def hostile(made: Made, megabytes: int) -> dict[str, tuple[str, bytes]]:
    """The file that is replaced, and by what, by the fault's name: one of each kind."""
    images, labels = made.raw[IMAGES], made.arrays["train", "labels"]
    ten = labels.copy()
    ten[7] = 10
    return {
        "truncated": (IMAGES, images[:-1]),
        "dimensions that overflow": (IMAGES, header(8, *[2**32 - 1] * 3) + images[16:]),
        "label 10": (LABELS, idx_bytes(ten)),
        "a web page": (IMAGES, b"<!DOCTYPE html><html>Log in</html>"),
        "a gzip bomb": (IMAGES, bomb(header(8, 40, 28, 28), megabytes)),
    }


def attack(world: Victim, name: str, made: str, file: str, content: bytes) -> list[End]:
    """What each command says of a data set one of whose files is replaced."""
    folder = lay(world.folder / name, BY_NAME[made].raw | {file: content})
    commands = [
        [*(made if word == "NAME" else word for word in words), "--data-dir", folder]
        for words in COMMANDS
    ]
    ends = world.run(*commands)
    shutil.rmtree(folder)
    return ends


def check(tally: Tally, ends: list[End], case: str) -> int:
    """Each command refused it; the most memory that one took."""
    for words, end in zip(COMMANDS, ends, strict=True):
        survived = end.refused(3) and end.peak < FLAT
        tally.check(survived, f"{case}: {words[0]} {words[1]}: {end.code} {end.message[-300:]}")
    return max(end.peak for end in ends)


def test_hostile_data(tally: Tally, world: Victim) -> None:
    """Data files that are damaged, have false headers, or expand to gigabytes."""
    peaks = []
    for made, data in BY_NAME.items():
        cases = list(hostile(data, tally.times(64, 4096)).items())[:: tally.times(4, 1)]
        for name, (file, content) in cases:
            ends = attack(world, "hostile", made, file, content)
            peaks.append(check(tally, ends, f"{name}, {made}"))
    tally.note(f"{max(peaks) / MEGABYTE:.0f} MB")


def test_tampered_data(tally: Tally, world: Victim) -> None:
    """Files of the right size with one bit changed, found by their checksums."""
    names = list(MADE.raw)[: tally.times(1, 4)]
    for name in names:
        ends = attack(world, "tampered", "mnist", name, tampered(MADE.raw[name]))
        check(tally, ends, name)
    tally.note("each named")


def test_data_on_disk_need_no_network(tally: Tally, world: Victim) -> None:
    """Data on disk are used without opening a socket."""
    for _ in range(tally.times(1, 5)):
        for made, data in BY_NAME.items():
            show, verify, train = attack(world, "here", made, IMAGES, data.raw[IMAGES])
            assert train.code == 0, train.err
            for end in (show, verify):
                tally.check(end.code == 0 and not end.seen, f"{end.code} {end.seen} {end.message}")
    tally.note("no socket")
