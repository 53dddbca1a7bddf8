"""What the commonest nodes compute: a formula for each of torch's names.

``grad`` is the incoming gradient. Plain text by name. Imports no torch.
Source of the formulas: torch's ``tools/autograd/derivatives.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "AccumulateGrad": "the end of a path: adds the arriving gradient to the leaf's .grad",
    "Add": "z = x + y: grad goes to both, unchanged (scaled by alpha)",
    "Sub": "z = x - y: grad to x, -grad to y",
    "Mul": "z = x * y: grad * y to x, grad * x to y; so each factor is kept for the other",
    "Div": "z = x / y: grad / y to x, -grad * x / y^2 to y",
    "Neg": "z = -x: -grad",
    "Pow": "z = x ** n: grad * n * x ** (n - 1)",
    "Exp": "z = e^x: grad * z, so the result is kept",
    "Log": "z = ln x: grad / x",
    "Expm1": "z = e^x - 1: grad * (z + 1)",
    "Log2": "z = log2 x: grad / (x ln 2)",
    "Log10": "z = log10 x: grad / (x ln 10)",
    "Log1P": "z = ln (1 + x): grad / (1 + x)",
    "Sqrt": "z = sqrt x: grad / (2 z)",
    "Rsqrt": "z = 1 / sqrt x: -grad * z^3 / 2",
    "Reciprocal": "z = 1 / x: -grad * z^2",
    "Sin": "z = sin x: grad * cos x",
    "Cos": "z = cos x: -grad * sin x",
    "Tan": "z = tan x: grad * (1 + z^2)",
    "Asin": "z = arcsin x: grad / sqrt(1 - x^2)",
    "Acos": "z = arccos x: -grad / sqrt(1 - x^2)",
    "Atan": "z = arctan x: grad / (1 + x^2)",
    "Sinh": "z = sinh x: grad * cosh x",
    "Cosh": "z = cosh x: grad * sinh x",
    "Erf": "z = erf x: grad * 2 / sqrt(pi) * e^(-x^2)",
    "Tanh": "z = tanh x: grad * (1 - z^2)",
    "Sigmoid": "z = sigmoid x: grad * z * (1 - z)",
    "Relu": "z = max(x, 0): grad where z > 0, else 0; a unit that never fires passes nothing",
    "Threshold": "grad where x is above the threshold, else 0",
    "LeakyRelu": "grad where x > 0, else grad times the slope",
    "Gelu": "z = x * Phi(x): grad * (Phi(x) + x * phi(x)), of the normal distribution",
    "Silu": "z = x * s with s = sigmoid x: grad * s * (1 + x * (1 - s))",
    "Softplus": "z = ln (1 + e^x): grad * sigmoid x",
    "Abs": "z = |x|: grad * sign x",
    "Sign": "a step function: 0 everywhere",
    "Floor": "a step function: 0 everywhere",
    "Ceil": "a step function: 0 everywhere",
    "Maximum": "the larger of two: grad to that one, half to each where they are equal",
    "Minimum": "the smaller of two: grad to that one, half to each where they are equal",
    "Max": "the largest entry: grad there, shared evenly where several are",
    "Min": "the smallest entry: grad there, shared evenly where several are",
    "Sum": "z = sum of x: grad, spread over every entry that was summed",
    "Mean": "z = mean of x: grad / n, spread over every entry",
    "Prod": "z = product of x: grad * z / x",
    "Cumsum": "running sums: grad summed from each position to the end",
    "Var": "z = variance of x: grad * 2 (x - mean) / (n - 1)",
    "Std": "z = standard deviation of x: grad * (x - mean) / ((n - 1) z)",
    "Logsumexp": "z = ln of the sum of e^x: grad * softmax x",
    "LinalgVectorNorm": "z = the 2-norm of x: grad * x / z",
    "MseLoss": "the mean of (x - y)^2: grad * 2 (x - y) / n to x, the opposite to y",
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
    "input, over the standard deviation; and the gradients of weight and bias",
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
    """What a node of this name computes; empty if the table does not have it."""
    return MEANINGS.get(_SUFFIX.sub("", name), "")
