"""A classifier as a program of torch.export: a .pt2 file, which torch alone runs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import cast

import torch

from mnist_cli.exporting.classifier import Answer, Classifier, capture, silence

METADATA = "metadata.json"


def encode(classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
    """The program as a file's bytes; ``metadata.json`` lies in it as an extra file."""
    program = capture(classifier)
    buffer = io.BytesIO()
    with silence():
        text = json.dumps(dict(metadata), indent=2)
        torch.export.save(program, buffer, extra_files={METADATA: text})
    return buffer.getvalue()


def load(encoded: bytes, _classifier: Classifier) -> Answer:
    """The program as torch runs it."""
    with silence():
        return cast(Answer, torch.export.load(io.BytesIO(encoded)).module())
