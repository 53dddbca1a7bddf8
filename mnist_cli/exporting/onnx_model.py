"""A classifier as an ONNX model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mnist_cli.exporting.classifier import (
    BATCH,
    INPUT,
    OUTPUT,
    Answer,
    Classifier,
    capture,
    silence,
)

OPSET = 18  # of December 2022, which all readers of ONNX support


def encode(classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
    """The bytes of the model's file, with weights and metadata, checked by ONNX's own checker."""
    import onnx

    program = capture(classifier)
    with silence():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        assert exported is not None
        model = exported.model_proto
        _tidy(model)
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
    encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def _tidy(model: Any) -> None:
    """Name the batch dimension, and remove the exporter's notes about each part."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for name in _dimensions((*graph.input, *graph.output, *graph.value_info)):
        name.dim_param = name.dim_param.replace(batch, BATCH)
    graph.name = "classifier"
    graph.doc_string = ""


def _dimensions(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from (dim for dim in value.type.tensor_type.shape.dim if dim.dim_param)


def load(encoded: bytes, _classifier: Classifier) -> Answer:
    """The model in onnxruntime, on the CPU, with torch's number of threads."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(encoded, settings, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return answer
