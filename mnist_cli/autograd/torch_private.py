"""Every private attribute of torch that autograd inspection reads, each in its own function.

torch may change or drop them with any release. Where one is missing, a function answers without
it if it can, and otherwise raises a DependencyError that names it and what it was for. Knows
single nodes and tensors, not graphs, names or modules.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.checkpoint import GraphExecGroup

from mnist_cli.autograd.error_tree import DependencyError

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

TESTED = "2.10, 2.11 or 2.14"

_MISSING = object()


def _required(owner: object, path: str, purpose: str) -> Any:
    """The attribute that ``path`` names, with dots; raises an error that names it if it is missing."""
    found = owner
    for name in path.split("."):
        found = getattr(found, name, _MISSING)
        if found is _MISSING:
            raise changed(f"has no {path}", purpose)
    return found


def changed(what: str, purpose: str) -> DependencyError:
    """The error if this torch has changed what this module relies on."""
    return DependencyError(
        f"torch {torch.__version__} {what}: it is needed for {purpose}",
        f"Install a tested version of torch: {TESTED}.",
    )


def is_function(node: Node) -> bool:
    """Whether it is the node of a :class:`torch.autograd.Function` written in Python."""
    return is_function_class(type(node))


def is_function_class(kind: type[Node]) -> bool:
    """Whether a class of nodes belongs to a Function.

    If torch does not have the base class of such nodes, the Function that they keep decides.
    """
    base = getattr(torch.autograd.function, "BackwardCFunction", None)
    return issubclass(kind, base) if base is not None else hasattr(kind, "_forward_cls")


def function_of(node: Node) -> type[torch.autograd.Function]:
    """The class that made a Function's node."""
    kept: type[torch.autograd.Function] = _required(
        node, "_forward_cls", "a custom Function's node"
    )
    return kept


def sequence_number(node: Node) -> int:
    """The thread's counter when the node was made; 2**64 - 1 for AccumulateGrad."""
    return int(_required(node, "_sequence_nr", "the order of the nodes")())


def next_sequence_number() -> int:
    """The number of the next node that this thread makes."""
    return int(_required(torch, "_C._autograd._get_sequence_nr", "finding a node's module")())


def backward_id() -> int:
    """The number of the engine's current run in this thread; -1 outside of any."""
    return int(backward_counter()())


def backward_counter() -> Callable[[], int]:
    """The function behind :func:`backward_id`, for many calls."""
    purpose = "telling two backward passes apart"
    return cast("Callable[[], int]", _required(torch, "_C._current_graph_task_id", purpose))


def at_end_of_backward(call: Callable[[], None]) -> None:
    """Make the engine call ``call`` when its current run in this thread has ended.

    An error that it raises comes out of ``backward``.
    """
    path = "autograd.Variable._execution_engine.queue_callback"
    _required(torch, path, "seeing the end of a backward pass")(call)


def average_again(model: nn.parallel.DistributedDataParallel, root: Tensor) -> None:
    """Make a model average its gradients over processes in the next backward pass too.

    By itself, it averages once after each forward pass, and not under ``no_sync``.

    Args:
        model: the model, after a backward pass.
        root: a tensor of any shape that depends on the used parameters.
    """
    if not model.require_forward_param_sync:
        return
    purpose = "averaging gradients again"
    rebuild = _required(model, "reducer._rebuild_buckets", purpose)
    prepare = _required(model, "reducer.prepare_for_backward", purpose)
    searched = model.find_unused_parameters and not model.static_graph
    with contextlib.suppress(RuntimeError):  # unused parameters stop the next pass too
        rebuild()
        prepare([root] if searched else [])


def times_changed(tensor: Tensor) -> int:
    """How often a tensor of any shape was changed in place; 0 if this torch does not say."""
    return int(getattr(tensor, "_version", 0))


