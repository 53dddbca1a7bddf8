"""Checkpoints from strangers: refused with exit 4, nothing of them run, little memory taken."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from readers import READERS, batched, document, feed, fuzz, good, replaced, saved
from tally import Tally
from victim import ALLOWED, MEGABYTE, End, Victim

from mnist_cli.cli import app
from mnist_cli.training.archive import MAX_BYTES
from mnist_cli.training.pickles import MAX_CALLS, MAX_PICKLE

UNSAFE = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


def test_every_command_that_reads_a_checkpoint_is_tried() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    takes = {
        name
        for name, command in commands.items()
        if {"checkpoint", "resume"} & {parameter.name for parameter in command.params}
    }
    assert takes == set(READERS)


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


# --- code


class Evil:
    """Leaves a proof when it is unpickled, in one of many ways."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def payloads(proof: Path) -> dict[str, Evil]:
    write = f"open({str(proof)!r}, 'w').close()"
    return {
        "os.system": Evil(os.system, f"touch {proof}"),
        "exec": Evil(exec, write),
        "eval": Evil(eval, write),
        "Popen": Evil(subprocess.Popen, ["touch", str(proof)]),
        "mkdir": Evil(os.mkdir, str(proof)),
        "open": Evil(open, str(proof), "w"),
        "torch.load": Evil(torch.load, str(proof), None, pickle),
        "getattr": Evil(getattr, torch.hub, "load"),
    }


def as_zip(payload: Evil) -> bytes:
    return saved({"state_dict": {"a": torch.ones(2)}, "more": payload})


def as_own(payload: Evil) -> bytes:
    return saved({"format": "mnist-cli/checkpoint", "version": payload})


