"""Private attributes of torch that a future version may lack: what is said then, or done without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from autograd_zoo import Scale, leaf
from torch import Tensor

from mnist_cli.autograd import replay, torch_private, walk
from mnist_cli.autograd.saved import saved_by
from mnist_cli.errors import DependencyError

NODE: Any = SimpleNamespace()


@pytest.fixture
def scaled() -> tuple[Tensor, Tensor]:
    """Both results of a custom Function."""
    first, second = Scale.apply(leaf(3), 2, leaf(3))
    return first, second


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (torch_private.sequence_number, "_sequence_nr"),
        (torch_private.input_metadata, "_input_metadata"),
        (torch_private.function_of, "_forward_cls"),
        (torch_private.hooks_before_accumulation, "_backward_hooks"),
    ],
)
def test_the_error_names_what_is_missing(read: Callable[[Any], object], name: str) -> None:
    with pytest.raises(DependencyError, match=f"has no {name}: it is needed for") as failed:
        read(NODE)
    assert torch_private.TESTED in failed.value.hint


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (torch_private.next_sequence_number, "_C._autograd._get_sequence_nr"),
        (torch_private.backward_id, "_C._current_graph_task_id"),
    ],
)
def test_the_error_names_missing_functions(
    read: Callable[[], int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_private, "torch", SimpleNamespace(__version__="9.9", _C=NODE))
    with pytest.raises(DependencyError, match=f"torch 9.9 has no {name}"):
        read()


def test_the_block_does_not_start_if_hooks_cannot_be_removed() -> None:
    aside = torch_private.without_hooks_after_accumulation([NODE])
    with pytest.raises(DependencyError, match="_post_accumulate_grad_hooks"), aside:
        pytest.fail("it began")


def test_hooks_come_back_after_an_error() -> None:
    leaf, seen = torch.ones(2, requires_grad=True), list[Tensor]()
    leaf.register_post_accumulate_grad_hook(seen.append)
    with contextlib.suppress(KeyError), torch_private.without_hooks_after_accumulation([leaf]):
        leaf.sum().backward()
        raise KeyError
    assert not seen
    leaf.sum().backward()
    assert len(seen) == 1


def test_functions_are_known_without_their_base_class(
    scaled: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.autograd.function, "BackwardCFunction")
    assert torch_private.is_function(scaled[0].grad_fn)
    assert not torch_private.is_function(scaled[0].sum().grad_fn)


def test_saved_tensors_that_are_hidden_are_reported(
    scaled: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_private, "raw_saved_of_function", lambda _node: None)
    found = saved_by(scaled[0].grad_fn)
    assert not found.tensors
    assert found.unreadable == ["saved_tensors: hidden in this version of torch"]


def test_hidden_slots_are_empty() -> None:
    assert torch_private.slots(SimpleNamespace) == ()  # type: ignore[arg-type]
    assert torch_private.raw_saved_of_function(NODE) is None
    assert torch_private.wrapped_node(NODE) is None


def test_an_engine_that_ignores_the_replacement_is_an_error(
    scaled: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two results, of which one gets no gradient: the engine is asked what stands for it."""
    walked = walk(scaled[0].sum())
    replay(walked)
    monkeypatch.setattr(torch_private, "apply_replaced", lambda *_: contextlib.nullcontext())
    with pytest.raises(DependencyError, match="calls no replaced apply"):
        replay(walked)
