"""Prints how long the inspection of large graphs takes beside the engine's own backward.

python docs/large_graphs.py [nodes]
"""

from __future__ import annotations

import itertools
import platform
import sys
import time

import torch
from torch import Tensor, nn

from mnist_cli.autograd import judge, record, replay, walk

ROUNDS = 3
STEPS = ("backward", "walk", "record", "record keep=True", "replay", "judge")


def chain(nodes: int) -> Tensor:
    """One operation after the other."""
    x = torch.randn(4, requires_grad=True)
    for _ in range(nodes):
        x = x * 1.0
    return x.sum()


def wide(nodes: int) -> Tensor:
    """All operations on one leaf."""
    x = torch.randn(4, requires_grad=True)
    return torch.stack([x * float(i) for i in range(nodes)]).sum()


def woven(nodes: int) -> Tensor:
    """Two chains, each of which uses the other."""
    a, b = torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)
    for _ in range(nodes // 4):
        a, b = a * 0.5 + b, b * 0.5 + a
    return (a + b).sum()


def resnet() -> tuple[nn.Module, Tensor]:
    """ResNet-50 on two small images."""
    import torchvision

    return torchvision.models.resnet50(weights=None), torch.randn(2, 3, 64, 64)


def vit() -> tuple[nn.Module, Tensor]:
    """ViT-B/16 on one image."""
    import torchvision

    return torchvision.models.vit_b_16(weights=None), torch.randn(1, 3, 224, 224)


class Gpt(nn.Module):
    """A language model of 24 layers and width 64."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 256, 0.0, batch_first=True) for _ in range(24)
        )
        self.head = nn.Linear(64, 100)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, T, 100) of tokens (N, T)."""
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.embed(tokens)
        for layer in self.layers:
            hidden = layer(hidden, mask, is_causal=True)
        logits: Tensor = self.head(hidden)
        return logits


def gpt() -> tuple[nn.Module, Tensor]:
    """The language model on two sequences of 32 tokens."""
    return Gpt(), torch.randint(100, (2, 32))


def measure(loss: Tensor, model: nn.Module | None = None) -> tuple[int, dict[str, float]]:
    """Number of nodes, and the least CPU seconds of each step."""
    best = dict.fromkeys(STEPS, float("inf"))
    for _ in range(ROUNDS):
        clock = [time.process_time()]

        def lap(clock: list[float] = clock) -> None:
            clock.append(time.process_time())

        loss.backward(retain_graph=True)
        lap()
        walked = walk(loss, model)
        lap()
        record(walked)
        lap()
        recorded = record(walked, keep=True)
        lap()
        replayed = replay(walked)
        lap()
        verdict = judge(replayed, recorded)
        lap()
        if not verdict.exact:
            print("not exact:", *verdict.notes, file=sys.stderr)
        for step, (start, end) in zip(STEPS, itertools.pairwise(clock), strict=True):
            best[step] = min(best[step], end - start)
    return len(walked.nodes), best


def row(name: str, nodes: int, best: dict[str, float]) -> str:
    """A line of the table."""
    figures = (f"{best[step] * 1000:,.0f}" for step in STEPS)
    everything = best["walk"] + best["record"] + best["replay"]
    return f"| {name} | {nodes:,} | {' | '.join(figures)} | {everything / best['backward']:.1f} |"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"| graph | nodes | {' | '.join(STEPS)} | all |")
    print("| --- " * (len(STEPS) + 3) + "|")
    for name, loss in (
        ("chain", chain(size // 5)),
        ("chain", chain(size)),
        ("wide", wide(size)),
        ("two chains, woven", woven(size)),
    ):
        print(row(name, *measure(loss)), flush=True)
    for name, make in (("ResNet-50", resnet), ("ViT-B/16", vit), ("GPT, 24 layers", gpt)):
        model, given = make()
        print(row(name, *measure(model(given).sum(), model)), flush=True)
    print(f"\n{platform.system()} {platform.machine()}, torch {torch.__version__}, one thread")


if __name__ == "__main__":
    main()
