"""How a CPU rounds, as a fingerprint.

The order of a sum depends on the processor's instructions and on settings such as ``MKL_CBWR``,
``ONEDNN_MAX_CPU_ISA`` and ``torch.backends.mkldnn.enabled``. A processor's name is not enough:
virtual machines hide it.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torch.nn import functional as F


def fingerprint(dtype: torch.dtype) -> str:
    """Twelve hexadecimal digits that change if results of networks on this CPU change.

    They are a hash of a few convolutions, a matrix product and a softmax, which take 2 ms on one
    thread.

    Args:
        dtype: the type that the network computes in, besides float32.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of a sum can depend on their number
    try:
        with torch.no_grad():
            results = *_convolved(torch.float32), *_convolved(dtype)
    finally:
        torch.set_num_threads(threads)
    digest = hashlib.sha256()
    for result in results:
        digest.update(result.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _convolved(dtype: torch.dtype) -> tuple[Tensor, ...]:
    images = _numbers(5, 4, 1, 12, 12).to(dtype).contiguous(memory_format=torch.channels_last)
    first = F.conv2d(images, _numbers(2, 16, 1, 5, 5).to(dtype))
    second = F.conv2d(first, _numbers(3, 16, 16, 3, 3).to(dtype))
    features = second.float().flatten(1)
    return first, second, (features @ _numbers(7, features.shape[1], 16)).softmax(1)


def _numbers(seed: int, *shape: int) -> Tensor:
    """Fixed numbers from -0.5 to 0.5, float32: fractional parts of multiples of a square root."""
    count = torch.arange(math.prod(shape), dtype=torch.float64, device="cpu")
    return (count * math.sqrt(seed)).frac().sub(0.5).float().view(shape)
