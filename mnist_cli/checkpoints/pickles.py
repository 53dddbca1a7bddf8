"""Checks a pickle before it runs, and the result before it is used.

``weights_only`` keeps a pickle from running code, but not from taking memory. A file may still call
``torch.Tensor(10**10)`` or ``bytearray(10**10)``; each link of a chain of
``_codecs.encode(…, "hex")`` doubles its bytes; and thirty lists, each holding the one before it
twice, are a billion elements to whoever writes them out.
"""

from __future__ import annotations

import itertools
import pickletools
from collections.abc import Iterable

import torch
from torch import Tensor

from mnist_cli.checkpoints.contents import Unacceptable

MAX_PICKLE = 1 << 21  # 2 MiB: the metrics of about 7,000 epochs
MAX_CALLS = 20_000  # each makes an object of up to a kilobyte
MAX_PLAIN = 1 << 23  # values and characters, each counted every time it is reached
MAX_DEPTH = 50
NOT_PLAIN = "it holds something other than tensors and plain values, which could run code"

# What torch.save writes for tensors and plain values; none of these takes a size to allocate.
_REBUILD = (
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_parameter",
    "_rebuild_sparse_tensor",
    "_rebuild_meta_tensor_no_storage",
)
_CALLABLE = {
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch.serialization _get_layout",
    *(f"torch._utils {name}" for name in _REBUILD),
}
_CALLS = {"REDUCE", "NEWOBJ", "EMPTY_SET"}


def judge_pickle(program: bytes) -> None:
    """Refuse a pickle that names anything else than the types of a checkpoint, or is too large.

    Raises:
        Unacceptable: it does, makes too many objects, is too long, or is not a pickle.
    """
    if len(program) > MAX_PICKLE:
        raise Unacceptable(f"its pickle has {len(program):,} bytes, more than {MAX_PICKLE:,}")
    calls = 0
    try:
        for operation, argument, _ in pickletools.genops(program):
            if operation.name == "GLOBAL" and not _is_plain(str(argument)):
                raise Unacceptable(NOT_PLAIN)
            calls += operation.name in _CALLS
    except (ValueError, IndexError, OverflowError) as error:
        raise Unacceptable("its contents cannot be read (not a pickle)") from error
    if calls > MAX_CALLS:
        raise Unacceptable(f"it holds more than {MAX_CALLS:,} objects")


def _is_plain(name: str) -> bool:
    """Whether ``module name``, as in a pickle, is a storage type, a dtype, or in the list."""
    module, _, leaf = name.partition(" ")
    if name in _CALLABLE:
        return True
    return module == "torch" and (
        leaf.endswith("Storage") or isinstance(getattr(torch, leaf, None), torch.dtype)
    )


def judge_contents(root: object, max_bytes: int) -> None:
    """Refuse contents that are small in a file and huge in use: shared, nested or stretched.

    Args:
        root: the unpickled object.
        max_bytes: limit for all its tensors together, as if none shared memory.

    Raises:
        Unacceptable: a limit is exceeded.
    """
    plain = held = 0

    def visit(value: object, depth: int) -> None:
        nonlocal plain, held
        plain += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        held += _bytes(value) if isinstance(value, Tensor) else 0
        if plain > MAX_PLAIN or depth > MAX_DEPTH:
            raise Unacceptable("its plain values are nested too deeply, or too many")
        if held > max_bytes:
            raise Unacceptable(f"its tensors claim more than {max_bytes:,} bytes")
        for inner in _inner(value):
            visit(inner, depth + 1)

    visit(root, 1)


def _inner(value: object) -> Iterable[object]:
    """The keys and values or the elements of a container; nothing for any other value."""
    if isinstance(value, dict):
        return itertools.chain(value.keys(), value.values())
    return value if isinstance(value, list | tuple | set) else ()


def _bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's elements, which must be in its storage; 0 for sparse and meta tensors."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return 0
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise Unacceptable("a tensor claims more elements than the file holds")
    return size
