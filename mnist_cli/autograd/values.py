"""Numbers typed by a user become tensors: a number, or a matrix as JSON.

Does not know graphs or expressions.
"""

from __future__ import annotations

import json
import keyword
import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from mnist_cli.autograd.error_tree import UsageError

_EXAMPLES = "Write 2, or a matrix as JSON: [[1, 2], [3, 4]]."
MAX_DIMENSIONS = 64
"""Maximum number of dimensions of a tensor that is typed in."""
MAX_ENTRIES = 1_000_000
"""Maximum number of entries of a tensor that is typed in or that an expression computes."""


def parse_binding(text: str) -> tuple[str, Tensor]:
    """``x=2`` or ``a=[[1, 2], [3, 4]]`` as a name and a float32 leaf that requires a gradient.

    Raises:
        UsageError: the name or the value cannot be read.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals:
        raise UsageError(f"{text!r} gives no value", "Write a name, =, and a value: x=2.")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is not a valid name", "Use letters, digits and underscores: x=2."
        )
    return name, parse_value(value, name).requires_grad_()


def parse_value(text: str, what: str = "the value") -> Tensor:
    """A JSON number or nested lists of numbers as a float32 tensor.

    Raises:
        UsageError: not JSON, not numbers, rows of unequal length, or too many entries.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} is neither a number nor a list of numbers: {text.strip()[:60]!r}",
            _EXAMPLES,
        ) from error
    shape = _shape_of(data, what)
    if math.prod(shape) > MAX_ENTRIES:
        raise UsageError(f"{what} has more than {MAX_ENTRIES} entries", "Give fewer numbers.")
    try:
        values = torch.tensor(data, dtype=torch.float32).reshape(shape)
    except (OverflowError, RuntimeError, ValueError) as error:
        raise _too_large(what) from error
    if not bool(values.isfinite().all()):
        raise _too_large(what)
    return values


def _too_large(what: str) -> UsageError:
    return UsageError(f"{what} holds a number too large for float32", "The largest is 3.4e38.")


def fitted(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Bring one number, or a row (N,) of as many numbers as the shape has entries, into a shape.

    Any other tensor is not changed.
    """
    if values.numel() == 1:
        return values.reshape(()).expand(shape).clone()
    if values.dim() == 1 and values.numel() == math.prod(shape):
        return values.reshape(shape)
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _shape_of(data: object, what: str, depth: int = 0) -> tuple[int, ...]:
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return ()
    if not isinstance(data, list):
        shown = "an object" if isinstance(data, dict) else json.dumps(data)[:40]
        raise UsageError(f"{what} holds {shown}, which is not a number", _EXAMPLES)
    if depth == MAX_DIMENSIONS:
        raise UsageError(f"{what} has more than {MAX_DIMENSIONS} dimensions", _EXAMPLES)
    shapes = {_shape_of(item, what, depth + 1) for item in data}
    if len(shapes) > 1:
        raise UsageError(f"{what} has rows of unequal length", "Give all rows the same length.")
    return (len(data), *(shapes.pop() if shapes else ()))
