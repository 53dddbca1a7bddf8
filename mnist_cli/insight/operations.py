"""Operations of torch in words, by the names of their functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_POOLS = ("max_pool2d", "avg_pool2d")

_NAMES = {
    "convolution": _CONVOLUTIONS,
    "transposed convolution": _TRANSPOSED,
    "max pool": ("max_pool2d", "adaptive_max_pool2d"),
    "average pool": ("avg_pool2d", "adaptive_avg_pool2d"),
    "dropout (only in training)": ("dropout", "dropout1d", "dropout2d", "alpha_dropout"),
    "matrix product": ("matmul", "mm", "bmm", "addmm", "baddbmm", "rmatmul"),
    "add": ("iadd", "radd"),
    "subtract": ("isub", "rsub", "sub"),
    "multiply": ("imul", "rmul", "mul"),
    "divide": ("truediv", "div"),
    "ReLU": ("relu",),
    "ReLU6": ("relu6",),
    "leaky ReLU": ("leaky_relu",),
    "PReLU": ("prelu",),
    "ELU": ("elu",),
    "SELU": ("selu",),
    "GELU": ("gelu",),
    "SiLU": ("silu",),
    "clamp": ("hardtanh",),
    "hard swish": ("hardswish",),
    "log-softmax": ("log_softmax",),
    "slice": ("getitem",),
    "view": ("get",),
    "concatenate": ("cat",),
    "attention": ("scaled_dot_product_attention",),
    "multi-head attention": ("multi_head_attention_forward",),
}
WORDS = {name: words for words, names in _NAMES.items() for name in names}
"""Names that differ from the function's; any other is shown with blanks for underscores."""


def in_words(name: str) -> str:
    """The operation of a function, such as ``max pool``; in place or not, as operator or not."""
    plain = name.strip("_")
    return WORDS.get(plain, plain.replace("_", " "))


def describe(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """An operation with its settings, such as ``convolution 3×3, padding 1``."""
    settings = _settings(name.strip("_"), args, kwargs)
    return f"{in_words(name)} {', '.join(settings)}" if settings else in_words(name)


def _settings(plain: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    if plain in _CONVOLUTIONS + _TRANSPOSED:
        positions, defaults = {"stride": 3, "padding": 4}, {"stride": 1, "padding": 0}
        found = [_times(argument(args, kwargs, 1, "weight").shape[2:])]
    elif plain in _POOLS:
        positions, defaults = {"padding": 3}, {"padding": 0}
        found = [_times(argument(args, kwargs, 1, "kernel_size"))]
    else:
        return []
    for key, position in positions.items():
        value = argument(args, kwargs, position, key)
        if value is not None and set(_sizes(value)) != {defaults[key]}:
            found.append(f"{key} {_times(value, once=True)}")
    return found


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, key: str) -> Any:
    """An argument given by its position or by its name."""
    return args[position] if position < len(args) else kwargs.get(key)


def _sizes(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value, value]


def _times(size: Any, *, once: bool = False) -> str:
    """A size as ``5×5``; ``once`` makes it one number if all dimensions are equal."""
    numbers = _sizes(size)
    once = once or isinstance(size, str)  # a padding of "same" or "valid"
    return str(numbers[0]) if once and len(set(numbers)) == 1 else "×".join(map(str, numbers))
