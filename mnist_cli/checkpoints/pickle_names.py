"""The meaning of the names in a pickle: plain values, tensors, or objects that are not read.

The table at the end lists each supported name, with a function of ours that makes the value. A
name is never imported. Each function checks its arguments, since they come from the file.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from mnist_cli.checkpoints import pickled_arrays
from mnist_cli.checkpoints.contents import (
    DISTRIBUTED,
    INNER_FILE,
    NO_MEMORY,
    Unacceptable,
    Unread,
    safe_text,
)
from mnist_cli.checkpoints.storages import Storage, tensor_of

_REBUILD = "torch._utils._rebuild"
_HARMLESS = (
    *("torch.nn.", "torch.optim.", "torch.autograd.", "torch.utils.data.", "torch.distributions."),
    *(_REBUILD, "torch._tensor._rebuild", "torch._C.Generator", "torch.Generator"),
    *("torch.storage.", "torch.quantization.", "torch.ao.", "torch.amp.", "torch.cuda.amp."),
    *("numpy.random.", "numpy.ma.", "numpy.ndarray", "numpy.dtype", "numpy.matrix"),
    *("collections.", "datetime.", "decimal.", "fractions.", "uuid.", "pathlib.", "argparse."),
    *("functools.partial", "types.SimpleNamespace", "random.Random", "re._compile", "ipaddress."),
    *("typing.", "time.struct_time", "logging.", "zoneinfo.", "copyreg.", "enum."),
)
"""Names in torch, numpy and Python: their objects are left out. They are of no use to attacks."""

_TYPES = {
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
    *("object", "range", "set", "slice", "str", "tuple", "type", "Ellipsis", "NotImplemented"),
    *("abs", "len", "max", "min", "sum", "long", "unicode", "xrange"),  # the last three: Python 2's
}
_RENAMED = (
    ("__builtin__.", "builtins."),
    ("copy_reg.", "copyreg."),
    ("numpy._core.", "numpy.core."),
)
_OTHERS_CODE = (frozenset(sys.stdlib_module_names) | {"torch", "numpy"}) - {"test", "numbers"}
"""Packages installed everywhere, which attacks use; without names that users often choose."""
_KEYS = str | int | float | bool | bytes | None | Unread | torch.dtype | Tensor
MAX_KEY = 1 << 60  # beyond, integers with equal hashes are easy to find


_DTYPES = {f"torch.{name}": one for name, one in vars(torch).items() if type(one) is torch.dtype}
_LAYOUTS = {
    f"torch.{name}"
    for name, one in vars(torch).items()
    if isinstance(one, torch.memory_format | torch.layout | torch.qscheme)
}

_LOAD = (
    "If you trust its source, load it with torch, and save the weights alone: "
    "torch.save(model.state_dict(), 'weights.pt')."
)
_DISTRIBUTED = (
    "In the program that wrote it, save whole tensors: torch.save(get_model_state_dict(model, options="
    "StateDictOptions(full_state_dict=True)), 'weights.pt'), with both names from "
    f"torch.distributed.checkpoint.state_dict. {DISTRIBUTED}"
)


class Record(dict[str, Any]):
    """The attributes of an object such as ``argparse.Namespace``, or the items of a dict's subclass."""


def named(module: str, leaf: str) -> object:
    """The value that a pickle pushes for a name: a dtype, or the name itself.

    Raises:
        Unacceptable: a function or class of Python, torch or numpy is not harmless.
    """
    name = f"{module}.{leaf}"
    for old, new in _RENAMED:
        name = name.replace(old, new, 1) if name.startswith(old) else name
    if name in _DTYPES:
        return _DTYPES[name]
    if not _is_harmless(name):
        hint = _DISTRIBUTED if name.startswith("torch.distributed.") else _LOAD
        raise Unacceptable(f"it names {safe_text(name)}, which could run code", hint)
    return Unread(name)


def _is_harmless(name: str) -> bool:
    package, _, rest = name.partition(".")
    if package not in _OTHERS_CODE or name in _BUILDERS or name.startswith(_HARMLESS):
        return True
    if package == "torch":
        return name.endswith(("Storage", "Tensor")) or name in _LAYOUTS
    return (package == "builtins" and rest in _TYPES) or pickled_arrays.is_scalar_type(name)


def call(callee: object, arguments: object) -> object:
    """The value of calling a name, or of making an object of it.

    Raises:
        TypeError: ``callee`` is not a name, or its builder takes other arguments.
    """
    if not isinstance(callee, Unread) or not isinstance(arguments, tuple):
        raise TypeError("a call of something else than a name")
    if callee.name.startswith("torch.") and callee.name.endswith("Tensor") and not arguments:
        return torch.empty(0)  # torch before 0.2: build() fills it
    builder = _BUILDERS.get(callee.name)
    if builder is not None:
        return builder(*arguments)
    return Unread(NO_MEMORY if callee.name.startswith(_REBUILD) else callee.name)


def build(made: object, state: object) -> object:
    """The object with the state that the pickle gives it: the same object, or its replacement."""
    match made, state:
        case Record(), dict():
            made.update({key: value for key, value in state.items() if isinstance(key, str)})
        case OrderedDict(), {"_metadata": dict() as versions}:  # of a state_dict's modules
            known = {key: one for key, one in versions.items() if isinstance(one, dict)}
            vars(made)["_metadata"] = known
        case Tensor(), (Storage(), _, _, _):
            return _tensor(*state)
        case Unread(), {"_modules": dict(), "_parameters": dict()}:
            return Unread(made.name, module=True)
        case Unread(name="numpy.ndarray"), tuple():
            array = pickled_arrays.array(state)
            return made if array is None else array
        case pickled_arrays.Dtype(), tuple():
            return made.ordered(state)
    return made


