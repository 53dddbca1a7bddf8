"""Every network of the registry is replayed bit for bit: fp32 and bf16, train and eval mode."""

from __future__ import annotations

import pytest
import torch
from autograd_zoo import same_bits

from mnist_cli.autograd import dumps, judge, loads, record, replay, trace_modules, walk
from mnist_cli.networks.registry import REGISTRY, build, loss


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", REGISTRY)
def test_a_network_is_replayed_bit_for_bit(name: str, precision: str, mode: str) -> None:
    torch.manual_seed(1)
    model = build(name).train(mode == "train")
    images, labels = torch.randn(8, 1, 28, 28), torch.arange(8)
    with (
        trace_modules(model) as modules,
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        value = loss(model(images), labels, log_probabilities=False, smoothing=0.0)
    walked = walk(value, model, modules)
    replayed, recorded = replay(walked), record(walked, keep=True)
    verdict = judge(replayed, recorded)
    assert verdict.exact
    assert all(one.equal for one in verdict.nodes)
    assert len(verdict.parameters) == sum(1 for _ in model.parameters())
    assert loads(dumps(recorded.graph)) == recorded.graph

    value.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert same_bits(replayed.gradients[key], parameter.grad), key
