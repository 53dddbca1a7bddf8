"""PyTorch's own databases as graphs: operators, modules, custom Functions and operators.

Every sample is walked, recorded and replayed, and held against ``torch.autograd``.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from zoo.judged import outcome
from zoo.registry import tensors

DTYPES = (torch.float64, torch.float32, torch.complex128, torch.bfloat16)
LAYOUTS = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
SECONDS = 30
"""Processor time for the samples of one operator; what is left is counted as cut."""

Sample = tuple[str, Callable[[], tuple[Tensor, Any]]]
"""A label, and what builds a root and its leaves by name."""


def _database(module: str, name: str) -> tuple[Any, ...]:
    """A list of torch's own tests; importing it takes some ten seconds."""
    return tuple(getattr(import_module(f"torch.testing._internal.{module}"), name))


def operators(dtype: torch.dtype, module: str = "common_methods_invocations") -> list[Any]:
    """The operators that have a gradient in ``dtype`` on the CPU."""
    return [
        one
        for one in _database(module, "op_db")
        if one.supports_autograd and dtype in one.supported_backward_dtypes("cpu")
    ]


def _samples(operator: Any, dtype: torch.dtype, order: int = 1) -> Iterator[Sample]:
    drawn = operator.sample_inputs("cpu", dtype, requires_grad=True)
    yield from _called(operator, drawn, order)


def _called(operator: Any, drawn: Any, order: int = 1) -> Iterator[Sample]:
    for number, sample in enumerate(drawn):
        name = f"{operator.name} {operator.variant_test_name}, sample {number}"
        yield name, partial(_of_sample, operator, sample, order)


def _of_sample(operator: Any, sample: Any, order: int) -> tuple[Tensor, Any]:
    leaves = _leaves([sample.input, sample.args, sample.kwargs])
    root = _root(operator(sample.input, *sample.args, **sample.kwargs))
    for _ in range(order - 1 if root.requires_grad else 0):
        found = torch.autograd.grad(
            root, list(leaves.values()), create_graph=True, allow_unused=True
        )
        root = _root([one for one in found if one is not None])
    return root, leaves


def _sparse(operator: Any, layout: str) -> Iterator[Sample]:
    kind = getattr(torch, layout)
    drawn = operator.sample_inputs_sparse(kind, "cpu", torch.float64, requires_grad=True)
    yield from _called(operator, drawn)


def _jagged(operator: Any) -> Iterator[Sample]:
    yield from _called(operator, operator.sample_inputs("cpu", torch.float64, requires_grad=True))


def _modules(info: Any, training: bool) -> Iterator[Sample]:
    kind = info.module_cls
    drawn = info.module_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
    )
    for number, sample in enumerate(drawn):
        name = f"{kind.__name__}, {'train' if training else 'eval'}, sample {number}"
        yield name, partial(_of_module, kind, sample, training)


def _of_module(kind: type[nn.Module], sample: Any, training: bool) -> tuple[Tensor, Any]:
    given, called = sample.constructor_input, sample.forward_input
    model = kind(*given.args, **given.kwargs).train(training)
    leaves = dict(model.named_parameters())
    result = model(*called.args, **called.kwargs)
    return _root(result), {**leaves, **_leaves([called.args, called.kwargs])}


def _root(result: Any) -> Tensor:
    """One real number that depends on every differentiable part of a result."""
    parts = [one for one in tensors(result) if one.requires_grad and one.numel()]
    plain = [one.values() if one.is_nested else one.to_dense() for one in parts]
    sums = [one.abs().double().sum() for one in plain]
    return torch.stack(sums).sum() if sums else torch.zeros(())


def _leaves(values: Any) -> dict[str, Tensor]:
    found = {id(one): one for one in tensors(values) if one.requires_grad and one.is_leaf}
    return {str(number): leaf for number, leaf in enumerate(found.values())}


def _layout_is_known(operator: Any, layout: str) -> bool:
    supported = getattr(operator, f"supports_{layout.replace('_coo', '')}", False)
    return bool(supported and operator.supports_autograd)


def sources() -> Iterator[tuple[str, list[Callable[[], Iterator[Sample]]]]]:
    """Each kind of graph, and what draws the samples of each operator or module of it."""
    for dtype in DTYPES:
        kind = f"operators, {str(dtype).removeprefix('torch.')}"
        yield kind, [partial(_samples, one, dtype) for one in operators(dtype)]
    twice = [one for one in operators(torch.float64) if one.supports_gradgrad]
    yield "second order, float64", [partial(_samples, one, torch.float64, 2) for one in twice]
    every = operators(torch.float64)
    yield (
        "sparse operators, float64",
        [
            partial(_sparse, one, layout)
            for layout in LAYOUTS
            for one in every
            if _layout_is_known(one, layout)
        ],
    )
    for name in ("autograd_function_db", "custom_op_db", "hop_db"):
        kind = {"au": "custom Functions", "cu": "custom operators", "ho": "higher-order operators"}
        known = [one for one in _database(name, name) if one.supports_autograd]
        yield kind[name[:2]], [partial(_samples, one, torch.float32) for one in known]
    jagged = _database("opinfo.definitions.nested", "njt_op_db")
    yield (
        "operators on jagged tensors, float64",
        [
            partial(_jagged, one)
            for one in jagged
            if one.supports_njt
            and one.supports_autograd
            and torch.float64 in one.dtypes
            and one.name != "split_with_sizes"  # torch's own backward ends the process
        ],
    )
    modules = _database("common_modules", "module_db")
    both = [partial(_modules, one, mode) for one in modules for mode in (True, False)]
    yield "modules, float32", both


def outcomes(draw: Callable[[], Iterator[Sample]], most: int) -> Iterator[tuple[str, str]]:
    """Labels and outcomes of an operator's samples: ``most``, within :data:`SECONDS`."""
    torch.manual_seed(0)
    start = time.process_time()
    for label, build in islice(_drawn(draw()), most):
        if time.process_time() - start > SECONDS:
            yield label, "cut: "
        else:
            yield label, build if isinstance(build, str) else _outcome(build)


def _drawn(samples: Iterator[Sample]) -> Iterator[tuple[str, Any]]:
    """The samples, until torch cannot make one."""
    while True:
        try:
            yield next(samples)
        except StopIteration:
            return
        except (unittest.SkipTest, NotImplementedError, RuntimeError) as error:
            yield "samples", f"no sample: {type(error).__name__}: {error}"
            return


def _outcome(build: Callable[[], tuple[Tensor, Any]]) -> str:
    try:
        root, leaves = build()
    except Exception as error:  # torch's own: some samples cannot be built, or have no gradient
        return f"refused: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    try:
        return outcome(root, leaves)
    except Exception as error:
        return f"fails: {type(error).__name__}: {error}"


def main(step: int, most: int, only: str = "") -> None:
    """Print a line of JSON for each graph of every ``step``-th operator."""
    warnings.simplefilter("ignore")
    for offset, (kind, draws) in enumerate(sources()):
        if only not in kind:
            continue
        # An inspection searches Python's objects, of which torch's databases are a million.
        gc.collect()
        gc.freeze()
        for draw in draws[offset * 7 % step % max(len(draws), 1) :: step]:
            for label, verdict in outcomes(draw, most):
                print(json.dumps([kind, label, verdict]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