def is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor of any shape stands for others inside ``vmap``, ``grad`` and the like of torch.func."""
    asked = getattr(torch._C, "_functorch", None)
    return bool(asked and asked.is_functorch_wrapped_tensor(tensor))


def compiled_inside(module: nn.Module) -> bool:
    """Whether ``torch.compile`` made the module: it holds another, which it runs compiled."""
    return any(name == "_orig_mod" for name, _ in module.named_children())


def compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called: its hooks are part of the compiled program."""
    return getattr(module, "_compiled_call_impl", None) is not None


class _WithoutCompiler:
    """A dispatch mode that does not import torch's compiler, which takes as long as torch itself.

    At the first operation, torch imports the compiler to keep a mode out of compiled code. A program
    that has not imported it runs no compiled code.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return "torch._dynamo" in sys.modules


def dispatch_mode_of(counter: FlopCounterMode) -> Any:
    """The dispatch mode of torch's counter of operations, without the import of the compiler."""
    from torch.utils import flop_counter

    theirs = _required(flop_counter, "_FlopCounterMode", "counting multiply-adds")

    class Counting(_WithoutCompiler, theirs):  # type: ignore[misc, valid-type]
        __torch_dispatch__ = inspect.unwrap(theirs.__torch_dispatch__)

    return Counting(counter)


@contextmanager
def each_operation(look: Callable[[str, object, object], None]) -> Iterator[None]:
    """Call ``look`` with the name, inputs and outputs of each operation that runs in the block."""
    module = _required(torch, "utils._python_dispatch", "finding the first NaN")

    class Looking(_WithoutCompiler, module.TorchDispatchMode):  # type: ignore[misc, name-defined]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            look(str(function).removesuffix(".default"), (args, kwargs), result)
            return result

    with Looking():
        yield


def without_modes() -> AbstractContextManager[Any]:
    """Hide what the block computes from dispatch modes: a selective checkpoint counts operations."""
    from torch.utils import _python_dispatch

    pause = getattr(_python_dispatch, "_disable_current_modes", nullcontext)
    return cast("AbstractContextManager[Any]", pause())


def input_metadata(node: Node) -> Sequence[Any]:
    """What the node expects of each incoming gradient: objects with shape, dtype and device."""
    metadata: Sequence[Any] = _required(node, "_input_metadata", "the shape of a gradient")
    return metadata


def wrapped_node(node: Node) -> Node | None:
    """The node inside a CopySlices; None for any other, and before torch 2.14."""
    return getattr(node, "_wrapped_node", None)


@functools.cache
def slots(kind: type[Node]) -> tuple[tuple[str, bool], ...]:
    """Names of a built-in node's saved values, and whether each holds tensors.

    Empty where this torch shows none.
    """
    names = dir(kind)
    raw = {n.removeprefix("_raw_saved_") for n in names if n.startswith("_raw_saved_")}
    saved = [n.removeprefix("_saved_") for n in names if n.startswith("_saved_")]
    return tuple((slot, slot in raw) for slot in saved)


def saved(node: Node, slot: str) -> Any:
    """A slot of :func:`slots`: a tensor is unpacked and checked.

    Raises:
        RuntimeError: torch's, if the graph was freed or a tensor was overwritten.
    """
    return getattr(node, f"_saved_{slot}")


def raw_saved(node: Node, slot: str) -> Any:
    """A slot that holds tensors, as they are packed."""
    return getattr(node, f"_raw_saved_{slot}")


def raw_saved_of_function(node: Node) -> Sequence[Any] | None:
    """A Function's saved tensors, as they are packed; None if this torch does not show them.

    Raises:
        RuntimeError: torch's, if the graph was freed.
    """
    # hasattr(node, …) would be False for a property that raises, so ask the class.
    if not hasattr(type(node), "_raw_saved_tensors"):
        return None
    return node._raw_saved_tensors or ()  # type: ignore[attr-defined]


