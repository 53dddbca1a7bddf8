"""What the commonest nodes compute, in a line each: the formulas behind torch's names.

``grad`` stands for what comes in. Plain text by name; knows neither torch nor graphs.
Source of the formulas: torch's ``tools/autograd/derivatives.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "AccumulateGrad": "the end of a way: adds what arrives to the leaf's .grad",
    "Add": "z = x + y: grad goes to both, unchanged (scaled by alpha)",
    "Sub": "z = x - y: grad to x, -grad to y",
    "Mul": "z = x * y: grad * y to x, grad * x to y; so each factor is kept for the other",
    "Div": "z = x / y: grad / y to x, -grad * x / y^2 to y",
    "Neg": "z = -x: -grad",
    "Pow": "z = x ** n: grad * n * x ** (n - 1)",
    "Exp": "z = e^x: grad * z, so the result is kept",
    "Log": "z = ln x: grad / x",
    "Sqrt": "z = sqrt x: grad / (2 z)",
    "Sin": "z = sin x: grad * cos x",
    "Cos": "z = cos x: -grad * sin x",
    "Tanh": "z = tanh x: grad * (1 - z^2)",
    "Sigmoid": "z = sigmoid x: grad * z * (1 - z)",
    "Relu": "z = max(x, 0): grad where z > 0, else 0; a unit that never fires passes nothing",
    "Threshold": "grad where x is above the threshold, else 0",
    "Abs": "z = |x|: grad * sign x",
    "Sum": "z = sum of x: grad, spread over every entry that was summed",
    "Mean": "z = mean of x: grad / n, spread over every entry",
    "Mm": "z = a @ b: grad @ b^T to a, a^T @ grad to b",
    "Mv": "z = a @ v: outer(grad, v) to a, a^T @ grad to v",
    "Dot": "z = a . b: grad * b to a, grad * a to b",
    "Bmm": "z = a @ b, batch by batch: grad @ b^T to a, a^T @ grad to b",
    "Addmm": "z = bias + x @ W^T, a Linear layer: grad to the bias (summed over the batch on its "
    "way), grad @ W to x, x^T @ grad to W^T",
    "T": "z = x^T: grad^T",
    "Transpose": "swaps two dimensions: grad, swapped back",
    "Permute": "reorders dimensions: grad, in the old order",
    "View": "another shape of the same memory: grad in the old shape",
    "UnsafeView": "another shape: grad in the old shape",
    "ReshapeAlias": "another shape of the same memory: grad in the old shape",
    "Expand": "repeats along new or single dimensions: grad summed over them",
    "Squeeze": "drops dimensions of size 1: grad with them put back",
    "Unsqueeze": "adds a dimension of size 1: grad without it",
    "Select": "takes one index: grad there, zeros elsewhere",
    "Slice": "takes a range: grad there, zeros elsewhere",
    "Index": "gathers by index: grad scattered back, added where an index repeats",
    "Cat": "joins tensors: grad cut into their parts",
    "Stack": "stacks tensors: grad cut into their parts",
    "Split": "cuts a tensor: the parts' gradients joined",
    "Unbind": "takes a tensor apart: the parts' gradients stacked",
    "Clone": "a copy: grad",
    "ToCopy": "another dtype or device: grad, cast or moved back",
    "MaskedFill": "fills where a mask holds: grad with zeros there",
    "Convolution": "a convolution: grad convolved with the turned kernel to the input, input "
    "convolved with grad to the kernel, grad summed over batch and places to the bias",
    "MaxPool2DWithIndices": "the largest of each window: grad goes to the place that was "
    "largest, whose index is kept",
    "AvgPool2D": "the mean of each window: grad / window size to every place in it",
    "NativeBatchNorm": "a batch norm: grad less its mean and its part along the normalised "
    "input, over the deviation; and the gradients of weight and bias",
    "NativeLayerNorm": "a layer norm: as a batch norm, over the features",
    "NativeDropout": "dropout: grad times the same mask, scaled the same",
    "FusedDropout": "dropout: grad times the same mask, scaled the same",
    "LogSoftmax": "z = log softmax x: grad - softmax(x) * sum(grad)",
    "Softmax": "z = softmax x: z * (grad - sum(grad * z))",
    "NllLoss": "minus the log-probability of the label, averaged: -grad / N at each label, 0 "
    "elsewhere",
    "CopySlices": "a view was changed in place: the gradient of the changed part goes through "
    "the operation, the rest passes by",
    "CompiledFunction": "a graph that torch.compile has fused: inspect the uncompiled module",
}

_SUFFIX = re.compile(r"(Backward)?\d*$")


def meaning(name: str) -> str:
    """What a node of this name computes; empty where this table does not say."""
    return MEANINGS.get(_SUFFIX.sub("", name), "")
