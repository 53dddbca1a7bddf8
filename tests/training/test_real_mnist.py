"""The real files: what no made-up data can show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import CPU

from mnist_cli.config.schema import compose, find_config, from_file
from mnist_cli.data.batches import Batching, build_loader
from mnist_cli.data.load import load
from mnist_cli.devices.device import resolve_precision
from mnist_cli.training.compute import Compute
from mnist_cli.training.loop import fit
from mnist_cli.training.scoring import predict, score
from mnist_cli.training.state import fresh_state

pytestmark = pytest.mark.mnist


def test_the_fast_preset_learns_real_digits(mnist_dir: Path) -> None:
    """Above 97% after 200 steps of its own one-cycle, on whatever precision this machine has."""
    settings = compose([from_file(find_config("fast"))])
    data = load("mnist", mnist_dir, download=False)
    precision = resolve_precision("auto", CPU)
    state = fresh_state(settings, Compute(CPU, precision), 10)
    train = data.train.take(torch.arange(200 * settings.batch_size))
    for _ in fit(
        state,
        build_loader(Batching.of(settings), train, data.normalisation),
        None,
        data.normalisation,
    ):
        pass
    assert state.step == 200 * settings.epochs
    test = data.test.take(torch.arange(2000))
    out = predict(state.eval_model, test, data.normalisation, batch_size=1000, precision=precision)
    assert score(out, test.labels).accuracy > 0.97
