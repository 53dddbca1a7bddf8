"""Opens a file of weights in any known container, without trusting its author.

A file is read once, into memory. The reader of its container checks it and builds its contents as
plain values and tensors (see :mod:`mnist_cli.checkpoints.pickles`). The result is judged before it
is used. Nothing that the file names is imported or called.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_cli.base.files import absence
from mnist_cli.checkpoints import old_files, tensor_files
from mnist_cli.checkpoints.contents import (
    INNER_FILE,
    RESAVE,
    Container,
    Contents,
    Damaged,
    LeftOut,
    Unacceptable,
    Unread,
    judge_contents,
)
from mnist_cli.checkpoints.foreign_kinds import OTHER, known_kind, unknown_kind
from mnist_cli.checkpoints.pickles import NOT_A_PICKLE, UNREADABLE, read_pickle
from mnist_cli.checkpoints.zips import read_zip
from mnist_cli.devices.memory import is_out_of_memory
from mnist_cli.errors import CheckpointError

# 216 MiB: the widest network (51 MiB) with Adam's and averaged weights. Reading takes twice the
# memory of the file.
MAX_BYTES = 216 << 20
_OTHER = "Name a run or a checkpoint that you may read."
_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x01-\x05]|[(}\]cLI]")


def load_archive(path: Path) -> Contents:
    """The contents of a checkpoint file, whose document is a dict, a list or a tuple.

    Raises:
        CheckpointError: the file is missing, unreadable, of an unknown kind, damaged or a whole
            pickled module, or could run code.
    """
    container, document, metadata, left_out = _load(path)
    if any(one.name == INNER_FILE for one in left_out):
        raise CheckpointError(
            f"{path} was written by pickle.dump, which stores each tensor as a file of its own",
            "If you trust its source: torch.save(pickle.load(open(FILE, 'rb')), 'weights.pt').",
        )
    if isinstance(document, Unread):
        raise whole_object(path, left_out[0], container)
    if not isinstance(document, Mapping | list | tuple):
        raise CheckpointError(
            f"{path} holds a {type(document).__name__}, not a checkpoint or a state_dict", RESAVE
        )
    return Contents(document, container, metadata, left_out)


def load_tensor(path: Path) -> Tensor:
    """The only dense tensor, of any shape and dtype, in a file of torch.save, on the CPU.

    Raises:
        CheckpointError: as :func:`load_archive`, or the file holds something else.
    """
    tensor = _load(path)[1]
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
        raise CheckpointError(
            f"{path} holds a {type(tensor).__name__}, not one tensor", "Write it with torch.save."
        )
    return tensor


def whole_object(path: Path, found: LeftOut, container: Container) -> CheckpointError:
    """Why a pickled network, or another object of a class, cannot be used as weights."""
    if not found.module:
        return CheckpointError(f"{path} holds a {found}, not a checkpoint or a state_dict", OTHER)
    load = f"import torch; model = torch.load({str(path)!r}, 'cpu', weights_only=False)"
    if container == "pickle":
        bytes_ = f"pathlib.Path({str(path)!r}).read_bytes()"
        load = f"import pathlib, pickle, torch; model = pickle.loads({bytes_})"
    return CheckpointError(
        f"{path} holds a whole pickled network, {found}: only the code of its class can read it, "
        "and a pickle can run any code",
        "If you trust its source, run this where its class can be imported:\n"
        f"  {load}{found.index}\n"
        "  torch.save(model.state_dict(), 'weights.pt')",
    )


def _load(path: Path) -> tuple[Container, object, dict[str, str], tuple[LeftOut, ...]]:
    try:
        container, document, metadata = _read_any(_read_bytes(path))
        return container, document, metadata, judge_contents(document, MAX_BYTES)
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} {absence(path)}", _OTHER) from error
    except OSError as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path}: {error.strerror}", _OTHER
        ) from error
    except Unacceptable as error:
        raise CheckpointError(f"{path} is refused: {error}", error.hint) from error
    except MemoryError as error:
        raise CheckpointError(
            f"{path} needs more memory than is available",
            "Close other programs, or use a machine with more memory.",
        ) from error


def _read_bytes(path: Path) -> bytes:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unacceptable(f"it has {size:,} bytes; a checkpoint has at most {MAX_BYTES:,}")
    if not path.is_file():
        raise Unacceptable("it is not a file", "Copy what a pipe or a device gives to a file.")
    return path.read_bytes()


def _read_any(data: bytes) -> tuple[Container, object, dict[str, str]]:
    """As :func:`_read`; errors of Python or torch on a hostile file become refusals."""
    try:
        return _read(data)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Damaged(f"{UNREADABLE} ({type(error).__name__})") from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise Damaged(f"{UNREADABLE} ({type(error).__name__})") from error


def _read(data: bytes) -> tuple[Container, object, dict[str, str]]:
    """The container, by the first bytes; its contents, and its metadata."""
    if not data:
        raise Damaged("it is empty")
    if data.startswith(_ZIP):
        return "zip", read_zip(data), {}
    if tensor_files.looks_like(data):
        return "safetensors", *tensor_files.read_tensors(data)
    if data[257:262] == b"ustar" and (document := old_files.read_tar(data)) is not None:
        return "tar", document, {}
    if _PICKLE.match(data):
        return _read_pickles(data)
    raise known_kind(data) or unknown_kind(data)


def _read_pickles(data: bytes) -> tuple[Container, object, dict[str, str]]:
    """Either one pickle, or torch's layout before 1.6, whose first pickle is a number."""
    stream = io.BytesIO(data)
    try:
        first: Any = read_pickle(stream, old_files.no_storage)
    except Unacceptable as error:
        if str(error) != NOT_A_PICKLE:
            raise
        raise (known_kind(data) or error) from error
    if first == old_files.MAGIC:
        return "stream", old_files.read_after_magic(stream), {}
    return "pickle", first, {}
