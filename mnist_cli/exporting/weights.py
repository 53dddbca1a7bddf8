"""Weights as safetensors: tensors and metadata, and nothing that could run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mnist_cli.exporting.classifier import Answer, Classifier


def encode(classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file of the weights, by their names in the network's state_dict.

    For several networks that vote, names begin with the network's number: ``0.conv1.weight``.
    A tensor with two names is written under each, so that ``load_state_dict`` accepts the file.
    """
    from safetensors.torch import save

    return _in_order(save(_named(classifier), metadata=dict(metadata)))


def load(encoded: bytes, classifier: Classifier) -> Answer:
    """A copy of the classifier with the weights of the file."""
    from safetensors.torch import load as read

    weights = read(encoded)
    several = len(classifier.networks) > 1
    prefix = "networks." if several else "networks.0."
    copied = copy.deepcopy(classifier)
    copied.load_state_dict({f"{prefix}{name}": tensor for name, tensor in weights.items()})
    return copied


def _in_order(encoded: bytes) -> bytes:
    """The same file with its metadata sorted by name: the library writes them in any order.

    A file is the header's length (8 bytes, little-endian), the header (JSON, padded with spaces to
    a multiple of 8), and the tensors' bytes. Source: github.com/huggingface/safetensors, "Format".
    """
    length = int.from_bytes(encoded[:8], "little")
    header = json.loads(encoded[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + encoded[8 + length :]


def _named(classifier: Classifier) -> dict[str, Tensor]:
    networks = classifier.networks if len(classifier.networks) > 1 else classifier.networks[0]
    # A copy of each: the library refuses tensors that share memory, as two names of one or views.
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in networks.state_dict().items()
    }


def second_names(network: nn.Module) -> dict[str, str]:
    """The state_dict's names of parts that have an earlier name too, with that name."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        if (other := first.setdefault(id(tensor), name)) != name:
            found[name] = other
    return found
