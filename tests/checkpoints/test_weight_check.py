"""Weights that are not finite: those of a fresh network may stay, all others are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import odd_networks
import pytest
import torch
from torch import Tensor

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.weight_check import not_finite
from mnist_cli.errors import CheckpointError
from mnist_cli.networks import ensemble

ODD = Path(odd_networks.__file__).resolve()
NAN, INFINITE = float("nan"), float("inf")


def saved(folder: Path, weights: dict[str, Tensor]) -> Path:
    torch.save(weights, folder / "weights.pt")
    return folder / "weights.pt"


def test_a_mask_and_an_unset_table_are_read(tmp_path: Path) -> None:
    weights = odd_networks.Causal().state_dict()
    weights["mask"] = weights["mask"].T.contiguous()  # elsewhere than in a fresh one
    read = checkpoints.read(saved(tmp_path, weights), f"{ODD}:Causal")
    built = read.build_model().state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(built[name], tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("network", "name", "spoil"),
    [
        ("Causal", "fc.weight", lambda w: w.fill_(INFINITE)),
        ("Causal", "mask", lambda w: w.fill_(NAN)),
        ("Causal", "mask", lambda w: w.fill_(INFINITE)),
        ("Causal", "unset", lambda w: w.fill_(-INFINITE)),
        ("Waves", "filter", lambda w: torch.view_as_real(w)[0, 0, 1].fill_(NAN)),
    ],
)
def test_what_was_finite_is_refused(
    tmp_path: Path, network: str, name: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    weights = getattr(odd_networks, network)().state_dict()
    spoil(weights[name])
    with pytest.raises(CheckpointError, match=f"weight '{name}' holds NaN or infinity"):
        checkpoints.read(saved(tmp_path, weights), f"{ODD}:{network}")


def test_an_ensembles_weights_are_judged_by_a_members() -> None:
    expected = ensemble.expected_weights(f"{ODD}:Causal", 10, 2)
    weights = {name: torch.stack([one[0]] * 2) for name, one in expected.items()}
    assert not_finite(weights, expected) == ""
    weights["members.fc.bias"][1, 3] = INFINITE
    assert not_finite(weights, expected) == "members.fc.bias"