def unpack_hooks(node: Node) -> Iterator[Callable[..., Any]]:
    """The functions that unpack a node's saved tensors: a checkpoint's recompute its segment."""
    if is_function(node):
        try:
            packed = list(raw_saved_of_function(node) or ())
        except RuntimeError:  # freed
            return
    else:
        inner = wrapped_node(node)
        both = [node] if inner is None else [node, inner]
        packed = [
            raw_saved(one, slot) for one in both for slot, tensors in slots(type(one)) if tensors
        ]
    for one in packed:
        for each in one if isinstance(one, (tuple, list)) else (one,):
            hook = getattr(each, "unpack_hook", None)
            if hook is not None:
                yield hook


def has_checkpoints(objects: Sequence[object]) -> bool:
    """Whether a checkpoint that recomputes its segment is among the objects."""
    kind = getattr(checkpointing, "_CheckpointFrame", None)
    return any(type(one) is kind for one in objects)


def is_context_of_generator(one: object) -> bool:
    """Whether ``contextlib.contextmanager`` made a context, which can be entered once."""
    return isinstance(one, contextlib._GeneratorContextManager)


@contextmanager
def apply_replaced(node: Node, replacement: Callable[..., Any]) -> Iterator[None]:
    """Make the engine call ``replacement`` in place of a Function's backward while the block runs."""
    node.apply = node.apply_boxed = replacement  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del node.apply, node.apply_boxed  # type: ignore[attr-defined]


def is_unwritten(tensor: Tensor) -> bool:
    """Whether a tensor of any shape is all zeros that have no memory, as some gradients are."""
    return bool(getattr(tensor, "_is_zerotensor", lambda: False)())


@contextmanager
def one_pass(group: GraphExecGroup) -> Iterator[None]:
    """Make each checkpoint recompute once in all blocks of a group, as in one run of the engine.

    Without it, every saved tensor that is read outside of the engine recomputes its segment, and
    all that the segment computes is held. A group that the caller entered stays.
    """
    current = getattr(torch._C, "_get_graph_exec_group", lambda: None)
    with group if current() is None else nullcontext():
        yield


def kinds_of_caches() -> list[type]:
    """The classes of checkpoints' caches, as far as this torch has them."""
    names = ("_CachedTorchDispatchMode", "_CheckpointFrame")
    kinds = (getattr(checkpointing, name, None) for name in names)
    return [kind for kind in kinds if kind is not None]


def hooks_before_accumulation(leaf: Tensor) -> list[Callable[[Tensor], Tensor | None]]:
    """A leaf's own hooks (``register_hook``), in the order in which they act on its gradient.

    Without those of ``register_multi_grad_hook``: they change nothing, and refuse to run outside of
    ``backward``.
    """
    hooks = _required(leaf, "_backward_hooks", "replaying the hooks of a parameter")
    theirs = vars(torch.autograd.graph)
    every = (hooks or {}).values()
    return [one for one in every if getattr(one, "__globals__", None) is not theirs]


def hooks_of(tensor: Tensor) -> dict[int, Any]:
    """The hooks of a tensor of any shape (``register_hook``): torch's own dictionary, if any."""
    return getattr(tensor, "_backward_hooks", None) or {}


@contextmanager
def same_hooks(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Put the hooks of tensors of any shape back as they were."""
    held = [(hooks, dict(hooks)) for hooks in map(hooks_of, tensors)]
    try:
        yield
    finally:
        for hooks, before in held:
            hooks.clear()
            hooks.update(before)


@contextmanager
def without_hooks_after_accumulation(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Remove the hooks that act after accumulation while the block runs, as an optimiser's do."""
    purpose = "keeping optimisers from stepping during an inspection"
    found = [_required(leaf, "_post_accumulate_grad_hooks", purpose) for leaf in leaves]
    held = [(hooks, dict(hooks)) for hooks in found if hooks is not None]
    try:
        for hooks, _ in held:
            hooks.clear()
        yield
    finally:
        for hooks, entries in held:
            hooks.update(entries)
