"""A classifier as a program of torch.export: a .pt2 file, which needs only torch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import cast

import torch

from mnist_cli.exporting.classifier import Answer, Classifier, capture, silence

METADATA = "metadata.json"


def encode(classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
    """The bytes of the program's file, with an extra file ``metadata.json`` in it."""
    program = capture(classifier)
    buffer = io.BytesIO()
    with silence():
        text = json.dumps(dict(metadata), indent=2)
        torch.export.save(program, buffer, extra_files={METADATA: text})
    return buffer.getvalue()


def load(encoded: bytes, _classifier: Classifier) -> Answer:
    """The program, loaded by torch."""
    with silence():
        return cast(Answer, torch.export.load(io.BytesIO(encoded)).module())
