"""A formula in a string becomes tensors with a graph. It is parsed, never passed to ``eval``.

It may hold numbers, names with values, ``+ - * / ** @``, unary minus and plus, parentheses, and
calls of :data:`FUNCTIONS`. Everything else is an error that shows the place.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from mnist_cli.autograd.error_tree import UsageError, first_line
from mnist_cli.autograd.query import nearest
from mnist_cli.autograd.values import MAX_ENTRIES

MAX_LENGTH = 1_000
"""Maximum number of characters of an expression."""
MAX_DEPTH = 60
"""Maximum depth of nesting of an expression."""
MAX_TOTAL = 20_000_000
"""Maximum number of entries of all tensors that an expression computes: 80 MB in float32."""
_SHORTER = "Compute a part of it first, and give the result as a value."
_GIVEN = "{0}=2 in Python, --at {0}=2 in mnist inspect-grad"
MAX_WHOLE = 2**53
"""The largest whole number that stays whole: beyond it floats have gaps."""

Number = int | float
Value = Tensor | Number


@dataclass(frozen=True)
class Function:
    """A function of the list: how many tensors it takes, and which whole-number options."""

    call: Callable[..., Any]
    tensors: int = 1
    options: tuple[str, ...] = ()
    shape: bool = False
    """Whether a shape follows: any number of whole numbers."""
    grown: Callable[..., int] | None = None
    """Number of entries of the largest tensor that it makes; None if an operand has as many."""


_ELEMENTWISE = (
    "abs acos asin atan ceil cos cosh erf exp expm1 floor log log10 log1p log2 reciprocal relu "
    "rsqrt sigmoid sign sin sinh sqrt square tan tanh"
)
_PAIRS = "add sub mul div pow maximum minimum"
_PRODUCTS = "matmul mm mv dot"
_ALONG_A_DIMENSION = "sum mean prod var std logsumexp softmax log_softmax cumsum squeeze unsqueeze"


def _together(*values: Any) -> int:
    """The entries of tensors brought to one shape."""
    return _broadcast(*(value.shape for value in values if isinstance(value, Tensor)))


def _product(left: Tensor, right: Tensor) -> int:
    """The entries of a product of vectors, matrices or stacks of them."""
    rows, columns = left.shape[-2:-1], right.shape[1:][-1:]
    return int(_broadcast(left.shape[:-2], right.shape[:-2]) * math.prod((*rows, *columns)))


def _broadcast(*shapes: Sequence[int]) -> int:
    """The number of entries of the common shape."""
    views = [torch.zeros(()).expand(tuple(shape)) for shape in shapes]
    return int(torch.broadcast_tensors(*views)[0].numel())


FUNCTIONS: Mapping[str, Function] = {
    **{name: Function(getattr(torch, name)) for name in _ELEMENTWISE.split()},
    **{name: Function(getattr(torch, name), 2, grown=_together) for name in _PAIRS.split()},
    **{name: Function(getattr(torch, name), 2, grown=_product) for name in _PRODUCTS.split()},
    **{name: Function(getattr(torch, name), 1, ("dim",)) for name in _ALONG_A_DIMENSION.split()},
    "gelu": Function(torch.nn.functional.gelu),
    "silu": Function(torch.nn.functional.silu),
    "softplus": Function(torch.nn.functional.softplus),
    "leaky_relu": Function(torch.nn.functional.leaky_relu),
    "outer": Function(torch.outer, 2, grown=lambda a, b: a.numel() * b.numel()),
    "mse_loss": Function(torch.nn.functional.mse_loss, 2, grown=_together),
    "linear": Function(torch.nn.functional.linear, 3, grown=lambda x, w, _: _product(x, w.t())),
    "addmm": Function(torch.addmm, 3, grown=lambda _, a, b: _product(a, b)),
    "max": Function(torch.max),
    "min": Function(torch.min),
    "norm": Function(torch.linalg.vector_norm),
    "t": Function(torch.t),
    "transpose": Function(torch.transpose, 1, ("dim0", "dim1")),
    "flatten": Function(torch.flatten),
    "reshape": Function(lambda x, *shape: x.reshape(shape), 1, (), shape=True),
}
"""Every function that an expression may call. Options are whole numbers, by name or in order:
``softmax(x, -1)``, ``sum(x, dim=0)``, ``reshape(x, 2, 3)``."""

_LISTED = f"The functions are {', '.join(FUNCTIONS)}."
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate(expression: str, leaves: Mapping[str, Tensor]) -> Tensor:
    """The value of an expression, with its graph.

    Args:
        expression: a formula, as in the module's docstring.
        leaves: a tensor of any shape for each name in it.

    Returns:
        A tensor of the shape that the formula gives; its ``grad_fn`` is the outermost operation.

    Raises:
        UsageError: the expression is not allowed, or cannot be computed; shows the place.
    """
    text = " ".join(expression.split())
    value = _Reader(text, leaves).read(_parse(text).body, 0)
    if not isinstance(value, Tensor):
        raise UsageError(
            f"{text!r} has no variable, so it has no gradient",
            f"Use a name and give it a value: {_GIVEN.format('x')}.",
        )
    return value


def names_in(expression: str) -> tuple[str, ...]:
    """The variables of an expression, in the order of their first use."""
    tree = _parse(" ".join(expression.split()))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    return tuple(dict.fromkeys(n.id for n in sorted(names, key=lambda n: n.col_offset)))


def _parse(text: str) -> ast.Expression:
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the expression is longer than {MAX_LENGTH} characters", _SHORTER)
    if not text:
        raise UsageError("the expression is empty", "Write one, such as x * y.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval")
    except UnicodeError as error:
        raise UsageError("the expression is not UTF-8", "Write ASCII, such as x * y.") from error
    except SyntaxError as error:
        if "too many nested" in error.msg:
            raise _too_deep() from error
        _refuse("this is not an expression", text, (error.offset or 1) - 1)
    except (ValueError, RecursionError, MemoryError) as error:
        raise _too_deep() from error


def _too_deep() -> UsageError:
    return UsageError("the expression cannot be read: it is nested too deeply", _SHORTER)


def _refuse(what: str, text: str, start: int, end: int | None = None, hint: str = "") -> NoReturn:
    """Fail with the expression, and carets below the place."""
    start = max(0, min(start, len(text)))
    carets = "^" * max(1, (end or start + 1) - start)
    raise UsageError(f"{what}, at column {start + 1}:\n  {text}\n  {' ' * start}{carets}", hint)


class _Reader:
    """Walks a parsed expression and computes it, node by allowed node."""

    def __init__(self, text: str, leaves: Mapping[str, Tensor]) -> None:
        self.text = text
        self.leaves = leaves
        self.entries = 0

    def refuse(self, what: str, node: ast.expr, hint: str = "") -> NoReturn:
        """Fail at a node; a parsed node counts columns in bytes, a terminal in characters."""
        start, end = (
            len(self.text.encode()[:offset].decode(errors="ignore"))
            for offset in (node.col_offset, node.end_col_offset or node.col_offset + 1)
        )
        _refuse(what, self.text, start, end, hint)

    def read(self, node: ast.expr, depth: int) -> Value:
        """The value of a node."""
        if depth > MAX_DEPTH:
            self.refuse("the expression is nested too deeply", node)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self._operators(node, depth)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            return self._compute(node, _UNARY[type(node.op)], [self.read(node.operand, depth + 1)])
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        hint = f"Use only numbers, names, + - * / ** @, parentheses and functions. {_LISTED}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            hint = "Write ** for a power."
        return self.refuse("this is not allowed in an expression", node, hint)

    def _operators(self, node: ast.BinOp, depth: int) -> Value:
        """A chain such as ``a + b - c``, from its left end: it is not nested, however long."""
        chain = [node]
        while isinstance(chain[-1].left, ast.BinOp) and type(chain[-1].left.op) in _BINARY:
            chain.append(chain[-1].left)
        value = self.read(chain[-1].left, depth + 1)
        for one in reversed(chain):
            right = self.read(one.right, depth + 1)
            grown = _product if isinstance(one.op, ast.MatMult) else _together
            value = self._compute(one, _BINARY[type(one.op)], [value, right], grown)
        return value

    def _constant(self, node: ast.Constant) -> Number:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(f"{value!r} is not a number", node)
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            self.refuse("the number is too large", node, "Write it with an exponent: 1e20.")
        return value

    def _name(self, node: ast.Name) -> Tensor:
        if node.id in self.leaves:
            return self.leaves[node.id]
        if node.id in FUNCTIONS:
            self.refuse(f"{node.id} is a function", node, f"Call it: {node.id}(x).")
        return self.refuse(
            f"{node.id} has no value", node, f"Give it one: {_GIVEN.format(node.id)}."
        )

    def _call(self, node: ast.Call, depth: int) -> Value:
        if not isinstance(node.func, ast.Name):
            attribute = getattr(node.func, "attr", "")
            hint = f"Write {attribute}(x)." if attribute in FUNCTIONS else _LISTED
            self.refuse("only a listed function can be called", node.func, hint)
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            self.refuse(
                f"{name} is not one of the listed functions",
                node.func,
                nearest(name, list(FUNCTIONS)),
            )
        takes, given = function.tensors, node.args
        if len(given) < takes:
            self.refuse(f"{name} takes {takes} argument(s), not {len(given)}", node)
        values = [self.read(one, depth + 1) for one in given[:takes]]
        tensors = [v if isinstance(v, Tensor) else torch.tensor(float(v)) for v in values]
        if function.shape:
            numbers = [self._whole(one) for one in given[takes:]]
            if node.keywords:
                self.refuse(f"{name} takes no options by name", node)
            return self._compute(node, lambda *t: function.call(*t, *numbers), tensors)
        options = self._options(node, name, function)
        return self._compute(node, lambda *t: function.call(*t, **options), tensors, function.grown)

    def _options(self, node: ast.Call, name: str, function: Function) -> dict[str, int]:
        extra = node.args[function.tensors :]
        if len(extra) > len(function.options):
            takes = function.tensors + len(function.options)
            self.refuse(f"{name} takes {takes} argument(s) at most", extra[-1])
        options = {key: self._whole(one) for key, one in zip(function.options, extra, strict=False)}
        for pair in node.keywords:
            if pair.arg in options:
                self.refuse(f"{name} gets {pair.arg} twice", pair.value)
            if pair.arg not in function.options:
                known = ", ".join(function.options) or "none"
                self.refuse(f"{name} takes no option {pair.arg}", pair.value, f"It has {known}.")
            options[pair.arg] = self._whole(pair.value)
        if function.call in _NEED_DIM:
            options.setdefault("dim", -1)
        return options

    def _whole(self, node: ast.expr) -> int:
        value = self.read(node, MAX_DEPTH - 4)  # a number and its sign, no more
        if isinstance(value, Tensor) or not isinstance(value, int):
            self.refuse("a whole number is required here", node)
        return value

    def _compute(
        self,
        node: ast.expr,
        call: Callable[..., Any],
        values: Sequence[Value],
        grown: Callable[..., int] | None = None,
    ) -> Value:
        """Run one operation; if its result may outgrow its operands, check the size before."""
        try:
            if not any(isinstance(value, Tensor) for value in values):
                return _numbers(call, [v for v in values if not isinstance(v, Tensor)])
            if entries := _foreseen(grown, values):
                self._count(entries, node)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about broadcasting, with our own lines
                result: Tensor = call(*values)
            if not entries:
                self._count(result.numel(), node)
        except ZeroDivisionError:  # Python's own words differ between its versions
            self.refuse("this cannot be computed (division by zero)", node)
        except OverflowError:
            self.refuse("this cannot be computed (the number is too large)", node)
        except (RuntimeError, TypeError, IndexError, ValueError, ArithmeticError) as error:
            self.refuse(f"this cannot be computed ({first_line(error)})", node)
        return result

    def _count(self, entries: int, node: ast.expr) -> None:
        self.entries += entries
        if entries > MAX_ENTRIES:
            self.refuse(f"this would create {entries:,} entries", node)
        if self.entries > MAX_TOTAL:
            self.refuse(f"the expression would create more than {MAX_TOTAL:,} entries", node)


def _foreseen(grown: Callable[..., int] | None, values: Sequence[Value]) -> int:
    """The entries that an operation will make; 0 if it makes no more than its operands have.

    Found by shapes alone: operations on the meta device import torch's compiler (2 s). Operands
    that do not fit together count 0 too: the operation itself refuses them, in torch's words.
    """
    try:
        return grown(*values) if grown else 0
    except (RuntimeError, AttributeError, IndexError):
        return 0


_NEED_DIM = {torch.softmax, torch.log_softmax, torch.cumsum, torch.logsumexp}


def _numbers(call: Callable[..., Any], values: Sequence[Number]) -> Number:
    """Arithmetic of plain numbers, in floats: a tower of powers overflows instead of growing."""
    result = call(*(float(value) for value in values))
    if isinstance(result, complex):
        raise ArithmeticError("the result is a complex number")
    whole = all(isinstance(value, int) for value in values)
    if whole and result == int(result) and abs(result) <= MAX_WHOLE:
        return int(result)
    number: float = result
    return number
