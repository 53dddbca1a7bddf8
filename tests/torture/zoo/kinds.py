"""Tensors of every kind: nested, sparse, complex, meta, wrapped; FFT, linear algebra, torch.func."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from zoo.registry import ZOO, Graph, Made, MissingError, graph, leaf, run, total

FOURIER, LINEAR = "FFT and complex networks", "linear algebra"


def _of(function: Callable[..., Any], *shapes: tuple[int, ...], **options: Any) -> Made:
    leaves = [leaf(*shape, **options) for shape in shapes]
    return total(function(*leaves)), {f"x{n}": one for n, one in enumerate(leaves)}


SPD = ((4, 4),)
SQUARE: dict[str, Callable[..., Any]] = {
    "inv": torch.linalg.inv,
    "pinv": torch.linalg.pinv,
    "svd": lambda x: [x.abs() for x in torch.linalg.svd(x)[1:2]],
    "svdvals": torch.linalg.svdvals,
    "qr": lambda x: torch.linalg.qr(x),
    "eigvals": lambda x: torch.linalg.eigvals(x),
    "eigh": lambda x: torch.linalg.eigvalsh(x + x.mT.conj()),
    "cholesky": lambda x: torch.linalg.cholesky(x @ x.mT.conj() + torch.eye(4)),
    "lu": lambda x: torch.linalg.lu(x),
    "det": torch.linalg.det,
    "slogdet": lambda x: torch.linalg.slogdet(x)[1],
    "matrix_exp": torch.linalg.matrix_exp,
    "matrix_power": lambda x: torch.linalg.matrix_power(x, 3),
    "norms": lambda x: [torch.linalg.matrix_norm(x, p) for p in ("fro", "nuc", 2, 1)],
    "solve": lambda x: torch.linalg.solve(x, x.cos()),
    "lstsq": lambda x: torch.linalg.lstsq(x, x.sin(), driver="gels").solution,
    "triangular": lambda x: torch.linalg.solve_triangular(x.tril(), x, upper=False),
    "ldl": lambda x: torch.linalg.ldl_factor(x + x.mT)[0],
    "householder": lambda x: torch.linalg.householder_product(x, x[0]),
    "einsum": lambda x: torch.einsum("ij,jk,kl->il", x, x.sin(), x),
}
SPECTRAL: dict[str, Callable[..., Any]] = {
    "fft": torch.fft.fft,
    "rfft": torch.fft.rfft,
    "irfft2": lambda x: torch.fft.irfft2(torch.fft.rfft2(x)),
    "hfft": lambda x: torch.fft.hfft(torch.complex(x, x.sin())),
    "fftn": lambda x: torch.fft.fftshift(torch.fft.fftn(x, norm="ortho")),
    "stft": lambda x: torch.istft(
        torch.stft(
            x.flatten(), 8, window=torch.hann_window(8), return_complex=True, pad_mode="constant"
        ),
        8,
        window=torch.hann_window(8),
    ),
    "polar": lambda x: torch.polar(x.exp(), x),
    "view_as_real": lambda x: torch.view_as_real(torch.complex(x, x).conj() * 1j),
    "real and imag": lambda x: [torch.complex(x, -x).exp().real, torch.complex(x, x).sin().imag],
}


def _add_functions() -> None:
    for name, function in SQUARE.items():
        for dtype in (torch.float32, torch.complex128):
            if name in {"ldl"} or (dtype.is_complex and name in {"cholesky", "norms"}):
                continue
            label = f"linalg {name}, {str(dtype).removeprefix('torch.')}"
            ZOO[label] = Graph(LINEAR, partial(_of, function, (4, 4), dtype=dtype))
    for name, function in SPECTRAL.items():
        ZOO[f"spectral {name}"] = Graph(FOURIER, partial(_of, function, (6, 8)))


_add_functions()


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
    for order in (2, 3, 4):
        ZOO[f"order {order}"] = Graph(FUNCTIONAL, partial(_order, order))


def _order(order: int) -> Made:
    model, x = _network(), leaf(5, 3)
    value = model(x).sum()
    for _ in range(order - 1):
        found = torch.autograd.grad(
            value, [x, *model.parameters()], create_graph=True, allow_unused=True
        )
        value = sum(one.square().sum() for one in found if one is not None and one.requires_grad)
    return value, {**dict(model.named_parameters()), "x": x}


_add_orders()


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
def masked_sampling() -> Made:
    mask = (torch.rand(4, 4) > 0.5).float().to_sparse_csr()
    a, b = leaf(4, 3), leaf(3, 4)
    return torch.sparse.sampled_addmm(mask, a, b).to_dense().square().sum(), {"a": a, "b": b}


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


@graph(LAYOUTS)
def masked_operators() -> Made:
    x, mask = leaf(3, 4), torch.rand(3, 4) > 0.4
    out = torch.masked.softmax(x, 1, mask=mask) + torch.masked.mean(x, 1, keepdim=True, mask=mask)
    return out.nan_to_num().square().sum(), {"x": x}


@graph(LAYOUTS)
def two_tensors_in_one() -> Made:
    from torch.testing._internal.two_tensor import TwoTensor

    x = TwoTensor(torch.randn(3), torch.randn(3)).requires_grad_()
    return (x.sin() * x).sum(), {"x": x}


class Tagged(Tensor):
    """A subclass that only has a name."""


@graph(LAYOUTS)
def a_plain_subclass() -> Made:
    x = torch.randn(4).as_subclass(Tagged).requires_grad_()
    return (x.sin() * x.cumsum(0)).sum(), {"x": x}


@graph(LAYOUTS, expects="declined: the gradient of weight has no values")
def on_the_meta_device() -> tuple[Any, ...]:
    return run(nn.Linear(3, 2, device="meta"), torch.randn(4, 3, device="meta"))


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
