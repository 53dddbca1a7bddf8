"""Reads the zip that ``torch.save`` writes, from a stranger, without being harmed.

torch checks no CRC, follows whatever the pickle says as far as ``weights_only`` lets it, and knows
an environment variable to switch that off. So the archive is judged first, from bytes that are read
once: stored entries only (nothing can unpack to more than the file's size), every CRC right, no
code. Then :mod:`mnist_cli.checkpoints.pickles` judges the pickle, which is unpickled with
``weights_only=True`` alone, and at last what came out of it.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_cli.checkpoints.pickles import NOT_PLAIN, Unacceptable, judge_contents, judge_pickle
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import CheckpointError

# 216 MiB: the widest network there is (51 MiB), with Adam's and averaged weights. Reading takes
# memory for the file twice.
MAX_BYTES = 216 << 20
MAX_ENTRIES = 10_000
_UNSAFE_SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_RESAVE = "Save the state_dict again with torch.save(model.state_dict(), path)."


def load_archive(path: Path) -> Mapping[str, Any]:
    """The dict that a checkpoint file holds: plain types and tensors on the CPU.

    Raises:
        CheckpointError: missing, unreadable, no zip of torch.save's, damaged, or holding
            anything that could run code.
    """
    document = _load(path)
    if not isinstance(document, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(document).__name__}, not a checkpoint or a state_dict", _RESAVE
        )
    return document


def load_tensor(path: Path) -> Tensor:
    """The one dense tensor that a file of torch.save holds, on the CPU.

    Raises:
        CheckpointError: as :func:`load_archive`, or it holds something else.
    """
    tensor = _load(path)
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
        raise CheckpointError(
            f"{path} holds a {type(tensor).__name__}, not one tensor", "Write it with torch.save."
        )
    return tensor


def _load(path: Path) -> object:
    try:
        data = _read_bytes(path)
        _judge(path, data)
        judge_pickle(_read_pickle(data))
        loaded = _unpickle(path, data)
        judge_contents(loaded, MAX_BYTES)
    except Unacceptable as error:
        raise CheckpointError(f"{path} is refused: {error}", _RESAVE) from error
    except MemoryError as error:
        raise CheckpointError(f"{path} needs more memory than there is") from error
    return loaded


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(
                f"{path} has {size:,} bytes; no checkpoint of an MNIST network is above {MAX_BYTES:,}"
            )
        if not path.is_file():
            raise CheckpointError(f"{path} is not a file")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error


def _judge(path: Path, data: bytes) -> None:
    """Refuse what is not a whole, plain archive as torch.save writes it."""
    if not data:
        raise CheckpointError(f"{path} is empty")
    if not data.startswith(b"PK\x03\x04"):
        raise CheckpointError(
            f"{path} is not a checkpoint: not a zip as torch.save writes", _RESAVE
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _judge_entries(path, entries, len(data))
            damaged = archive.testzip()
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # a stranger's bytes: zipfile lets struct.error and others through
        raise CheckpointError(f"{path} is damaged or cut short: {error}") from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of {damaged!r} is wrong")


def _judge_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_ENTRIES or len(set(names)) != len(names):
        raise CheckpointError(f"{path} is no checkpoint: too many entries, or two of one name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            f"{path} is refused: a checkpoint's entries are not compressed", _RESAVE
        )
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise CheckpointError(f"{path} is refused: it is encrypted")
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"{path} is damaged: its entries claim more bytes than the file has")
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise CheckpointError(
            f"{path} is refused: it is a TorchScript program, which holds code", _RESAVE
        )
    if "data.pkl" not in inner:
        raise CheckpointError(f"{path} is a zip, but not one that torch.save wrote", _RESAVE)


def _read_pickle(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
        return archive.read(name)


def _unpickle(path: Path, data: bytes) -> object:
    try:
        with _weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        # Whatever a hostile pickle makes torch raise: the message is ours, since torch's own
        # explains how to load the file unsafely.
        reason = NOT_PLAIN
        if not _looks_refused(error):
            reason = f"its contents cannot be read ({type(error).__name__})"
        raise CheckpointError(f"{path} is refused: {reason}", _RESAVE) from error


def _looks_refused(error: Exception) -> bool:
    return "weights_only" in str(error) or "Unsupported" in str(error)


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Take away the environment's switch that would override ``weights_only=True``."""
    saved = os.environ.pop(_UNSAFE_SWITCH, None)
    try:
        yield
    finally:
        if saved is not None:
            os.environ[_UNSAFE_SWITCH] = saved
