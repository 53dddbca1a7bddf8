"""Operations of torch by the names of their functions: in words, and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor

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
    "batch_norm": "batch norm",
    "layer_norm": "layer norm",
    "group_norm": "group norm",
    "instance_norm": "instance norm",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "leaky ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "selu": "SELU",
    "prelu": "PReLU",
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
    "rmatmul": "matrix product",
    "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "multi-head attention",
}
"""What a function's name does not say by itself; any other is shown as it is."""

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
POOLS = ("max_pool2d", "avg_pool2d")
PRODUCTS = {"matmul": 0, "mm": 0, "bmm": 0, "rmatmul": 1, "addmm": 1, "baddbmm": 1}
"""At which argument the left factor stands."""


def plain_name(name: str) -> str:
    """A function's name without what marks it as an operator or as working in place."""
    return name.strip("_")


def describe(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """An operation in words, as ``convolution 3×3, padding 1``."""
    plain = plain_name(name)
    words = WORDS.get(plain, plain.replace("_", " "))
    settings = _settings(plain, args, kwargs)
    return f"{words} {', '.join(settings)}" if settings else words


def _settings(plain: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    if plain in CONVOLUTIONS + TRANSPOSED:
        places = {"stride": 3, "padding": 4}
        usual = {"stride": 1, "padding": 0}
        found = [_times(_argument(args, kwargs, 1, "weight").shape[2:])]
    elif plain in POOLS:
        places, usual = {"padding": 3}, {"padding": 0}
        found = [_times(_argument(args, kwargs, 1, "kernel_size"))]
    else:
        return []
    for key, place in places.items():
        value = _argument(args, kwargs, place, key)
        if value is not None and not _all_equal(value, usual[key]):
            found.append(f"{key} {_times(value, once=True)}")
    return found


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, key: str) -> Any:
    return args[place] if place < len(args) else kwargs.get(key)


def _all_equal(value: Any, usual: int) -> bool:
    return set(value if isinstance(value, list | tuple) else [value]) == {usual}


def _times(size: Any, *, once: bool = False) -> str:
    """A size in two dimensions as ``5×5``; with ``once`` one number where both are the same."""
    if isinstance(size, str):
        return size
    numbers = list(size) if isinstance(size, list | tuple) else [size, size]
    return str(numbers[0]) if once and len(set(numbers)) == 1 else "×".join(map(str, numbers))


def formula(name: str, args: tuple[Any, ...], output: Tensor) -> int | None:
    """Multiply-adds of a convolution, a linear layer or a matrix product; None for any other.

    Each number of the output is a sum of products: over the weights of one filter, over a row of
    the weight, over what two matrices have in common. In a transposed convolution it is each
    number of the input that goes into as many sums as one of its filters has weights.
    """
    plain = plain_name(name)
    if plain in CONVOLUTIONS and len(args) > 1:
        return output.numel() * int(prod(args[1].shape[1:]))
    if plain in TRANSPOSED and len(args) > 1:
        return int(args[0].numel() * prod(args[1].shape[1:]))
    if plain == "linear" and len(args) > 1:
        return output.numel() * int(args[1].shape[-1])
    if plain in PRODUCTS and PRODUCTS[plain] < len(args):
        return output.numel() * int(args[PRODUCTS[plain]].shape[-1])
    return None
