"""What to try about a finding, in a sentence or two.

Knows the kinds of findings and the names of nodes, no statistics. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "not-finite": (
        "Look at what this node receives in the forward pass; then try a smaller learning rate, "
        "gradient clipping, or float32 in place of a 16-bit type."
    ),
    "vanishing": (
        "Try normalisation (batch norm, layer norm) or a residual connection around these layers, "
        "and ReLU or GELU in place of sigmoid or tanh. A learned scale that starts near zero, "
        "such as ConvNeXt's, shrinks the gradients only until it grows."
    ),
    "exploding": (
        "Try gradient clipping (torch.nn.utils.clip_grad_norm_), a smaller learning rate, or "
        "initial weights with a smaller variance. A loss that sums over the batch, or targets far "
        "from 1, have large gradients too: use the mean, and scale the targets. With a GradScaler, "
        "inspect the unscaled loss."
    ),
    "saturated": (
        "Its inputs are too large: try initial weights with a smaller variance "
        "(torch.nn.init.xavier_normal_), normalised data, or layer norm before it."
    ),
    "dead-relu": (
        "Try a smaller learning rate, look for a large negative bias, or use LeakyReLU or GELU."
    ),
    "no-gradient": (
        "If it should train, use its module in forward and avoid detach(), .data, .item(), "
        "torch.tensor(), no_grad() and argmax on the way to the loss; otherwise freeze it with "
        "requires_grad_(False)."
    ),
    "zero-gradient": (
        "Look between it and the loss for a dead ReLU, a saturated clamp or softmax, round() or "
        "sign(), a product with zero, a margin that the loss has reached, a softmax over one entry, "
        "or so many layers or steps that the gradient underflows. A layer whose weights start at "
        "zero passes a gradient after the first step."
    ),
    "overwritten": (
        "Use an operation that makes a new tensor, such as y = y + 1 instead of y += 1, or change "
        "a clone(). An optimiser's step changes parameters: run the forward pass again after it."
    ),
    "freed": (
        "Run this part of the forward pass again, add the losses and call backward once, or call "
        "the first backward with retain_graph=True. If a state is carried from step to step, as in "
        "a recurrent network, detach() it after each step."
    ),
}
"""Advice by the kind of the finding."""

PARAMETER = "Parameter"
"""Stands for a parameter in place of an operation."""
DATA = "Data"
"""Stands for a value without a node, such as an input, in place of an operation."""
FOLLOWS = "It follows from the forward pass: look there first."
"""About the backward pass, if the forward pass is not finite."""

NOT_FINITE: Mapping[str, str] = {
    "Sqrt|Rsqrt|LinalgVectorNorm|Norm|Cdist|Hypot": (
        "The slope of a root is infinite at zero: add a small number, such as 1e-8, inside the root."
    ),
    "Log|Log2|Log10|Xlogy|SpecialEntr": (
        "A logarithm needs positive values: use log_softmax, binary_cross_entropy_with_logits or "
        "log1p, or clamp(min=1e-8) before it."
    ),
    "Div|Reciprocal": "Look for a division by zero: add a small number to the divisor.",
    "Exp|Exp2|Expm1|Sinh|Cosh": (
        "exp overflows above 88 in float32: use logsumexp or softmax, which subtract the largest "
        "value, or clamp before it."
    ),
    "Pow": (
        "With an exponent below 1, a power has an infinite slope at zero, and none for negative "
        "values: clamp(min=1e-8) before it. With a large exponent, large values overflow."
    ),
    "Acos|Asin|Atanh|Acosh|Erfinv": (
        "Its slope is infinite at −1 and 1: clamp to slightly inside, or above 1 for acosh."
    ),
    "Logit": "Its slope is infinite at 0 and 1: set eps, such as 1e-6.",
    "(Std|Var)(Mean)?": (
        "The variance of one value is NaN: compute it over several values, or set correction=0."
    ),
    "Mean|NllLoss.*": (
        "The mean over no entries is NaN, as when all labels are ignored: skip such a batch. "
        "Otherwise look at what it receives in the forward pass."
    ),
    "(Cudnn)?CtcLoss": (
        "An input too short for its target has an infinite loss: set zero_infinity=True, or leave "
        "such examples out."
    ),
    "Linalg(Eigh?|Svd)": (
        "Where eigenvalues or singular values are equal, their vectors have no gradient: compute "
        "the values alone (eigvalsh, svdvals), or make them distinct."
    ),
    "Linalg(Det|Slogdet|InvEx|SolveEx|CholeskyEx)": (
        "The matrix may be singular: add a small number, such as 1e-6, to its diagonal."
    ),
    PARAMETER: (
        "Its initial values, a checkpoint or the step before made it so. Unless it is frozen, look at "
        "the gradients and the learning rate of that step."
    ),
    DATA: (
        "Check the inputs, the targets and whatever is computed without gradients, for example "
        "for missing values or a division by a standard deviation of zero."
    ),
    "Where|MaskedFill": (
        "where multiplies the branch not taken by zero, and zero times infinity is NaN: make the "
        "values safe before the operation inside that branch."
    ),
    "Softmax|LogSoftmax|Logsumexp|ScaledDotProduct.*": (
        "A row that is masked completely gives NaN, and so does zero times the logarithm of a "
        "masked entry: mask with torch.finfo(dtype).min in place of −inf."
    ),
}
"""Advice about a value that is not finite, by a pattern of the node's name without ``Backward0``."""


def advice(kind: str, operation: str = "") -> str:
    """What to try; empty for an unknown kind.

    Args:
        kind: of the finding, as in ``Diagnosis.kind``.
        operation: the name of the node that it is about, as ``SqrtBackward0``.
    """
    if kind == "not-finite":
        for pattern, text in NOT_FINITE.items():
            if re.fullmatch(rf"({pattern})(Backward\d*)?", operation):
                return text
    return ADVICE.get(kind, "")