def as_legacy(payload: Evil) -> bytes:
    buffer = io.BytesIO()
    torch.save({"more": payload}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_tar(payload: Evil) -> bytes:
    """The format of torch 0.1: pickles in a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            content = pickle.dumps(payload)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def as_torchscript(payload: Evil) -> bytes:
    return zipped(
        data=pickle.dumps(payload), constants=pickle.dumps(payload), code=b"def forward(self): 1"
    )


def zipped(**entries: bytes) -> bytes:
    """A zip as torch.save lays it out: ``data`` is data.pkl, ``code`` a script's source."""
    names = {"data": "data.pkl", "constants": "constants.pkl", "code": "code/__torch__.py"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, content in entries.items():
            archive.writestr(f"archive/{names.get(name, name)}", content)
    return buffer.getvalue()


CONTAINERS = {
    "zip": as_zip,
    "our format": as_own,
    "legacy": as_legacy,
    "tar": as_tar,
    "TorchScript": as_torchscript,
    "bare pickle": pickle.dumps,
}


def test_code(tally: Tally, victim: Victim) -> None:
    """Checkpoints whose pickle runs code, also with torch's switch to allow it."""
    proof = victim.folder / "proof"
    attacks = payloads(proof)
    names = list(attacks)[: tally.times(1, len(attacks))]
    for switch in ({}, UNSAFE):
        for container, wrap in CONTAINERS.items():
            files = [wrap(attacks[name]) for name in names]
            for name, ends in zip(names, feed(victim, files, environment=switch), strict=True):
                check(tally, ends, f"{name} in {container} {switch}")
    assert not proof.exists()
    tally.note("nothing ran")


# --- memory


def pickled(program: bytes) -> bytes:
    """A zip of torch.save's whose pickle is this program."""
    return zipped(data=b"\x80\x02" + program + b".")


def called(name: str, arguments: bytes) -> bytes:
    """Opcodes that call ``name`` (module and leaf, a line each) with a tuple."""
    return b"c" + name.encode() + b"\n" + arguments + b"\x85R"


HUGE = b"\x8a\x05" + (10**10).to_bytes(5, "little")  # LONG1
HEX = (
    b"c_codecs\nencode\nq\0X\x04\0\0\0aaaaX\x06\0\0\0latin1\x86R"
    + b"q\x01h\0h\x01X\x03\0\0\0hex\x86R" * 34
)


def programs(size: int) -> dict[str, bytes]:
    """Pickles of up to ``size`` bytes, by what they ask for."""
    return {
        "bytearray of 10 GB": called("builtins\nbytearray", HUGE),
        "torch.Tensor of 40 GB": called("torch\nTensor", HUGE),
        "torch.FloatTensor of 40 GB": called("torch\nFloatTensor", HUGE),
        "UntypedStorage of 10 GB": called("torch.storage\nUntypedStorage", HUGE),
        "a chain of hex": HEX,
        "a million dicts": b"(" + b"}" * size + b"l",
        "a million marks": b"(" * (size - 10) + b"N",
        "a million sets": b"(" + b"\x8f" * (size - 10) + b"l",
        "four million tuples in each other": b"N" + b"\x85" * (size - 10),
        "as many objects as are let through": b"ccollections\nOrderedDict\nq\0("
        + b"h\0)R" * MAX_CALLS,
        "one object too many": b"ccollections\nOrderedDict\nq\0("
        + b"h\0)R" * (MAX_CALLS + 1)
        + b"l",
    }


def stretched(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor of any size upon one element."""
    return torch.zeros(1, dtype=dtype).expand(*shape)


def sparse(*size: int) -> torch.Tensor:
    """A tensor of any size without an element."""
    return torch.sparse_coo_tensor(size=size, check_invariants=True)


def doubling(links: int = 40) -> list[Any]:
    """2 to the power of ``links`` elements, to whoever goes through them all."""
    value: list[Any] = ["x" * 1000]
    for _ in range(links):
        value = [value, value]
    return value


PLACES = [
    *("format", "version", "config", "config/lr", "config/model", "model/name", "data/name"),
    *("data/classes", "data/mean", "data/fingerprint", "metrics", "metrics/0", "ema", "seconds"),
    *("metrics/0/epoch", "position/epoch", "environment", "environment/precision", "optimizers"),
    *("generators", "generators/torch", "running/sums", "model/weights/fc1.weight", "scaler"),
]
MOMENTUM = "optimizers/0/state/0"


def bombs(victim: Victim, full: bool) -> Iterator[tuple[str, bytes]]:
    """Small files that are huge in use, by name."""
    plain = document(victim)
    size = MAX_PICKLE if full else 1 << 16
    yield from ((name, pickled(program)) for name, program in programs(size).items())
    for place in PLACES[:: 1 if full else 12]:
        yield f"a doubling list as {place}", saved(replaced(plain, place, doubling()))
        yield f"a stretched tensor as {place}", saved(replaced(plain, place, stretched(1 << 36)))
    state = {"momentum_buffer": stretched(1 << 33, dtype=torch.float64)}
    yield "a stretched momentum", saved(replaced(plain, "optimizers/0/state", {0: state}))
    wide = {**plain["model"]["weights"], "fc2.bias": stretched(1 << 40)}
    yield "another program's, stretched", saved(wide)
    wide["fc2.bias"], wide["fc2.weight"] = stretched(99_999), stretched(99_999, 50)
    yield "of 99,999 classes, stretched", saved(wide)
    yield "stretched and sparse", saved({"a": sparse(1 << 40, 1 << 20)})
    yield "gigabytes, compressed", compressed(4 << 30 if full else 32 << 20)
    yield "as large as may be", filled(MAX_BYTES - 4096 if full else 8 << 20)
    yield "a byte too large", bytes(MAX_BYTES + 1)


def compressed(size: int) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as entry,
    ):
        for _ in range(size >> 20):
            entry.write(bytes(1 << 20))
    return buffer.getvalue()


def filled(size: int) -> bytes:
    """As large as a checkpoint may be, and good but for its names."""
    return saved({"weights": torch.zeros(size // 4)})


def test_memory(tally: Tally, victim: Victim) -> None:
    """Checkpoints that unpack, repeat or stretch to gigabytes, under a cap of 500 MB."""
    readers = list(READERS)[-tally.times(1, len(READERS)) :]
    worst = []
    for name, data in bombs(victim, tally.full):
        (ends,) = feed(victim, [data], readers)
        check(tally, ends, name, readers)
        worst += ends
    note_peak(tally, worst)


# --- damage


def test_cut(tally: Tally, victim: Victim) -> None:
    """A checkpoint cut short at as many lengths."""
    whole = good(victim).read_bytes()
    tries = tally.times(12, 200)
    lengths = sorted({*range(0, len(whole), len(whole) // tries + 1), len(whole) - 1})
    for some in batched(lengths, 20):
        for length, ends in zip(some, feed(victim, (whole[:at] for at in some)), strict=True):
            check(tally, ends, f"cut at {length} of {len(whole)}")


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_flips(tally: Tally, victim: Victim) -> None:
    """A bit flipped at every 64th byte: refused, or padding, and the answer is the same."""
    whole = good(victim).read_bytes()
    ((truth, *_),) = feed(victim, [whole])
    assert truth.code == 0
    places = list(range(0, len(whole), 64))[:: tally.times(120, 1)]
    same = 0
    for some in batched(places, 40):
        files = [flipped(whole, at, at // 64 % 8) for at in some]
        for at, ends in zip(some, feed(victim, files), strict=True):
            if all(end.code == 0 for end in ends):
                figures = ends[0].out.partition('"model"')[2]
                tally.check(
                    figures == truth.out.partition('"model"')[2], f"byte {at}: other answer"
                )
                same += 1
            else:
                check(tally, ends, f"byte {at}")
    tally.note(f"{same} of {len(places)} in padding, the same answer")


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8), st.integers(0, 8)),
    min_size=1,
    max_size=4,
)


def test_fuzzed_bytes(tally: Tally, victim: Victim) -> None:
    """Bytes of a checkpoint replaced, inserted and left out at random."""
    whole = good(victim).read_bytes()

    @fuzz(tally.times(6, 500))
    @given(edits=EDITS, ends=st.booleans())
    def attack(edits: list[tuple[float, bytes, int]], ends: bool) -> None:
        data = whole
        for place, new, length in edits:
            # Where the headers and the directory are, there is more to get wrong.
            at = len(data) - 1 - int(place * 3000) if ends else int(place * (len(data) - 1))
            data = data[:at] + new + data[at + length :]
        for name, end in zip(READERS, feed(victim, [data])[0], strict=True):
            padding = end.code == 0 and not end.seen
            tally.check(end.refused(4) or padding, f"{name}: {end.code} {end.message[-300:]}")

    attack()


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
    """Values of a checkpoint replaced by any others: refused by name, or of no consequence."""
    plain = document(victim)
    codes: dict[int, int] = {}

    @fuzz(tally.times(5, 300))
    @given(place=st.sampled_from(sorted(paths(plain))), value=VALUES)
    def attack(place: str, value: Any) -> None:
        data = saved(replaced(plain, place, value))
        for name, end in zip(READERS, feed(victim, [data])[0], strict=True):
            codes[end.code] = codes.get(end.code, 0) + 1
            # A seed may be any number, and a name another data set's or device's.
            fine = end.refused(2, 3, 4) or (end.code == 0 and not end.seen)
            tally.check(fine, f"{place} = {value!r:.80}: {name}: {end.code} {end.message[-300:]}")

    attack()
    tally.note(", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items())))


@pytest.mark.parametrize("name", READERS)
def test_the_good_one_is_read(victim: Victim, name: str) -> None:
    """What all of the above is worth: each reader, under the same cap, reads the whole file."""
    (end,) = victim.run(READERS[name](good(victim)))
    assert end.code == 0, end.err
