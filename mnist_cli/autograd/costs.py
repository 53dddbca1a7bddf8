"""The one counter of multiply-adds: torch's own, with the operations that it omits.

Counts products of matrices, convolutions, attention and recurrent layers, by the shapes of their
operands; biases and other operations do not count. Knows operations, not modules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from mnist_cli.autograd import torch_private

Sizes = Sequence[int]


class _Everywhere:
    """Stands for torch's tracker of modules, which leaves hooks on the tensors that it sees."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class ProductCounter(FlopCounterMode):
    """Counts the multiply-adds of all operations while its block runs."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_formulas())
        self.mod_tracker = cast("ModuleTracker", _Everywhere())

    def __enter__(self) -> ProductCounter:
        self.flop_counts.clear()
        self.mode = torch_private.dispatch_mode_of(self)
        self.mode.__enter__()
        return self

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds; torch counts the multiplication and the addition separately."""
        return int(self.get_total_flops()) // 2


def _formulas() -> dict[Any, Any]:
    aten = torch.ops.aten
    return {
        aten.mv: lambda matrix, *_, **__: 2 * math.prod(matrix),
        aten.addmv: lambda _, matrix, *__, **___: 2 * math.prod(matrix),
        aten.dot: lambda row, *_, **__: 2 * math.prod(row),
        aten.vdot: lambda row, *_, **__: 2 * math.prod(row),
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._native_multi_head_attention: _whole_attention,
        aten.mkldnn_rnn_layer: _recurrent_layer,
        aten._cudnn_rnn: _recurrent,
        aten.miopen_rnn: _recurrent,
    }


def _attention(query: Sizes, key: Sizes, value: Sizes, *_: Any, **__: Any) -> int:
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _whole_attention(query: Sizes, key: Sizes, _: Sizes, width: int, *__: Any, **___: Any) -> int:
    rows, others = math.prod(query[:-1]), math.prod(key[:-1])
    projections = (2 * rows + 2 * others) * width * width
    return 2 * (projections + 2 * rows * key[-2] * width)


def _recurrent_layer(taken: Sizes, to_input: Sizes, to_hidden: Sizes, *_: Any, **__: Any) -> int:
    """One layer in one direction, of a sequence (T, N, features)."""
    return 2 * math.prod(taken[:-1]) * (math.prod(to_input) + math.prod(to_hidden))


def _recurrent(taken: Sizes, weights: Sequence[Sizes], *_: Any, **__: Any) -> int:
    """All layers in all directions; the biases are the weights in one dimension."""
    return 2 * math.prod(taken[:-1]) * sum(math.prod(one) for one in weights if len(one) > 1)
