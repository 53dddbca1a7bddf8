"""The lines of Python that read an exported file and compute probabilities. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.exporting.formats import Format, Input


@dataclass(frozen=True)
class Network:
    """What weights alone need to be read.

    Attributes:
        name: as :func:`mnist_cli.networks.registry.build` takes it.
        classes: number of classes.
        members: number of networks that vote.
        mean: of the training's normalisation, a fraction of 255.
        std: as ``mean``.
    """

    name: str
    classes: int
    members: int
    mean: float
    std: float


def reading_lines(path: Path, chosen: Format, taken: Input, network: Network) -> Sequence[str]:
    """Lines that read the file, and give ``probabilities`` of black images."""
    name, count = repr(str(path)), taken.batch or 1
    if chosen.name == "onnx":
        return (
            "import numpy, onnxruntime",
            f"session = onnxruntime.InferenceSession({name})",
            f"images = numpy.zeros(({count}, 1, 28, 28), numpy.{taken.dtype})",
            'probabilities = session.run(None, {"images": images})[0]',
        )
    if chosen.name == "torch":
        return (
            "import torch",
            f"network = torch.export.load({name}).module()",
            f"images = torch.zeros({count}, 1, 28, 28, dtype=torch.{taken.dtype})",
            "probabilities = network(images)",
        )
    return _for_weights(name, network)


def _for_weights(name: str, network: Network) -> Sequence[str]:
    build = f"registry.build({str(network.name)!r}, {network.classes})"
    images = f"images = (torch.zeros(1, 1, 28, 28) / 255 - {network.mean}) / {network.std}"
    first = (
        "import torch",
        "from safetensors.torch import load_file",
        "from mnist_cli.networks import registry",
    )
    if network.members == 1:
        return (
            *first,
            f"network = {build}.eval()",
            f"network.load_state_dict(load_file({name}))",
            images,
            "probabilities = network(images).softmax(1)",
        )
    return (
        *first,
        f"networks = torch.nn.ModuleList({build} for _ in range({network.members})).eval()",
        f"networks.load_state_dict(load_file({name}))",
        images,
        "probabilities = sum(one(images).softmax(1) for one in networks) / len(networks)",
    )