def check_key(key: object) -> Any:
    """Accept a key of a dict or an element of a set only if its hash is cheap to compute.

    Raises:
        TypeError: the key has another type, or is too large.
    """
    parts = key if isinstance(key, tuple) and len(key) < 10 else (key,)
    if not all(isinstance(part, _KEYS) for part in parts):
        raise TypeError("a key that is not a plain value")
    if any(isinstance(part, int) and abs(part) > MAX_KEY for part in parts):
        raise TypeError("a key that is too large")
    return key


def _tensor(storage: object, offset: object, size: object, stride: object, *more: object) -> object:
    if any(isinstance(bits, dict) and any(bits.values()) for bits in more[2:]):
        raise Unacceptable(
            "it has a tensor stored as the negative or complex conjugate of its values",
            "Save the values: {name: t.resolve_neg().resolve_conj() for name, t in "
            "weights.items()}.",
        )
    if isinstance(storage, Storage):
        return tensor_of(storage, offset, size, stride)
    if isinstance(storage, Unread):
        return storage
    raise TypeError("a tensor without a storage")


def _tensor_with_dtype(
    storage: object, offset: object, size: object, stride: object, *more: object
) -> object:
    """``_rebuild_tensor_v3``: its other arguments are requires_grad, the hooks, and the dtype."""
    if isinstance(storage, Storage) and isinstance(more[2], torch.dtype):
        return tensor_of(storage.viewed_as(more[2]), offset, size, stride)
    raise TypeError("a tensor without a storage or dtype")


def _same(data: object, *_more: object) -> object:
    """The data of a Parameter or Variable."""
    if isinstance(data, Tensor | Unread):
        return data
    raise TypeError("a parameter of something else than a tensor")


def _reconstructed(kind: object, _base: object = None, state: object = None) -> object:
    """An object as protocols before 2 write it; a subclass of dict keeps its items."""
    made = call(kind, ())
    return Record(state) if isinstance(made, Unread) and isinstance(state, dict) else made


def _ordered(pairs: Iterable[Any] = ()) -> object:
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _counter(counts: object = None) -> object:
    return dict(counts) if isinstance(counts, dict) else {}


def _bytes(text: object = "", encoding: str = "latin-1") -> object:
    """Bytes as protocols before 3 write them: a text with characters up to 255."""
    if isinstance(text, str) and encoding in ("latin1", "latin-1"):
        return text.encode("latin-1")
    if isinstance(text, bytes):
        return text
    raise TypeError("bytes of something else than a text")


def _posix_path(*parts: str) -> object:
    return str(PurePosixPath(*parts))


def _windows_path(*parts: str) -> object:
    return str(PureWindowsPath(*parts))


def _size(values: object = ()) -> object:
    if isinstance(values, tuple | list) and all(type(value) is int for value in values):
        return torch.Size(values)
    raise TypeError("a size of something else than integers")


def _device(kind: object, index: object = None) -> object:
    """A device as text: this machine may not have it."""
    return f"{kind:.20}" if index is None else f"{kind:.20}:{index}"


def _list(values: object = (), *_length: object) -> object:
    return list(values) if isinstance(values, list | tuple) else []


_PATHS = {
    f"pathlib.{module}{kind}Path": _windows_path if "Windows" in kind else _posix_path
    for module in ("", "_local.")
    for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
}
_RECORDS = (
    *("argparse.Namespace", "types.SimpleNamespace", "easydict.EasyDict", "addict.addict.Dict"),
    "pytorch_lightning.utilities.parsing.AttributeDict",
    *(
        f"{package}.utilities.data.AttributeDict"
        for package in ("lightning_fabric", "lightning.fabric")
    ),
)
_BUILDERS: dict[str, Callable[..., object]] = {
    f"{_REBUILD}_tensor": _tensor,
    f"{_REBUILD}_tensor_v2": _tensor,
    f"{_REBUILD}_tensor_v3": _tensor_with_dtype,
    f"{_REBUILD}_parameter": _same,
    f"{_REBUILD}_parameter_with_state": _same,
    f"{_REBUILD}_device_tensor_from_numpy": _same,
    f"{_REBUILD}_device_tensor_from_cpu_tensor": _same,
    "torch.storage._load_from_bytes": lambda *_: Unread(INNER_FILE),
    "torch._tensor._rebuild_from_type_v2": lambda made, _kind, given, *_: call(made, given),
    "torch.nn.parameter.Parameter": _same,
    "torch.nn.parameter.Buffer": _same,
    "torch.autograd.variable.Variable": _same,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": lambda name, *_: str(name),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_factory: {},
    "collections.Counter": _counter,
    "collections.deque": _list,
    "copyreg._reconstructor": _reconstructed,
    "builtins.dict": _counter,
    "builtins.list": _list,
    "builtins.set": lambda values=(): set(map(check_key, values)),
    "builtins.frozenset": lambda values=(): frozenset(map(check_key, values)),
    "builtins.complex": lambda real, imaginary: complex(real, imaginary),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _bytes,
    **_PATHS,
    **{name: lambda *_: Record() for name in _RECORDS},
    **pickled_arrays.BUILDERS,
}
