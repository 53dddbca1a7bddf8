"""Training networks of a user's own: what differs from the program's, and what fails in a step."""

from __future__ import annotations

import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import odd_networks
import pytest
import torch
import torch.nn.functional as F
from own_files import body, network_file
from small_runs import NORMALISATION, config, loaded, loader_of, split, state_of
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_cli.errors import OwnCodeError, UsageError
from mnist_cli.training.averaging import average, unaveraged
from mnist_cli.training.loop import fit
from mnist_cli.training.optim import LearningRate
from mnist_cli.training.rank_agreement import check_parts
from mnist_cli.training.state import TrainState

ODD = Path(odd_networks.__file__).resolve()


def train(model: str, **values: object) -> TrainState:
    settings = config(model=model, epochs=1, **values)
    state = state_of(settings)
    for _ in fit(state, loader_of(settings), split(10, 2, "val"), NORMALISATION):
        pass
    return state


@pytest.mark.parametrize("name", ["Causal", "Waves", "Detached", "Checkpointed", "Normed"])
def test_its_average_is_the_one_taken_by_hand(name: str) -> None:
    """Over three steps; indices, masks and counters are the last ones."""
    network = getattr(odd_networks, name)()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    copied = unaveraged(network)
    expected = {key: one.clone() for key, one in network.state_dict().items()}
    for step in range(3):
        with torch.no_grad():
            for one in network.parameters():
                one.add_(0.1)
            for key, one in network.state_dict().items():
                finite = one.is_floating_point() or one.is_complex()
                if step and finite and bool(one.isfinite().all()):
                    expected[key] = 0.9 * expected[key] + 0.1 * one
                else:
                    expected[key] = one.clone()
        average(averaged, network, first=step == 0, copied=copied)
    for key, one in averaged.module.state_dict().items():
        # A sum of two averages rounds four times, by the largest value at most.
        inexact = one.is_floating_point() or one.is_complex()
        largest = float(one.abs().nan_to_num(posinf=1).max())
        room = 4 * torch.finfo(one.dtype).eps * largest if inexact else 0
        torch.testing.assert_close(one, expected[key], rtol=0, atol=room, equal_nan=True, msg=key)


@pytest.mark.parametrize("name", ["Causal", "Waves", "Checkpointed", "Detached"])
def test_it_trains_with_everything(name: str) -> None:
    state = train(f"{ODD}:{name}", ema=0.9, clip_norm=0.5, optimizer="adam", lr=0.001)
    assert state.step == 3
    assert state.history[0].val is not None


SKIPS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.first, self.late = nn.Linear(784, 10), nn.Linear(784, 10)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.steps += 1
            self.first.requires_grad_(bool(self.steps < 3))
        return self.first(x) + self.late(x) if self.steps > 1 else self.first(x)
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_layer_that_is_first_skipped_and_one_that_is_frozen_later(
    tmp_path: Path, optimizer: str
) -> None:
    """torch's plain optimisers allow both; its fused SGD raises an error for the first."""
    settings = config(model=f"{network_file(tmp_path / 'net.py', SKIPS)}:Net", optimizer=optimizer)
    kinds = {"sgd": partial(SGD, momentum=0.9, nesterov=True), "adam": Adam}
    model, loader = state_of(settings).model, loader_of(settings)
    plain = kinds[optimizer](model.parameters(), weight_decay=settings.weight_decay, fused=False)
    for step, (images, labels) in enumerate(loader.epoch(0, 0)):
        plain.param_groups[0]["lr"] = LearningRate(settings, loader.batches).rate(step)
        plain.zero_grad()
        loss = F.cross_entropy(model(images), labels, label_smoothing=settings.label_smoothing)
        loss.backward()
        plain.step()
    trained = train(str(settings.model), optimizer=optimizer, schedule=settings.schedule)
    torch.testing.assert_close(trained.model.state_dict(), model.state_dict())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adadelta", "muon"])
