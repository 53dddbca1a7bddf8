"""Hashes that change with every bit, and with nothing else."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import DATA, config, loader_of, state_of

from mnist_cli.checkpoints.digest import digest, digests
from mnist_cli.training import snapshot

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
keys = st.text() | st.integers()
documents = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
)


@given(documents, documents)
def test_equal_documents_and_no_others_have_equal_hashes(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) is (_written_out(one) == _written_out(other))
    assert digest(one) == digest(copy.deepcopy(one))


def _written_out(value: Any) -> str:
    """All of a document as text, its keys in order."""
    if isinstance(value, dict):
        return "dict " + str(
            sorted((repr(key), _written_out(inner)) for key, inner in value.items())
        )
    if isinstance(value, list):
        return repr([_written_out(inner) for inner in value])
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.int64])
def test_tensors_count_by_type_shape_and_bits(dtype: torch.dtype) -> None:
    tensor = torch.arange(24).to(dtype).reshape(1, 2, 3, 4)
    same = [tensor.clone(), tensor.contiguous(memory_format=torch.channels_last)]
    other = [tensor.reshape(2, 1, 3, 4), tensor + 1, tensor.to(torch.float64)]
    assert {digest(t) for t in same} == {digest(tensor)}
    assert digest(tensor) not in {digest(t) for t in other}
    assert digest(torch.tensor(0.0)) != digest(torch.tensor(-0.0))


def test_floats_count_by_their_bits() -> None:
    assert digest(0.0) != digest(-0.0)
    assert digest(math.nan) == digest(float("nan"))
    assert digest(1) != digest(1.0) != digest(True)


def test_a_checkpoints_parts_change_alone_and_the_clock_changes_none() -> None:
    def document() -> dict[str, Any]:
        settings = config()
        loader, state = loader_of(settings), state_of(settings)
        loader.generator.manual_seed(7)
        return snapshot.capture(state, DATA, loader.generator)

    torch.manual_seed(3)
    whole = digests(document())
    spoils = {
        "weights": lambda d: d["model"]["weights"]["fc2.bias"].view(torch.int32)[0].bitwise_xor_(1),
        "optimiser": lambda d: d["optimizers"][0]["param_groups"][0].update(lr=0.06),
        "generators": lambda d: d["generators"]["augment"][9].add_(1),
        "metrics": lambda d: d["position"].update(step=1),
    }
    for part, spoil in spoils.items():
        spoilt = document()
        spoil(spoilt)
        changed = digests(spoilt)
        assert [name for name in whole if whole[name] != changed[name]] == [part]
    later = document()
    later["seconds"] = 9.0
    assert digests(later) == whole


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot hash a set"):
        digest({"a": {1}})
