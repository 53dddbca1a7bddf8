"""Checkpoints as a stranger might send them: pickles that run code, small files huge in use."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from checkpoint_files import replaced, saved, saved_long_ago, tar_of, zip_of
from readers import document
from victim import Victim

from mnist_cli.checkpoints.archive import MAX_BYTES
from mnist_cli.checkpoints.pickles import MAX_CALLS, MAX_PICKLE

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
        "torch.load": Evil(torch.load, str(proof), None, None),
        "getattr": Evil(getattr, torch.Tensor, "numpy"),
    }


def as_zip(payload: Evil) -> bytes:
    return saved({"state_dict": {"a": torch.ones(2)}, "more": payload})


def as_own(payload: Evil) -> bytes:
    return saved({"format": "mnist-cli/checkpoint", "version": payload})


def as_legacy(payload: Evil) -> bytes:
    return saved_long_ago({"more": payload})


def as_tar(payload: Evil) -> bytes:
    """The format of torch 0.1: pickles in a tar."""
    return tar_of(dict.fromkeys(("storages", "tensors", "pickle"), pickle.dumps(payload)))


def as_torchscript(payload: Evil) -> bytes:
    return zipped(
        data=pickle.dumps(payload), constants=pickle.dumps(payload), code=b"def forward(self): 1"
    )


def zipped(**entries: bytes) -> bytes:
    """A zip as torch.save lays it out: ``data`` is data.pkl, ``code`` a script's source."""
    names = {"data": "data.pkl", "constants": "constants.pkl", "code": "code/__torch__.py"}
    laid = {f"archive/{names.get(name, name)}": content for name, content in entries.items()}
    return zip_of({"archive/version": b"3\n", "archive/byteorder": b"little"} | laid)


CONTAINERS = {
    "zip": as_zip,
    "our format": as_own,
    "legacy": as_legacy,
    "tar": as_tar,
    "TorchScript": as_torchscript,
    "bare pickle": pickle.dumps,
}


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
    """As large as a checkpoint may be, and good except for its names."""
    return saved({"weights": torch.zeros(size // 4)})
