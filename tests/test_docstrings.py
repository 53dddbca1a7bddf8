"""Docstrings of public functions: shapes of tensors, Raises, and Args of long signatures."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mnist_cli"
SHAPE = re.compile(
    r"\(\)|\([A-Z](, |,?\))|\([^()]*[a-z\d×]+, [^()]*\)|\bshape|\bscalar\b|\(N\b|64\b"
)
TENSORS = re.compile(r"\b(Tensor|NDArray|Grey|Mask|Pixels)\b")
LONG = 5
"""Number of parameters from which a signature needs Args."""

ALLOWED = {
    "shapes": {
        *("Group.weigh", "NetworkViews.probabilities", "RankBatchNorm.forward"),
        *("Stepper.gradients", "Stepper.measured", "colour_row", "count_classes"),
        *("hooks_before_accumulation", "own_buffers", "parse_binding", "parse_value"),
        *("random_state", "root_tensor", "set_aside", "set_random_state", "variable", "walk"),
        *("with_room_for_backward", "without_hooks_after_accumulation"),
    },
    "Raises": {
        *("explained", "line", "read_run", "save_result", "show"),
    },
    "Args": {
        *("against", "dump", "explained", "formula", "node"),
    },
}
"""Functions that still have a gap. Remove what has been mended; add nothing."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """The public functions of a module and the public methods of its public classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node, f"{prefix}{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield prefix + node.name, node


def parameters(function: Function) -> list[ast.arg]:
    every = function.args
    listed = [*every.posonlyargs, *every.args, *every.kwonlyargs]
    return [one for one in listed if one.arg not in ("self", "cls")]


def takes_tensors(function: Function) -> bool:
    annotations = [one.annotation for one in parameters(function)] + [function.returns]
    return any(TENSORS.search(ast.unparse(one)) for one in annotations if one is not None)


def raises(function: Function) -> bool:
    """Whether its own body raises an error that it makes, and does not catch."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return False


def is_command(function: Function) -> bool:
    """Whether its parameters are options of the command line; its docstring is the help."""
    return any(
        "typer" in ast.unparse(one.annotation or one) for one in parameters(function)
    ) or any("options." in ast.unparse(one) for one in function.args.defaults)


def missing(function: Function) -> set[str]:
    """What its docstring does not have."""
    text = ast.get_docstring(function) or ""
    found = {
        "shapes": takes_tensors(function) and not SHAPE.search(text),
        "Raises": raises(function) and "Raises:" not in text,
        "Args": len(parameters(function)) >= LONG and "Args:" not in text,
    }
    return {kind for kind, gap in found.items() if gap and not is_command(function)}


@functools.cache
def audit() -> dict[str, set[str]]:
    """The names of the public functions of the package, with their gaps."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, function in public(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(name, set()).update(missing(function))
    return found


def gaps(kind: str) -> set[str]:
    return {name for name, kinds in audit().items() if kind in kinds}


@pytest.mark.parametrize("kind", ALLOWED)
def test_no_gap_is_new_and_none_is_listed_in_vain(kind: str) -> None:
    assert gaps(kind) - ALLOWED[kind] == set(), "describe these in their docstrings"
    assert ALLOWED[kind] - gaps(kind) == set(), "remove these from the list"


def test_the_audit_finds_gaps() -> None:
    source = "def f(a: Tensor, b, c, d, e):\n    'Text.'\n    raise ValueError(a)"
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert missing(function) == {"shapes", "Raises", "Args"}
