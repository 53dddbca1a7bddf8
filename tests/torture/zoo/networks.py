"""Recurrent networks, transformers, attention, embeddings, losses and parametrisations."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import rnn

from zoo.registry import ZOO, Graph, Made, graph, leaf, run, total

RECURRENT = "recurrent networks"


def _recurrent(kind: type[nn.RNNBase], packed: bool, **options: Any) -> tuple[Any, ...]:
    model = kind(5, 6, num_layers=2, **options)
    x = torch.randn(7, 3, 5)
    if not packed:
        return run(model, x)
    return run(model, rnn.pack_padded_sequence(x, torch.tensor([7, 2, 5]), enforce_sorted=False))


def _add_recurrent() -> None:
    plain: dict[str, dict[str, Any]] = {
        "": {},
        "bidirectional": {"bidirectional": True},
        "with dropout": {"dropout": 0.4},
        "without bias": {"bias": False},
        "bidirectional with dropout": {"bidirectional": True, "dropout": 0.4},
    }
    more: dict[str, dict[str, Any]] = {
        "with projection": {"proj_size": 3},
        "bidirectional with projection": {"proj_size": 3, "bidirectional": True},
    }
    relu: dict[str, dict[str, Any]] = {"of relu": {"nonlinearity": "relu"}}
    for kind, extra in ((nn.RNN, relu), (nn.GRU, {}), (nn.LSTM, more)):
        for said, options in (plain | extra).items():
            for packed in (False, True):
                name = f"{kind.__name__} {said}{' packed' if packed else ''}".replace("  ", " ")
                ZOO[name] = Graph(RECURRENT, partial(_recurrent, kind, packed, **options))


_add_recurrent()


@graph(RECURRENT)
def cells_unrolled() -> Made:
    lstm, gru, plain = nn.LSTMCell(4, 4), nn.GRUCell(4, 4), nn.RNNCell(4, 4)
    h = c = torch.zeros(3, 4)
    for x in torch.randn(6, 3, 4):
        h, c = lstm(x, (h, c))
        h = plain(x, gru(h, h))
    return total([h, c]), nn.ModuleList([lstm, gru, plain])


@graph(RECURRENT)
def packed_and_padded_again() -> tuple[Any, ...]:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.recur = nn.Embedding(9, 4, padding_idx=0), nn.LSTM(4, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            packed = rnn.pack_padded_sequence(self.table(tokens), torch.tensor([5, 3, 1]))
            out, (h, _) = self.recur(packed)
            return rnn.pad_packed_sequence(out)[0].sum(0) + h[0]

    return run(Net(), torch.randint(1, 9, (5, 3)))


@graph(RECURRENT)
def truncated_backpropagation() -> Made:
    model, h = nn.GRU(3, 3), torch.zeros(1, 2, 3)
    for x in torch.randn(4, 5, 2, 3):
        out, h = model(x, h.detach())
    return out.square().mean(), model


TRANSFORMERS = "transformers"


def _encoder(mode: str, **options: Any) -> tuple[Any, ...]:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)
    model = nn.TransformerEncoder(layer, 2).train(mode == "train")
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 3:] = True
    return run(model, torch.randn(3, 6, 16), src_key_padding_mask=padding)


def _transformer(mode: str, causal: bool) -> tuple[Any, ...]:
    model = nn.Transformer(16, 2, 2, 2, 32, dropout=0.3).train(mode == "train")
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    options = {"tgt_mask": mask, "tgt_is_causal": True} if causal else {}
    return run(model, torch.randn(5, 2, 16), torch.randn(4, 2, 16), **options)


def _attention(weights: bool, average: bool, mode: str) -> tuple[Any, ...]:
    model = nn.MultiheadAttention(
        8, 2, dropout=0.2, kdim=5, vdim=6, add_bias_kv=True, add_zero_attn=True
    )
    q, k, v = torch.randn(4, 2, 8), torch.randn(3, 2, 5), torch.randn(3, 2, 6)
    options = {"need_weights": weights, "average_attn_weights": average}
    return run(model.train(mode == "train"), q, k, v, **options)


def _add_transformers() -> None:
    for mode in ("train", "eval"):
        for first in (False, True):
            name = f"encoder{', norm first' if first else ''}, {mode}"
            ZOO[name] = Graph(TRANSFORMERS, partial(_encoder, mode, norm_first=first))
        for causal in (False, True):
            name = f"nn.Transformer{', causal' if causal else ''}, {mode}"
            ZOO[name] = Graph(TRANSFORMERS, partial(_transformer, mode, causal))
        for weights, average in ((False, True), (True, True), (True, False)):
            name = f"MultiheadAttention, weights {weights}, averaged {average}, {mode}"
            ZOO[name] = Graph(TRANSFORMERS, partial(_attention, weights, average, mode))


_add_transformers()


def _scaled(backend: SDPBackend) -> Made:
    """What torch chooses itself is among its own samples."""
    q, k, v = leaf(2, 2, 4, 8), leaf(2, 2, 4, 8), leaf(2, 2, 4, 8)
    mask = torch.tensor([[True, False, True, True]] * 4)
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.square().mean(), {"q": q, "k": k, "v": v}


for _backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
    _key = f"scaled_dot_product_attention, {_backend.name.lower()}"
    ZOO[_key] = Graph("attention kernels, forced", partial(_scaled, _backend))


@graph(TRANSFORMERS)
def a_small_gpt() -> tuple[Any, ...]:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(16), nn.RMSNorm(16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU("tanh"), nn.Linear(64, 16))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.first(x)).view(2, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).flatten(2))
            return x + self.mlp(self.second(x))

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(11, 16), nn.Embedding(8, 16)
            self.blocks, self.head = nn.ModuleList(Block() for _ in range(3)), nn.Linear(16, 11)
            self.head.weight = self.tokens.weight  # tied

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.tokens(tokens) + self.places(torch.arange(8))
            for block in self.blocks:
                x = block(x)
            return F.cross_entropy(self.head(x).flatten(0, 1), tokens.roll(-1, 1).flatten())

    return run(Gpt(), torch.randint(11, (2, 8)))


@graph(TRANSFORMERS)
def mixture_of_experts() -> Made:
    """Each token goes to two experts; one expert gets none."""
    gate, experts = nn.Linear(4, 5), nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
    x = torch.randn(6, 4)
    weights, chosen = gate(x).softmax(-1).topk(2)
    out = torch.zeros_like(x)
    for number, expert in enumerate(experts[:4]):
        token, slot = (chosen == number).nonzero(as_tuple=True)
        out = out.index_add(0, token, expert(x[token]) * weights[token, slot, None])
    return out.square().mean(), nn.ModuleList([gate, *experts])


EMBEDDINGS = "embeddings, dense and sparse"


def _embedding(sparse: bool, **options: Any) -> Made:
    table = nn.Embedding(9, 3, sparse=sparse, **options)
    first, second = table(torch.tensor([1, 4, 1, 0])), table(torch.tensor([0, 4, 8, 1]))
    return (first * second.sin()).sum(), table


def _bag(sparse: bool, mode: str) -> Made:
    table = nn.EmbeddingBag(9, 3, mode=mode, sparse=sparse)
    bags = table(torch.tensor([1, 4, 1, 0, 8]), torch.tensor([0, 2]))
    return bags.square().sum(), table


def _add_embeddings() -> None:
    for sparse in (False, True):
        said = "sparse" if sparse else "dense"
        for mode in ("sum", "mean") if sparse else ("sum", "mean", "max"):
            ZOO[f"EmbeddingBag, {mode}, {said}"] = Graph(EMBEDDINGS, partial(_bag, sparse, mode))
        more: list[dict[str, Any]] = [{"padding_idx": 1}]
        for options in ({}, *more) if sparse else ({}, *more, {"scale_grad_by_freq": True}):
            name = f"Embedding, {said}, {', '.join(options) or 'plain'}"
            ZOO[name] = Graph(EMBEDDINGS, partial(_embedding, sparse, **options))


_add_embeddings()


@graph(EMBEDDINGS)
def sparse_and_dense_meet() -> Made:
    table = nn.Embedding(6, 2, sparse=True)
    return (table(torch.tensor([1, 4])).sum() + table.weight.square().sum()), table


@graph(EMBEDDINGS)
def dense_then_sparse_meet() -> Made:
    table = nn.Embedding(6, 2, sparse=True)
    before = table.weight.square().sum()
    return before + table(torch.tensor([1, 4])).sin().sum() + table.weight.exp().sum(), table


@graph(EMBEDDINGS)
def bags_with_weights() -> Made:
    table, weights = nn.EmbeddingBag(9, 3, mode="sum"), leaf(4)
    bags = table(torch.tensor([[1, 4], [1, 0]]), per_sample_weights=weights.view(2, 2))
    return bags.sin().sum(), {"table": table.weight, "weights": weights}


LOSSES = "losses"


@graph(LOSSES)
def ctc_impossible() -> Made:
    x = leaf(2, 1, 5)
    labels, sizes = torch.tensor([[1, 1, 2]]), (torch.tensor([2]), torch.tensor([3]))
    return F.ctc_loss(x.log_softmax(2), labels, *sizes, zero_infinity=False), {"x": x}


@graph(LOSSES)
def adaptive_softmax() -> Made:
    model, x = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10]), leaf(6, 8)
    out = model(x, torch.tensor([0, 3, 5, 12, 19, 1]))
    return out.loss, {**dict(model.named_parameters()), "x": x}
