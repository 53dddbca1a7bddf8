"""PyTorch's operator database as graphs: walked, recorded, replayed, and held against torch."""

from __future__ import annotations

import functools
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mnist_cli.autograd import judge, record, replay, walk
from mnist_cli.autograd.bits import same_bits

DTYPES = (torch.float64, torch.float32, torch.complex128, torch.bfloat16)


@dataclass(frozen=True)
class Outcome:
    """What became of one graph: ``exact``, ``refused`` by torch itself, or a fault in words."""

    label: str
    verdict: str


@functools.cache
def database() -> tuple[Any, ...]:
    """Every operator of torch's own tests; importing it takes some ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return tuple(op_db)


def operators(dtype: torch.dtype) -> list[Any]:
    """The operators that have a gradient in ``dtype`` on the CPU."""
    return [
        one
        for one in database()
        if one.supports_autograd and dtype in one.supported_backward_dtypes("cpu")
    ]


def outcomes(operator: Any, dtype: torch.dtype, most: int | None = None) -> Iterator[Outcome]:
    """What becomes of the graphs of an operator's samples, ``most`` of them."""
    torch.manual_seed(0)
    samples = operator.sample_inputs("cpu", dtype, requires_grad=True)
    for number, sample in enumerate(islice(samples, most)):
        label = f"{operator.name} {operator.variant_test_name} {dtype}, sample {number}"
        yield Outcome(label, _outcome(operator, sample))


def _outcome(operator: Any, sample: Any) -> str:
    state = torch.get_rng_state()
    try:
        root = _root(operator(sample.input, *sample.args, **sample.kwargs))
        leaves = _leaves([sample.input, sample.args, sample.kwargs])
        if root is None or not leaves:
            return "no gradient"
        names = {str(number): leaf for number, leaf in enumerate(leaves)}
        torch.set_rng_state(state)
        grads = torch.autograd.grad(root, leaves, retain_graph=True, allow_unused=True)
    except Exception as error:  # torch's own: some samples have no gradient
        return f"refused: {type(error).__name__}"
    torch.set_rng_state(state)
    walked = walk(root, names)
    recorded = record(walked, keep=True)
    verdict = judge(replay(walked), recorded)
    if not verdict.exact or not all(one.equal for one in verdict.nodes):
        return f"not exact: {verdict.notes}"
    for name, grad in zip(names, grads, strict=True):
        ours = recorded.gradients.get(name)
        if (ours is None) != (grad is None) or (grad is not None and not same_bits(ours, grad)):
            return f"another gradient than torch's for leaf {name}"
    return "exact"


def _root(result: Any) -> Tensor | None:
    """One real number that depends on every differentiable part of a result."""
    parts = [one for one in _tensors(result) if one.requires_grad and one.numel()]
    sums = [one.to_dense().abs().double().sum() for one in parts]
    return torch.stack(sums).sum() if sums else None


def _leaves(values: Any) -> list[Tensor]:
    found = {id(one): one for one in _tensors(values) if one.requires_grad and one.is_leaf}
    return list(found.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def main(step: int, most: int) -> None:
    """Print a line of JSON for each graph of every ``step``-th operator: its label and verdict."""
    warnings.simplefilter("ignore")
    for offset, dtype in enumerate(DTYPES):
        every = operators(dtype)
        for operator in every[offset * 7 % step :: step]:
            for one in outcomes(operator, dtype, most):
                sys.stdout.write(json.dumps([one.label, one.verdict]) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
