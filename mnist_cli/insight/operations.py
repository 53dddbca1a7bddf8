"""Operations of torch in words, by the names of their functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "conv1d": "convolution",
    "conv2d": "convolution",
    "conv3d": "convolution",
    "conv_transpose1d": "transposed convolution",
    "conv_transpose2d": "transposed convolution",
    "conv_transpose3d": "transposed convolution",
    "max_pool2d": "max pool",
    "avg_pool2d": "average pool",
    "adaptive_max_pool2d": "max pool",
    "adaptive_avg_pool2d": "average pool",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hardtanh": "clamp",
    "hardswish": "hard swish",
    "log_softmax": "log-softmax",
    "getitem": "slice",
    "get": "view",
    "dropout": "dropout (only in training)",
    "dropout1d": "dropout (only in training)",
    "dropout2d": "dropout (only in training)",
    "alpha_dropout": "dropout (only in training)",
    "cat": "concatenate",
    "matmul": "matrix product",
    "mm": "matrix product",
    "bmm": "matrix product",
    "addmm": "matrix product",
    "baddbmm": "matrix product",
    "rmatmul": "matrix product",
    "iadd": "add",
    "radd": "add",
    "isub": "subtract",
    "rsub": "subtract",
    "sub": "subtract",
    "imul": "multiply",
    "rmul": "multiply",
    "mul": "multiply",
    "truediv": "divide",
    "div": "divide",
    "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "multi-head attention",
}
"""Names that differ from the function's; any other is shown with blanks for underscores."""

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_POOLS = ("max_pool2d", "avg_pool2d")


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
        found = [_times(_argument(args, kwargs, 1, "weight").shape[2:])]
    elif plain in _POOLS:
        positions, defaults = {"padding": 3}, {"padding": 0}
        found = [_times(_argument(args, kwargs, 1, "kernel_size"))]
    else:
        return []
    for key, position in positions.items():
        value = _argument(args, kwargs, position, key)
        if value is not None and set(_sizes(value)) != {defaults[key]}:
            found.append(f"{key} {_times(value, once=True)}")
    return found


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, key: str) -> Any:
    return args[position] if position < len(args) else kwargs.get(key)


def _sizes(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value, value]


def _times(size: Any, *, once: bool = False) -> str:
    """A size as ``5×5``; ``once`` makes it one number if all dimensions are equal."""
    numbers = _sizes(size)
    once = once or isinstance(size, str)  # a padding of "same" or "valid"
    return str(numbers[0]) if once and len(set(numbers)) == 1 else "×".join(map(str, numbers))