def test_sparse_gradients_are_refused_by_every_optimiser(optimizer: str) -> None:
    with pytest.raises(OwnCodeError) as caught:
        train(f"{ODD}:Sparse", optimizer=optimizer)
    optimizers = "Sparse cannot be trained with the optimiser"
    # torch 2.10 has no norm of a sparse gradient.
    assert re.search(f"{optimizers}|Sparse has gradients without a norm", caught.value.message)
    assert "sparse=False" in caught.value.hint


FAILS = """
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad[:1] if len(grad) > 3 else grad


"""


@pytest.mark.parametrize(
    ("forward", "doing"),
    [
        ("Fails.apply(self.fc(x.flatten(1)))", "fails in the backward pass"),
        ("self.fc(x.flatten(1) if len(x) < 4 else x)", "net.py failed"),
    ],
)
def test_a_failure_on_larger_batches_is_the_networks(
    tmp_path: Path, forward: str, doing: str
) -> None:
    from mnist_cli.training.expected_errors import expected

    source = body(forward).replace("\n\nclass Net", f"\n{FAILS}class Net")
    model = f"{network_file(tmp_path / 'net.py', source)}:Net"
    with pytest.raises((OwnCodeError, RuntimeError)) as caught:
        train(model)
    known = expected(caught.value)
    assert isinstance(known, OwnCodeError)
    assert doing in known.message


def test_other_generators_repeat_in_each_step(tmp_path: Path) -> None:
    """Two runs that draw from Python's and NumPy's end with the same bits, from any state of them."""
    more = " * (random.random() + np.random.rand() if self.training else 1)"
    source = body("self.fc(x.flatten(1))" + more).replace(
        "import torch\n", "import random\nimport numpy as np\n"
    )
    model = f"{network_file(tmp_path / 'net.py', source)}:Net"
    ends = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        ends.append(train(model).model.get_parameter("fc.weight"))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("values", "images", "hint"),
    [
        ({}, 33, "Skip that batch (drop_last = true), or change batch_size or train_size."),
        ({"batch_size": 1}, 32, "Change batch_size or train_size."),
        ({"train_size": 1}, 32, "Change batch_size or train_size."),
    ],
)
def test_a_last_batch_of_one_is_tried_before(
    values: dict[str, int], images: int, hint: str
) -> None:
    settings = config(model=f"{ODD}:Checkpointed", val_size=0, **values)
    with pytest.raises(UsageError, match="the last batch of an epoch has 1 image, and") as caught:
        check_parts(settings, loaded(images), 1, resumed=False)
    assert "Expected more than 1 value per channel" in caught.value.message
    assert caught.value.hint == hint
    check_parts(
        config(model=f"{ODD}:Causal", val_size=0, **values), loaded(images), 1, resumed=False
    )


def test_a_failed_checkpoint_leaves_no_hooks() -> None:
    """Before torch 2.14 its hooks stay in force as long as the error is held."""
    settings = config(model=f"{ODD}:Checkpointed", val_size=0)
    with pytest.raises(OwnCodeError) as held:
        check_parts(settings, loaded(33), 1, resumed=False)
    x = torch.ones(3, requires_grad=True)
    (x.sin() * x).sum().backward()
    assert held.value.__cause__ is not None


@pytest.mark.parametrize(("images", "dropped"), [(32, False), (34, False), (33, True)])
def test_other_last_batches_are_not(images: int, dropped: bool) -> None:
    settings = config(model=f"{ODD}:Checkpointed", val_size=0, drop_last=dropped)
    check_parts(settings, loaded(images), 1, resumed=False)


def test_an_ensemble_of_a_compiled_part_is_refused() -> None:
    import warnings

    from mnist_cli.networks import ensemble

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [nn.Sequential(torch.jit.script(nn.Linear(2, 2))) for _ in range(2)]
    with pytest.raises(UsageError, match="'0' of the network is compiled"):
        ensemble.join(parts)
