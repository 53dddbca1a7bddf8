"""The memory that a graph keeps, against saved-tensor hooks; and what backward can't use any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from mnist_cli.autograd import (
    record,
    replay,
    saved_memory,
    trace_modules,
    unusable_tensors,
    walk,
)
from mnist_cli.autograd.error_tree import UsageError


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * ctx.saved_tensors[0] * grad


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = torch.relu(self.norm(self.conv(x)))
        return self.head(Square.apply(h).mean((2, 3)))  # type: ignore[no-any-return]


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def test_the_blocks_are_those_that_torch_saves() -> None:
    packed: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        packed[storage.data_ptr()] = storage.nbytes()
        return tensor

    model, images = Net(), torch.randn(5, 1, 6, 6)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        hooked = model(images).sum()  # holds the memory, so that no address is used again
    with trace_modules(model) as modules:
        loss = model(images).sum()
    rows = saved_memory(walk(loss, model, modules))
    assert sorted(row.bytes for row in rows) == sorted(packed.values())
    assert [row.bytes for row in rows] == sorted(packed.values(), reverse=True)
    owned = {row.owner for row in rows if row.owner}
    assert owned == {
        name
        for name, one in (*model.named_parameters(), *model.named_buffers())
        if one.untyped_storage().data_ptr() in packed
    }
    assert {row.module for row in rows} == {"", "conv", "norm", "head"}
    del hooked


def test_a_block_counts_once_and_names_its_first_node() -> None:
    x = leaf(4)
    y = x.sigmoid()
    z = (y * y).sum()
    walked = walk(z, {"x": x})
    (row,) = saved_memory(walked)
    names = [walked.graph.nodes[number].name for number in row.nodes]
    assert (names, row.slot, row.bytes) == (["SigmoidBackward0", "MulBackward0"], "result", 16)


def test_a_checkpoint_keeps_its_inputs_only() -> None:
    x, block = leaf(8, 4), nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 4))

    def kept(h: Tensor) -> int:
        return sum(row.bytes for row in saved_memory(walk(h.sum(), block)) if not row.owner)

    plain = kept(block(x))
    assert plain >= 8 * 64 * 4
    assert kept(checkpoint(block, x, use_reentrant=False)) == 0


def overwritten_result() -> tuple[Tensor, Tensor]:
    x = leaf(3)
    y = x.exp()
    z = (y + 1).sum()
    y.mul_(2)
    return z, x


def overwritten_in_a_function() -> tuple[Tensor, Tensor]:
    x = leaf(3)
    y = x + 1
    z = Square.apply(y).sum()
    y.add_(1)
    return z, x


def overwritten_inside_copy_slices() -> tuple[Tensor, Tensor]:
    x, scale = leaf(4), torch.ones(2)
    y = x.clone()
    y[:2].mul_(scale)
    scale.add_(1)
    return y.sum(), x


@pytest.mark.parametrize(
    ("make", "node", "slot"),
    [
        (overwritten_result, "ExpBackward0", "result"),
        (overwritten_in_a_function, "SquareBackward", "saved_tensors"),
        (overwritten_inside_copy_slices, "CopySlices", "MulBackward0.other"),
    ],
)
def test_what_was_overwritten_in_place(
    make: Callable[[], tuple[Tensor, Tensor]], node: str, slot: str
) -> None:
    root, x = make()
    walked = walk(root, {"x": x})
    if node == "CopySlices" and not hasattr(walked.nodes[1], "_wrapped_node"):
        pytest.skip("this torch hides the node that CopySlices wraps")
    (found,) = unusable_tensors(walked)
    assert (found.kind, found.subject) == ("overwritten", node)
    assert f"{node}, saved as {slot}." in found.message
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        root.backward(retain_graph=True)
    with pytest.raises(UsageError, match=f"node {found.node}, {node} cannot run") as raised:
        record(walked)
    assert "+=" in raised.value.hint


def test_what_an_earlier_backward_freed() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with trace_modules(model) as modules:
        h = model(torch.randn(3, 4))
    h.pow(2).sum().backward()
    walked = walk(h.exp().sum(), model, modules, saved=False)
    found = unusable_tensors(walked)
    assert [(one.kind, one.subject) for one in found] == [("freed", p) for p in ("2", "1", "0")]
    with pytest.raises(UsageError, match="AddmmBackward0 in 2"):
        record(walked)
    with pytest.raises(UsageError, match="freed"):
        replay(walked)


def test_nothing_of_a_sound_graph_and_no_hook_runs() -> None:
    unpacked = []

    def unpack(tensor: Tensor) -> Tensor:
        unpacked.append(tensor)
        return tensor

    x = leaf(3)
    with saved_tensors_hooks(lambda tensor: tensor, unpack):
        y = Square.apply(x.exp())
    root = checkpoint(torch.sin, y, use_reentrant=False).sum()
    walked = walk(root, {"x": x})
    assert unusable_tensors(walked) == ()
    assert unpacked == []
    root.backward()
