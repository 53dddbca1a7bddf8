"""Where the package uses private names of torch or other libraries: a list that can only shrink."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import mnist_cli

SOURCE = Path(mnist_cli.__file__).parent

TORCH: Mapping[str, set[str]] = {
    "autograd/torch_private.py": {
        *("_C", "_autograd", "_get_sequence_nr", "_current_graph_task_id"),
        *("_forward_cls", "_sequence_nr", "_input_metadata", "_wrapped_node"),
        *("_saved_", "_raw_saved_", "_raw_saved_tensors"),
        *("_backward_hooks", "_post_accumulate_grad_hooks"),
        *("BackwardCFunction", "apply_boxed"),
        *("_execution_engine", "_version"),
        *("_functorch", "_compiled_call_impl", "_orig_mod"),
        *("_python_dispatch", "_disable_current_modes"),
        *("_dynamo", "_FlopCounterMode"),
        *("_get_graph_exec_group", "_CachedTorchDispatchMode", "_is_zerotensor"),
        *("_CheckpointFrame", "_rebuild_buckets"),
    },
    "autograd/costs.py": {
        *("_scaled_dot_product_flash_attention_for_cpu", "_native_multi_head_attention"),
        *("_cudnn_rnn",),
    },
    "gpu/probe.py": {"_C", "_cuda_getArchFlags"},
    "proving/recorded_steps.py": {
        *("_python_dispatch", "_pytree", "_schema", "_local_scalar_dense"),
    },
    "training/distributed/norm.py": {"_BatchNorm", "_parameters", "_buffers", "_check_input_dim"},
}
"""Of torch, by module. Remove what is no longer used; add nothing."""

NAMES_IN_FILES = {"checkpoints/pickle_names.py", "checkpoints/pickled_arrays.py"}
"""Tables of names that pickles hold; nothing is looked up by them."""

NOT_OF_TORCH = {
    "_GeneratorContextManager",
    *("_exit", "_winapi", "_replace", "_on_queue_feeder_error"),
    *("_MNIST_COMPLETE", "_TYPER_COMPLETE_ARGS", "_ALLOC_FAILED"),
}
"""Python's own (`_replace` is public in named tuples; a queue names its errors nowhere else), the variables by which shells complete, and the end of CUDA's error codes."""

UNDOCUMENTED = {"BackwardCFunction", "apply_boxed"}
"""Names without an underscore that torch documents nowhere."""


def is_private(name: str) -> bool:
    return bool(re.match(r"_[A-Za-z]", name)) or name in UNDOCUMENTED


def defined_in(tree: ast.AST) -> set[str]:
    """Names that a module gives to its own things."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def docstrings(tree: ast.AST) -> set[int]:
    """Strings that stand alone, by identity."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def mentioned(tree: ast.AST) -> Iterator[str]:
    """Attributes, imported names and words of strings, as ``getattr`` takes them."""
    alone = docstrings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                yield name
            case ast.ImportFrom(module=module, names=names):
                if not (module or "").startswith("mnist_cli"):
                    yield from (module or "").split(".")
                    yield from (one.name for one in names)
            case ast.Import(names=names):
                yield from (part for one in names for part in one.name.split("."))
            case ast.Constant(value=str(text)) if id(node) not in alone:
                if re.fullmatch(r"[\w.]+ ?", text):
                    yield from text.strip().split(".")


def foreign(text: str) -> set[str]:
    """Private names in a module that it does not define itself."""
    tree = ast.parse(text)
    own = defined_in(tree)
    names = {name for name in mentioned(tree) if is_private(name) and name not in own}
    return names - NOT_OF_TORCH


def test_private_names_are_used_only_where_the_list_says() -> None:
    modules = {
        path.relative_to(SOURCE).as_posix(): foreign(path.read_text(encoding="utf-8"))
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).as_posix() not in NAMES_IN_FILES
    }
    assert {module: names for module, names in modules.items() if names} == TORCH


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("leaf._backward_hooks", "_backward_hooks"),
        ("import torch._C", "_C"),
        ("from torch._utils import _rebuild_tensor", "_rebuild_tensor"),
        ("from torch.utils import _pytree", "_pytree"),
        ("getattr(node, '_saved_self')", "_saved_self"),
        ("getattr(node, f'_saved_{slot}')", "_saved_"),
        ("required(torch, '_C._autograd', 'order')", "_autograd"),
    ],
)
def test_every_use_of_a_private_name_is_found(line: str, name: str) -> None:
    assert name in foreign(line)


def test_a_modules_own_private_names_are_allowed() -> None:
    text = """
class Thing:
    def __init__(self): self._state = 1
    def _step(self): return self._state, self._step, self.__dict__
"""
    assert not foreign(text)
