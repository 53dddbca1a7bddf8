"""Several networks as one against the same networks one by one."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rounding import assert_as_accurate, in_float64, smooth
from torch import Tensor, nn

from mnist_cli.networks import ensemble
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import Ensemble, first_member, join, vote

NAMES = tuple(models.REGISTRY)
WITHOUT_DROPOUT = ("conv2", "oriented", "conv4")


def networks(
    name: str, count: int = 3, layout: torch.memory_format | None = None
) -> list[nn.Module]:
    torch.manual_seed(0)
    found = [models.build(name, 10) for _ in range(count)]
    return [n.to(memory_format=layout) if layout else n for n in found]


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 28, 28, generator=source)
    return images, torch.randint(10, (count,), generator=source)


def assert_near(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_in_evaluation_it_is_the_mean_of_the_members_probabilities(name: str) -> None:
    alone = [network.eval() for network in networks(name)]
    together = Ensemble(alone).eval()
    images, _ = batch()
    with torch.no_grad():
        expected = torch.stack([F.softmax(n(images), 1) for n in alone]).mean(0)
        found = together(images)
    assert found.shape == (6, 10)
    assert_near(found.exp(), expected)
    assert_near(found.exp().sum(1), torch.ones(6))


@pytest.mark.parametrize("name", WITHOUT_DROPOUT)
@pytest.mark.parametrize("batched", [False, True])
def test_scores_gradients_and_running_figures_are_each_members_own(
    name: str, batched: bool
) -> None:
    """Member by member, as on a CPU, and batched, as on a GPU."""
    together = Ensemble(networks(name, layout=torch.channels_last)).train()
    together.batched = batched
    images, labels = batch()
    with smooth():
        for _ in range(2):
            found = together(images)
            ensemble.loss(found, labels, **SETTINGS).backward()
        for k in range(len(found)):
            usual, exact = (
                two_steps(change(networks(name, layout=torch.channels_last)[k]))
                for change in (nn.Module.train, in_float64)
            )
            mine = {
                key: tensor.grad if isinstance(tensor, nn.Parameter) else tensor
                for key, tensor in together.state_dict(keep_vars=True).items()
            }
            member = {key.removeprefix("members."): tensor[k] for key, tensor in mine.items()}
            assert_as_accurate({"scores": found[k], **member}, usual, exact)


SETTINGS: dict[str, Any] = {"log_probabilities": False, "smoothing": 0.1}


def two_steps(network: nn.Module) -> dict[str, Tensor]:
    """A network's scores in a second forward, its gradients of both, and its buffers."""
    images, labels = batch()
    for _ in range(2):
        scores = network(images)
        models.loss(scores, labels, **SETTINGS).backward()
    kept = network.state_dict(keep_vars=True).items()
    return {"scores": scores} | {
        key: tensor.grad if isinstance(tensor, nn.Parameter) else tensor for key, tensor in kept
    }


@pytest.mark.cuda
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu_batched_scores_are_each_members_own(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    alone = [network.eval() for network in networks(name, layout=torch.channels_last)]
    together, (images, _) = Ensemble(alone).eval(), batch()
    with torch.no_grad():
        expected = torch.stack([network(images) for network in alone])
        found = together.cuda().scores(images.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("batched", [False, True])
def test_each_member_drops_units_of_its_own(batched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = networks("notebook", 1)[0]
    together = Ensemble([network, network]).train()
    together.batched = batched
    images, _ = batch()
    scores = together(images)
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(*together.eval().scores(images))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_dimension_is_the_members_and_nothing_else_changes(name: str) -> None:
    alone = networks(name)
    together = Ensemble(alone)
    expected = ensemble.expected_weights(name, 10, 3)
    found = together.state_dict()
    assert list(found) == list(expected) == [f"members.{key}" for key in alone[0].state_dict()]
    for key, tensor in expected.items():
        assert (tensor.shape, tensor.dtype) == (found[key].shape, found[key].dtype)
    for k, network in enumerate(alone):
        for key, tensor in network.state_dict().items():
            assert torch.equal(found[f"members.{key}"][k], tensor)
            assert torch.equal(together.member(k).state_dict()[key], tensor)


def test_members_keep_their_memory_order() -> None:
    """A CPU's convolutions take 2 to 3 times as long where channels do not come last."""
    together = Ensemble(networks("conv4", layout=torch.channels_last))
    for copied in (together, copy.deepcopy(together)):
        weight = copied.get_parameter("members.conv2.weight")
        assert weight[1].is_contiguous(memory_format=torch.channels_last)
    plain = Ensemble(networks("conv4")).get_parameter("members.conv2.weight")
    assert plain.is_contiguous()


def test_a_member_is_a_copy() -> None:
    together = Ensemble(networks("conv2"))
    with torch.no_grad():
        together.member(1).get_parameter("fc2.bias").add_(1)
        first_member(together).get_parameter("fc2.bias").add_(1)
    assert torch.equal(
        together.get_parameter("members.fc2.bias")[1],
        networks("conv2")[1].get_parameter("fc2.bias"),
    )


def test_one_network_stays_what_it_is() -> None:
    network = networks("conv2", 1)[0]
    assert join([network]) is network
    assert isinstance(join(networks("conv2", 2)), Ensemble)
    assert list(ensemble.expected_weights("conv2", 10, 1)) == list(network.state_dict())
    copied = first_member(network)
    assert copied is not network
    assert torch.equal(copied.state_dict()["fc2.bias"], network.state_dict()["fc2.bias"])


def test_weights_of_an_ensemble_are_nobodys_network() -> None:
    assert models.recognise(Ensemble(networks("conv2")).state_dict()) is None


def test_the_vote_of_probabilities_written_by_hand() -> None:
    members = torch.tensor([[[0.6, 0.4]], [[0.1, 0.9]]]).log()
    assert vote(members).exp().tolist() == [pytest.approx([0.35, 0.65])]
    certain = torch.tensor([[[0.0, -math.inf]], [[0.0, -math.inf]]])
    assert vote(certain).tolist() == [[0.0, -math.inf]]
    one = torch.randn(1, 5, 3).log_softmax(2)
    assert torch.equal(vote(one), one[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("log_probabilities", [False, True])
def test_the_loss_is_the_sum_of_the_members(smoothing: float, log_probabilities: bool) -> None:
    settings = {"log_probabilities": log_probabilities, "smoothing": smoothing}
    scores, labels = torch.randn(3, 6, 10).log_softmax(2), batch()[1]
    expected = sum(models.loss(mine, labels, **settings) for mine in scores)
    assert_near(ensemble.loss(scores, labels, **settings), torch.as_tensor(expected))


@pytest.mark.parametrize("highest", [0.5, 100.0])
def test_norms_and_clipping_are_those_of_each_member_alone(highest: float) -> None:
    alone = networks("conv4", layout=torch.channels_last)
    for k, network in enumerate(alone):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter) * 10.0 ** (-k)
    gradients = [
        torch.stack([grad for p in same if (grad := p.grad) is not None])
        for same in zip(*(n.parameters() for n in alone), strict=True)
    ]
    norms = ensemble.gradient_norms(gradients)
    expected = [nn.utils.clip_grad_norm_(n.parameters(), highest) for n in alone]
    assert_near(norms, torch.stack(expected))
    ensemble.clip_gradients(gradients, highest, norms)
    for gradient, same in zip(
        gradients, zip(*(n.parameters() for n in alone), strict=True), strict=True
    ):
        for k, parameter in enumerate(same):
            assert_near(gradient[k], torch.as_tensor(parameter.grad))
