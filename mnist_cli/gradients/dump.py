"""The dump of one batch's backward pass: walked, recorded and, on request, replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mnist_cli import autograd
from mnist_cli.autograd.diagnosing import Diagnosis
from mnist_cli.autograd.document import plain
from mnist_cli.autograd.graph import GradGraph
from mnist_cli.autograd.inspecting import findings
from mnist_cli.autograd.query import Path, inside
from mnist_cli.autograd.recording import kept_bytes
from mnist_cli.autograd.roots import root_tensor
from mnist_cli.devices.memory import ask_for_room
from mnist_cli.gradients.batch_loss import BatchLoss


@dataclass(frozen=True, eq=False)
class Dump:
    """A recorded graph, the findings about it, and the order of the replay's calls."""

    graph: GradGraph
    findings: tuple[Diagnosis, ...]
    order: tuple[int, ...] | None = None

    def findings_in(self, module: str) -> tuple[Diagnosis, ...]:
        """The findings about one module and all below it; all findings for an empty path."""
        return tuple(one for one in self.findings if inside(one.module, module))


def make_dump(batch: BatchLoss, *, replay: bool = False) -> Dump:
    """Walk and record a batch's loss, with the calls of modules in the forward pass.

    Args:
        batch: the network and its images.
        replay: also call every node by hand, and compare.

    Raises:
        OutOfMemory: the gradients of all nodes do not fit into memory at once.
    """
    with batch.walked(activations=True) as walked:
        if batch.device.type == "cpu":
            ask_for_room((2 if replay else 1) * kept_bytes(walked))
        recording = autograd.record(walked, keep=True)
        loss = root_tensor(walked).item()
        graph = recording.graph.with_context(**batch.context(), loss=loss)
        found = findings(walked, recording)
        if not replay:
            return Dump(graph, found)
        replayed = autograd.replay(walked)
        graph = replace(graph, replay=autograd.judge(replayed, recording))
        return Dump(graph, found, tuple(replayed.order))


def path_document(path: Path) -> dict[str, Any]:
    """The chain to a parameter as plain values."""
    return {
        "parameter": path.parameter,
        "routes": path.routes,
        "steps": [
            {
                "node": step.node.id,
                "name": step.node.name,
                "module": step.node.module,
                "parameter": step.node.parameter,
                "position": step.position,
                "norm": None if step.grad is None else plain(step.grad.norm),
            }
            for step in path.steps
        ],
    }
