"""Tensors of every kind: nested, sparse, masked, wrapped; distributions and precisions."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import kl_divergence

from zoo.registry import ZOO, Graph, Made, MissingError, graph, leaf, run

LAYOUTS = "sparse, nested, masked and wrapped tensors"


def _sparse(layout: str, what: str) -> Made:
    dense, w = (torch.randn(4, 4) > 0.3) * torch.randn(4, 4), leaf(4, 4)
    x = getattr(dense, f"to_{layout}")(*((2, 2),) * (layout in {"sparse_bsr", "sparse_bsc"}))
    x = x.detach().requires_grad_()
    out = {
        "mm": lambda: torch.sparse.mm(x, w),
        "dense": lambda: x.to_dense() * w,
        "matmul": lambda: x @ w,
        "sum": lambda: torch.sparse.sum(x, 0).to_dense() * w[0],
        "softmax": lambda: torch.sparse.softmax(x, 1).to_dense() * w,
        "mul": lambda: (x * x).to_dense() * w,
    }[what]()
    return out.square().sum(), {"x": x, "w": w}


for _layout, _what in [
    *(("sparse_coo", what) for what in ("mm", "dense", "matmul", "sum", "softmax", "mul")),
    *(("sparse_csr", what) for what in ("mm", "dense", "matmul")),
]:
    ZOO[f"{_layout}, {_what}"] = Graph(LAYOUTS, partial(_sparse, _layout, _what))
for _layout in ("sparse_csc", "sparse_bsr", "sparse_bsc"):  # torch's own backward fails
    ZOO[_layout] = Graph(LAYOUTS, partial(_sparse, _layout, "dense"), "refused", by_backward=True)


@graph(LAYOUTS)
def nested_padded() -> Made:
    a, b = leaf(2, 4), leaf(3, 4)
    linear = nn.Linear(4, 4)
    out = linear(torch.nested.as_nested_tensor([a, b])).to_padded_tensor(0.0)
    return out.square().sum(), {"a": a, "b": b, **dict(linear.named_parameters())}


@graph(LAYOUTS)
def nested_unbound() -> Made:
    a, b = leaf(2, 4), leaf(3, 4)
    first, second = torch.nested.as_nested_tensor([a, b]).unbind()
    return first.sin().sum() + second.exp().sum(), {"a": a, "b": b}


@graph(LAYOUTS)
def a_nested_leaf() -> Made:
    x = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], requires_grad=True)
    return (x * x).to_padded_tensor(0.0).sum(), {"x": x}


@graph(LAYOUTS)
def jagged_layers() -> Made:
    x = torch.nested.nested_tensor_from_jagged(leaf(9, 4), torch.tensor([0, 2, 2, 9]))
    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))
    return (net(x).values() ** 2).sum(), net


@graph(LAYOUTS)
def masked() -> Made:
    from torch.masked import masked_tensor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = leaf(4)
        y = masked_tensor(x.detach().clone(), torch.tensor([True, False, True, True]), True)
        return (y * y).sum().get_data(), {"y": y}


class Tagged(Tensor):
    """A subclass that only has a name."""


@graph(LAYOUTS)
def a_plain_subclass() -> Made:
    x = torch.randn(4).as_subclass(Tagged).requires_grad_()
    return (x.sin() * x.cumsum(0)).sum(), {"x": x}


@graph(LAYOUTS)
def mkldnn_layout() -> Made:
    x = leaf(3, 4)
    return (x.to_mkldnn() * x.to_mkldnn()).to_dense().sum(), {"x": x}


@graph(LAYOUTS)
def fake_quantised() -> Made:
    x, scale, zero = leaf(4, 5), torch.tensor([0.1] * 4).requires_grad_(), torch.zeros(4)
    zero.requires_grad_()
    out = torch._fake_quantize_learnable_per_channel_affine(x, scale, zero, 0, -8, 7, 1.0)
    plain = torch.fake_quantize_per_tensor_affine(x, 0.05, 3, 0, 255)
    return (out * plain).sum(), {"x": x, "scale": scale, "zero": zero}


DISTRIBUTIONS = "distributions, by rsample"


def _distribution(name: str) -> Made:
    d = torch.distributions
    a, b = leaf(3), leaf(3)
    cov = torch.eye(3) + 0.1 * a.outer(a)
    made = {
        "Normal": lambda: d.Normal(a, b.exp()),
        "Gamma": lambda: d.Gamma(a.exp(), b.exp()),
        "Beta": lambda: d.Beta(a.exp(), b.exp()),
        "Dirichlet": lambda: d.Dirichlet(a.exp()),
        "StudentT": lambda: d.StudentT(a.exp() + 1, b),
        "Laplace": lambda: d.Laplace(a, b.exp()),
        "Gumbel": lambda: d.Gumbel(a, b.exp()),
        "Weibull": lambda: d.Weibull(a.exp(), b.exp()),
        "MultivariateNormal": lambda: d.MultivariateNormal(b, cov),
        "LowRank": lambda: d.LowRankMultivariateNormal(b, a[:, None], b.exp()),
        "RelaxedBernoulli": lambda: d.RelaxedBernoulli(torch.tensor(0.5), logits=a),
        "RelaxedOneHot": lambda: d.RelaxedOneHotCategorical(torch.tensor(0.5), logits=a),
        "LogisticNormal": lambda: d.LogisticNormal(a, b.exp()),
        "flow": lambda: d.TransformedDistribution(
            d.Normal(a, b.exp()), [d.SigmoidTransform(), d.AffineTransform(b, a.exp())]
        ),
        "Kumaraswamy": lambda: d.Kumaraswamy(a.exp(), b.exp()),
        "mixture": lambda: d.MixtureSameFamily(d.Categorical(logits=a), d.Normal(b, a.exp())),
    }[name]()
    if name == "mixture":
        return -made.log_prob(torch.randn(5)).mean(), {"a": a, "b": b}
    sample = made.rsample((4,))
    loss = sample.square().mean() + made.log_prob(sample.detach()).mean()
    return loss, {"a": a, "b": b}


for _name in [
    "Normal",
    "Gamma",
    "Beta",
    "Dirichlet",
    "StudentT",
    "Laplace",
    "Gumbel",
    "Weibull",
    "MultivariateNormal",
    "LowRank",
    "RelaxedBernoulli",
    "RelaxedOneHot",
    "LogisticNormal",
    "flow",
    "Kumaraswamy",
    "mixture",
]:
    ZOO[f"distribution {_name}"] = Graph(DISTRIBUTIONS, partial(_distribution, _name))


@graph(DISTRIBUTIONS)
def variational_autoencoder() -> tuple[Any, ...]:
    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

        def forward(self, x: Tensor) -> Tensor:
            mean, spread = self.encode(x).chunk(2, -1)
            latent = torch.distributions.Normal(mean, F.softplus(spread))
            prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
            fit = F.binary_cross_entropy_with_logits(self.decode(latent.rsample()), x)
            return fit + kl_divergence(latent, prior).mean()

    return run(Vae(), torch.rand(5, 6))


@graph(DISTRIBUTIONS)
def straight_through_gumbel() -> Made:
    x = leaf(5, 4)
    return (F.gumbel_softmax(x, hard=True) * x).sum(), {"x": x}


PRECISION = "autocast and mixed precision"


def _cast(dtype: torch.dtype, layer: str) -> tuple[Any, ...]:
    model = {
        "linear": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 2)),
        "convolution": lambda: nn.Sequential(
            nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 2)
        ),
        "recurrent": lambda: nn.LSTM(6, 4, batch_first=True),
        "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    }[layer]()
    with torch.autocast("cpu", dtype=dtype):
        return run(model, torch.randn(3, 6) if layer == "linear" else torch.randn(3, 1, 6))


for _dtype in (torch.bfloat16, torch.float16):
    for _layer in ("linear", "convolution", "recurrent", "attention"):
        if _dtype is torch.float16 and _layer == "recurrent":
            continue  # some processors have no such kernel
        _key = f"autocast, {str(_dtype).removeprefix('torch.')}, {_layer}"
        ZOO[_key] = Graph(PRECISION, partial(_cast, _dtype, _layer))


@graph(PRECISION)
def a_scaled_loss() -> Made:
    model, scaler = nn.Linear(4, 2).half(), torch.amp.GradScaler("cpu")
    return scaler.scale(model(torch.randn(3, 4).half()).float().square().mean()), model


@graph(PRECISION)
def a_network_in_float8() -> Made:
    x = leaf(4, 4)
    if not hasattr(torch, "float8_e4m3fn"):
        raise MissingError("this torch has no float8")
    return (x.to(torch.float8_e4m3fn).float() * x).sum(), {"x": x}
