"""Complex networks, torch.func and higher orders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from zoo.registry import ZOO, Graph, Made, graph, leaf, run, total

FOURIER = "FFT and complex networks"


def _of(function: Callable[..., Any], *shapes: tuple[int, ...], **options: Any) -> Made:
    leaves = [leaf(*shape, **options) for shape in shapes]
    return total(function(*leaves)), {f"x{n}": one for n, one in enumerate(leaves)}


@graph(FOURIER)
def a_complex_network() -> tuple[Any, ...]:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 3, 3, dtype=torch.complex64)
            self.fc = nn.Linear(12, 2, dtype=torch.complex64)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(torch.fft.fft(x))
            h = torch.complex(F.relu(h.real), F.relu(h.imag))
            return self.fc(h.flatten(1)).abs()

    return run(Net(), torch.randn(3, 2, 6))


@graph(FOURIER)
def a_spectral_convolution() -> Made:
    """As a Fourier neural operator does it."""
    x, w = leaf(2, 3, 16), leaf(3, 4, 5, dtype=torch.complex64)
    modes = torch.fft.rfft(x)[..., :5]
    out = torch.fft.irfft(torch.einsum("bim,iom->bom", modes, w), n=16)
    return out.square().mean(), {"x": x, "w": w}


FUNCTIONAL = "torch.func and higher orders"


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def _add_orders() -> None:
    def energy(x: Tensor) -> Tensor:
        return (x.sin() * x.exp()).square().sum()

    def field(x: Tensor) -> Tensor:
        return x.tanh() * x.roll(1)

    found: dict[str, Callable[[Tensor], Any]] = {
        "grad": grad(energy),
        "grad of grad": lambda x: grad(lambda x: grad(energy)(x).square().sum())(x),
        "hessian": hessian(energy),
        "jacrev": jacrev(field),
        "jacfwd": jacfwd(field),
        "jvp": lambda x: jvp(field, (x,), (x.cos(),)),
        "vjp": lambda x: vjp(field, x)[1](x.cos()),
        "vmap": lambda x: vmap(energy)(x.expand(4, 3)),
        "vmap of grad": lambda x: vmap(grad(energy))(x.expand(4, 3)),
        "vmap with dropout": lambda x: vmap(lambda x: F.dropout(x, 0.5), randomness="different")(
            x.expand(4, 3)
        ),
        "linearize": lambda x: torch.func.linearize(field, x)[1](x.cos()),
        "functional jacobian": lambda x: torch.autograd.functional.jacobian(
            field, x, create_graph=True
        ),
        "functional hvp": lambda x: torch.autograd.functional.hvp(
            energy, x, x.detach().cos(), create_graph=True
        ),
        "functionalize": torch.func.functionalize(lambda x: x.clone().mul_(2).sin_()),
        "batched gradients": lambda x: torch.autograd.grad(
            field(x), x, torch.eye(3), create_graph=True, is_grads_batched=True
        ),
    }
    for name, function in found.items():
        ZOO[f"of func, {name}"] = Graph(FUNCTIONAL, partial(_of, function, (3,)))


_add_orders()


@graph(FUNCTIONAL)
def order_4() -> Made:
    model, x = _network(), leaf(5, 3)
    value = model(x).sum()
    for _ in range(3):
        found = torch.autograd.grad(
            value, [x, *model.parameters()], create_graph=True, allow_unused=True
        )
        value = sum(one.square().sum() for one in found if one is not None and one.requires_grad)
    return value, {**dict(model.named_parameters()), "x": x}


@graph(FUNCTIONAL)
def called_with_other_weights() -> Made:
    model = _network()
    weights = {
        name: one.detach().clone().requires_grad_() for name, one in model.named_parameters()
    }
    scaled = {name: one * 2 for name, one in weights.items()}
    return functional_call(model, scaled, torch.randn(4, 3)).square().sum(), weights


@graph(FUNCTIONAL)
def an_ensemble() -> Made:
    models = [_network() for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(models)
    base = _network().to("meta")

    def one(weights: Any, buffers: Any, x: Tensor) -> Tensor:
        return functional_call(base, (weights, buffers), (x,))

    out = vmap(one, in_dims=(0, 0, None))(weights, buffers, torch.randn(5, 3))
    return out.square().mean(), weights


@graph(FUNCTIONAL)
def learning_to_learn() -> Made:
    """Three steps of descent that are differentiated, as MAML does."""
    model = _network()
    weights = dict(model.named_parameters())
    x, y = torch.randn(8, 3), torch.randn(8, 1)
    for _ in range(3):
        loss = F.mse_loss(functional_call(model, weights, (x,)), y)
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {k: w - 0.1 * g for (k, w), g in zip(weights.items(), grads, strict=True)}
    return F.mse_loss(functional_call(model, weights, (x,)), y), model


@graph(FUNCTIONAL)
def gradient_penalty() -> Made:
    critic, x = nn.Sequential(nn.Conv1d(1, 3, 3), nn.LeakyReLU(), nn.Flatten(), nn.Linear(12, 1)), 0
    x = leaf(4, 1, 6)
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean(), critic


@graph(FUNCTIONAL)
def forward_over_reverse() -> Made:
    import torch.autograd.forward_ad as forward

    x, t = leaf(4), leaf(4)
    with forward.dual_level():
        out = forward.unpack_dual((forward.make_dual(x, t).sin() * x).exp())
        return (out.tangent.square() + out.primal).sum(), {"x": x, "t": t}
