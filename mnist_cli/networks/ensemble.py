"""Several networks of one kind, trained together in one pass over the data. They then vote.

Members share only the batches. Each has the gradient of its own mean loss, its own batch norm
statistics and its own dropout.

This module knows nothing about data, training or files.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mnist_cli.devices.kinds import kind_of
from mnist_cli.errors import UsageError
from mnist_cli.networks import registry as models


class Ensemble(nn.Module):
    """N networks as one: every parameter and buffer has the members along its first dimension.

    Elementwise optimisers, averages of the weights and checkpoints work unchanged.

    Attributes:
        batched: compute all members at once. None does so on a GPU only; False never does, for
            modules that :func:`torch.func.vmap` does not support.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Copy the weights of ``networks``, in their memory format."""
        super().__init__()
        self.size = len(networks)
        self.batched: bool | None = None
        self.log_probabilities = bool(getattr(networks[0], "log_probabilities", False))
        self.members = copy.deepcopy(networks[0])
        for path, module in self.members.named_modules():
            others = [network.get_submodule(path) for network in networks]
            for name, parameter in module.named_parameters(recurse=False):
                stacked = _stack([other.get_parameter(name) for other in others])
                setattr(module, name, nn.Parameter(stacked, parameter.requires_grad))
            for name, _ in module.named_buffers(recurse=False):
                setattr(module, name, _stack([other.get_buffer(name) for other in others]))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, 28, 28) to scores in training, and to the vote in evaluation.

        Returns:
            In training every member's scores (N, B, classes); in evaluation the log-probabilities
            (B, classes), float32, of their vote.
        """
        scores = self.scores(images)
        return scores if self.training else vote(torch.log_softmax(scores.float(), 2))

    def scores(self, images: Tensor) -> Tensor:
        """Every member's scores (N, B, classes) for images (B, 1, 28, 28).

        A GPU computes all members in one batched operation; a CPU computes one member after the
        other. On one CPU thread, a batched step of four networks took 1.5 to 2.8 times as long
        (docs/speed.md).
        """
        launch_bound = kind_of(images.device).launch_bound
        batched = launch_bound if self.batched is None else self.batched
        return self._all_at_once(images) if batched else self._one_by_one(images)

    def _all_at_once(self, images: Tensor) -> Tensor:
        def scores(state: dict[str, Tensor]) -> Tensor:
            return cast(Tensor, functional_call(self.members, state, (images,)))

        return vmap(scores, randomness="different")(self._state())

    def _one_by_one(self, images: Tensor) -> Tensor:
        parts = {name: tensor.unbind(0) for name, tensor in self._state().items()}
        states = [{name: part[k] for name, part in parts.items()} for k in range(self.size)]
        return torch.stack([functional_call(self.members, state, (images,)) for state in states])

    def _state(self) -> dict[str, Tensor]:
        return dict(self.members.named_parameters()) | dict(self.members.named_buffers())

    def member(self, number: int) -> nn.Module:
        """A copy of member ``number``, counted from 0, as a separate network."""
        alone = copy.deepcopy(self.members)
        for module in alone.modules():
            for name, parameter in module.named_parameters(recurse=False):
                own = nn.Parameter(parameter.detach()[number].clone(), parameter.requires_grad)
                setattr(module, name, own)
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer[number].clone())
        return alone


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack N tensors of one shape as (N, …); each keeps its strides, such as channels-last."""
    first = tensors[0].detach()
    stacked = first.new_empty(0).new_empty_strided(
        (len(tensors), *first.shape), (first.numel(), *first.stride())
    )
    for mine, tensor in zip(stacked, tensors, strict=True):
        mine.copy_(tensor.detach())
    return stacked


def join(networks: Sequence[nn.Module], *, batched: bool | None = None) -> nn.Module:
    """A single network unchanged, or the ensemble of several; ``batched`` as in :class:`Ensemble`.

    Raises:
        UsageError: there are several networks, and their layers share a weight, which stacking
            would separate, or TorchScript has compiled a part of them.
    """
    if len(networks) == 1:
        return networks[0]
    for name, module in networks[0].named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"ensemble: '{name}' of the network is compiled by torch.jit.script, which an "
                "ensemble does not support",
                "Train it alone.",
            )
    first: dict[int, str] = {}
    for name, parameter in networks[0].named_parameters(remove_duplicate=False):
        if (other := first.setdefault(id(parameter), name)) != name:
            raise UsageError(
                f"ensemble: {other} and {name} of the network are one weight, which an ensemble "
                "does not support",
                "Train it alone.",
            )
    joined = Ensemble(networks)
    joined.batched = batched
    return joined


def first_member(model: nn.Module) -> nn.Module:
    """A copy of the network, or of an ensemble's first member."""
    return model.member(0) if isinstance(model, Ensemble) else copy.deepcopy(model)


def expected_weights(name: str, classes: int, members: int) -> Mapping[str, Tensor]:
    """Names, shapes and dtypes of weights of ``members`` networks; for a user's own, also values.

    Raises:
        UsageError: no network has that name.
    """
    alone = models.expected_weights(name, classes)
    if members == 1:
        return alone
    return {
        f"members.{key}": tensor.new_empty((members, *tensor.shape))
        if tensor.is_meta
        else tensor.expand(members, *tensor.shape)
        for key, tensor in alone.items()
    }


def vote(log_probabilities: Tensor) -> Tensor:
    """Log (B, classes) of the mean probabilities, from members' log-probabilities (N, B, classes)."""
    return torch.logsumexp(log_probabilities, 0) - math.log(len(log_probabilities))


# --- training: operations that would couple the members, done for each member


def loss(scores: Tensor, labels: Tensor, *, log_probabilities: bool, smoothing: float) -> Tensor:
    """Sum () of the members' mean losses, each computed by :func:`mnist_cli.networks.registry.loss`.

    Each member gets the same gradient as if trained alone.

    Args:
        scores: (N, B, classes), of every member.
        labels: (B,), int64.
        log_probabilities: whether the scores are log-probabilities.
        smoothing: share of the target spread over all classes.
    """
    mean = models.loss(
        scores.flatten(0, 1),
        labels.repeat(len(scores)),
        log_probabilities=log_probabilities,
        smoothing=smoothing,
    )
    return mean * len(scores)


@torch.no_grad()
def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm (N,) of each member's gradient, given tensors (N, …)."""
    norms = [
        torch.linalg.vector_norm(g, dim=tuple(range(1, g.ndim))) if g.ndim > 1 else g.abs()
        for g in gradients
    ]
    return cast(Tensor, torch.linalg.vector_norm(torch.stack(norms), dim=0))


@torch.no_grad()
def clip_gradients(gradients: Sequence[Tensor], max_norm: float, norms: Tensor) -> None:
    """Scale each member's gradient (N, …) to a 2-norm of at most ``max_norm``, in place.

    As :func:`torch.nn.utils.clip_grads_with_norm_` does for one network.
    """
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *(1,) * (gradient.ndim - 1)))
