"""Asserts for tests that all gradients of a loss are finite, and names the first that is not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mnist_cli.autograd.diagnosing import diagnose
from mnist_cli.autograd.problems import not_finite_only, which
from mnist_cli.autograd.recording import record
from mnist_cli.autograd.units import first_not_finite
from mnist_cli.autograd.unwrapping import together
from mnist_cli.autograd.walking import Names, walk


def assert_gradients_finite(loss: Tensor, model: Names | Mapping[str, nn.Module] = None) -> None:
    """Fail if the gradient of any parameter, or of any node on the way, is NaN or infinite.

    For tests. It runs the backward pass and changes nothing: no ``.grad``, buffer or random
    state, and ``loss.backward()`` still works.

    Args:
        loss: a tensor with one entry; its graph has not been freed.
        model: names the parameters: a model, several models by name, or tensors by name.

    Raises:
        AssertionError: one is not finite; it names parameters, and the first node and its module.
        UsageError: the tensor has no graph, the graph was freed, or it has several entries.
    """
    walked = walk(loss, together(model))
    recorded = record(walked)
    bad = [one.name for one in recorded.graph.parameters if one.grad and not one.grad.finite]
    found = not_finite_only(diagnose(recorded.graph, first_bad=first_not_finite(walked)))
    inside = any(
        stats is not None and not stats.finite
        for node in recorded.graph.nodes
        for stats in (*node.grad_in, *node.grad_out)
    )
    if not bad and not inside:
        return
    subject = which(bad) if bad else "all parameters' gradients are finite, but a node's is"
    raise AssertionError(" ".join([f"{subject} not finite.", *(one.message for one in found)]))
