"""A classifier as an ONNX model."""

from __future__ import annotations

import os
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

    keep_private()
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


def keep_private() -> None:
    """Switch off the telemetry of onnxruntime, unless the user's environment says otherwise.

    From 1.29 on it writes a device id into the home folder and queues data about the machine. It
    reads its environment when it is imported, so this comes before.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _tidy(model: Any) -> None:
    """Name the batch dimension, and remove the exporter's notes and what has no effect."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for name in _dimensions((*graph.input, *graph.output, *graph.value_info)):
        name.dim_param = name.dim_param.replace(batch, BATCH) if batch else name.dim_param
    drop_allowzero(graph)
    graph.name = "classifier"
    graph.doc_string = ""


def drop_allowzero(graph: Any) -> None:
    """Remove the attribute where no size is 0: onnx2torch refuses it, and it has no effect."""
    from onnx import numpy_helper

    constants = {part.name: part for part in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        if numpy_helper.to_array(constants[node.input[1]]).all():
            kept = [one for one in node.attribute if one.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _dimensions(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from (dim for dim in value.type.tensor_type.shape.dim if dim.dim_param)


def load(encoded: bytes, _classifier: Classifier) -> Answer:
    """The model in onnxruntime, on the CPU, with torch's number of threads."""
    keep_private()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(encoded, settings, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return answer
