"""``mnist.load``: the module gives what ``mnist eval`` computes, to the bit."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipe import TINY
from torch import Tensor

import mnist_cli as mnist
from mnist_cli import Run, errors
from mnist_cli.api.loaded import Classifier
from mnist_cli.inference.opened import DataSource, OpenCheckpoint


@pytest.fixture(scope="module")
def in_bf16(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = TINY | {"precision": "bf16", "epochs": 1}
    return mnist.train("smoke", **settings, runs=tmp_path_factory.mktemp("bf16"), progress=False)


@pytest.fixture(params=["run", "in_bf16", "ensemble"])
def trained(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def opened(run: Run) -> OpenCheckpoint:
    from mnist_cli.checkpoints.checkpoint import read

    return OpenCheckpoint(
        read(run.checkpoint), torch.device("cpu"), source=DataSource(Path("data"))
    )


def test_log_probabilities_are_those_of_the_evaluation(trained: Run) -> None:
    from mnist_cli.networks.ensemble import vote

    reference = opened(trained)
    split = reference.split("test")
    expected = vote(reference.scorer.log_probabilities(split))
    model = mnist.load(trained)
    assert not any(part.training for part in model.modules())
    batches = [model(part) for part in split.images.split(reference.batch_size)]
    assert torch.equal(torch.cat(batches), expected)
    floats = [model(part / 255) for part in split.images.split(reference.batch_size)]
    assert torch.equal(torch.cat(floats), expected)


def test_every_level_survives_the_way_through_0_to_1() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal((levels / 255) * 255, levels.float())


def images() -> Tensor:
    return torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_it_is_copied_and_pickled_as_any_module(trained: Run) -> None:
    model = mnist.load(trained)
    expected = model(images())
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    copies: list[Classifier] = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
    ]
    assert all(torch.equal(one(images()), expected) for one in copies)
    copies[0].load_state_dict(model.state_dict())


def test_its_weights_are_a_file_that_every_command_reads(run: Run) -> None:
    model = mnist.load(run)
    torch.save(model.state_dict(), "weights.pt")
    again = mnist.load("weights.pt", normalise=tuple(vars(model.normalisation).values()))
    assert "removed" in " ".join(again.notes)
    # Another program's weights are not in channels-last order, so the sums round otherwise.
    assert torch.allclose(again(images()), model(images()), atol=1e-5)


def test_images_keep_their_values_and_get_gradients(run: Run) -> None:
    model, pixels = mnist.load(run), images().requires_grad_()
    before = pixels.detach().clone()
    model(pixels).sum().backward()  # type: ignore[no-untyped-call]
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert torch.equal(pixels, before)
    report = mnist.inspect(lambda: model(pixels)[:, 0].sum(), model)
    assert {one.name for one in report.parameters} >= dict(model.named_parameters()).keys()


def test_other_types_of_weights(run: Run) -> None:
    model = mnist.load(run)
    expected = model(images())
    found = copy.deepcopy(model).double()(images().double())
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 1, 28, 28)), "a ndarray, not a tensor"),
        (torch.zeros(28, 28), r"the shape \(28, 28\), not \(N, 1, 28, 28\)"),
        (torch.zeros(2, 3, 28, 28), r"shape \(2, 3, 28, 28\)"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), "int64, neither uint8"),
        (torch.full((2, 1, 28, 28), 255.0), "from 255 to 255, not from 0 to 1"),
        (torch.full((2, 1, 28, 28), -2.5), "do not normalise"),
    ],
)
def test_wrong_images(wrong: Any, message: str, run: Run) -> None:
    with pytest.raises(errors.UsageError, match=message):
        mnist.load(run)(wrong)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"what": "missing.pt"}, errors.CheckpointError, "no checkpoint or run missing.pt"),
        ({"what": None}, errors.CheckpointError, "no run with a checkpoint"),
        ({"what": []}, errors.UsageError, "is not a run"),
        ({"device": "cude"}, errors.DeviceError, "unknown device"),
        ({"precision": "fp8"}, errors.DeviceError, "unknown precision"),
        ({"normalise": "imagenet"}, errors.UsageError, "'imagenet' is not a normalisation"),
        ({"normalise": (0.5, 0.0)}, errors.UsageError, "cannot be normalised"),
        ({"normalise": 0.5}, errors.UsageError, "'0.5' is not a normalisation"),
        ({"network": "cnn"}, errors.UsageError, "unknown model"),
        ({"network": "conv4"}, errors.CheckpointError, "holds the network 'conv2'"),
    ],
)
def test_wrong_arguments_of_load(
    arguments: dict[str, Any], error: type[Exception], message: str, run: Run
) -> None:
    with pytest.raises(error, match=message):
        mnist.load(**{"what": run, **arguments})


def test_the_newest_run_is_loaded(run: Run) -> None:
    assert mnist.load(runs=run.path.parent).path == run.checkpoint
