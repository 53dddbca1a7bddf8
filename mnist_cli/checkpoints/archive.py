"""Reads the zip that ``torch.save`` writes, without trusting its author.

torch checks no CRC. So the bytes are read once and the archive is checked first: entries are stored,
so nothing can unpack to more than the file's size, and every CRC is right. Then
:mod:`mnist_cli.checkpoints.pickles` checks the pickle, torch unpickles it with
``weights_only=True``, and the result is checked again.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mnist_cli.checkpoints.contents import Contents, Unacceptable
from mnist_cli.checkpoints.pickles import NOT_PLAIN, judge_contents, judge_pickle
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import CheckpointError

# 216 MiB: the widest network (51 MiB) with Adam's and averaged weights. Reading takes memory for
# the file twice.
MAX_BYTES = 216 << 20
MAX_ENTRIES = 10_000
_RESAVE = "Save the state_dict again with torch.save(model.state_dict(), path)."


def load_archive(path: Path) -> Contents:
    """The contents of a checkpoint file, whose document is a dict.

    Raises:
        CheckpointError: missing, unreadable, not from torch.save, damaged, or holding anything
            that could run code.
    """
    document = _load(path)
    if not isinstance(document, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(document).__name__}, not a checkpoint or a state_dict", _RESAVE
        )
    return Contents(document)


def load_tensor(path: Path) -> Tensor:
    """The one dense tensor, of any shape and dtype, that a file of torch.save holds, on the CPU.

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
        judge_pickle(_pickle_of(data))
        loaded = _unpickle(data)
        judge_contents(loaded, MAX_BYTES)
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except Unacceptable as error:
        raise CheckpointError(f"{path} is refused: {error}", _RESAVE) from error
    except MemoryError as error:
        raise CheckpointError(f"{path} needs more memory than is available") from error
    return loaded


def _read_bytes(path: Path) -> bytes:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unacceptable(f"it has {size:,} bytes; a checkpoint has at most {MAX_BYTES:,}")
    if not path.is_file():
        raise Unacceptable("it is not a file")
    return path.read_bytes()


def _pickle_of(data: bytes) -> bytes:
    """The pickle of an archive; refuses what is not a whole archive as torch.save writes it."""
    if not data.startswith(b"PK\x03\x04"):
        raise Unacceptable("it is not a zip as torch.save writes" if data else "it is empty")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _judge_entries(archive.infolist(), len(data))
            if damaged := archive.testzip():
                raise Unacceptable(f"it is damaged: the checksum of {damaged!r} is wrong")
            for name in archive.namelist():
                if name.partition("/")[2] == "data.pkl":
                    return archive.read(name)
    except (Unacceptable, MemoryError):
        raise
    except Exception as error:  # zipfile lets struct.error and others through
        raise Unacceptable(f"it is damaged or cut short: {error}") from error
    raise Unacceptable("it is a zip, but not one that torch.save wrote")


def _judge_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    names = {entry.filename for entry in entries}
    if len(entries) > MAX_ENTRIES or len(names) != len(entries):
        raise Unacceptable("it has too many entries, or two with the same name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Unacceptable("a checkpoint's entries are not compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise Unacceptable("it is damaged: its entries claim more bytes than the file has")


def _unpickle(data: bytes) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        # The message is ours: torch's explains how to load the file unsafely.
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise Unacceptable(NOT_PLAIN) from error
        name = type(error).__name__
        raise Unacceptable(f"its contents cannot be read ({name})") from error
