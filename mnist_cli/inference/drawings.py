"""Computes what the page of ``mnist draw`` shows about a drawing: from its bytes to plain values.

Pictures are sent as base64: unsigned bytes for grey levels; signed bytes for values around zero,
scaled to the largest.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnist_cli.errors import DataError
from mnist_cli.inference.opened import LIGHT, OpenCheckpoint
from mnist_cli.insight.layers import Layer, trace_layers
from mnist_cli.insight.pixels import NoPixelGradient, saliency
from mnist_cli.vision.fitting import fit
from mnist_cli.vision.form import is_blank, to_form

SIDE = 280
"""Pixels of a drawing's side: ten for each of the network's 28."""
FIRST_LAYERS, MOST_MAPS, MOST_UNITS = 3, 64, 1024


def about(opened: OpenCheckpoint) -> dict[str, Any]:
    """The values that the page gets when it opens."""
    return {
        "model": opened.label,
        "checkpoint": str(opened.path),
        "members": opened.checkpoint.members,
        "classes": list(opened.classes),
        "side": SIDE,
    }


def rehearse(opened: OpenCheckpoint) -> list[str]:
    """Answer a made-up drawing, so that errors occur now and the first answer comes fast.

    Returns:
        What the page cannot show for this network, and why.

    Raises:
        MnistError: as :func:`answer`.
    """
    drawing = np.zeros((SIDE, SIDE), np.uint8)
    drawing[SIDE // 5 : -SIDE // 5, SIDE // 2 : SIDE // 2 + SIDE // 12] = 255
    left_out: list[str] = answer(opened, drawing.tobytes())["left_out"]
    return left_out


def answer(opened: OpenCheckpoint, drawing: bytes) -> dict[str, Any]:
    """The answer to a drawing of :data:`SIDE` × :data:`SIDE` bytes: 0 is paper, 255 is ink.

    Raises:
        DataError: the drawing has another number of bytes.
        NonFiniteError: the network's outputs are not finite.
    """
    if len(drawing) != SIDE**2:
        raise DataError(f"a drawing has {SIDE**2:,} bytes, this has {len(drawing):,}")
    pixels = np.frombuffer(drawing, np.uint8).reshape(SIDE, SIDE)
    levels = pixels.astype(np.float32) / np.float32(255)
    if is_blank(levels):
        return {"blank": True}
    form = _form(opened, levels)
    image = torch.from_numpy(form)[None].to(opened.device)
    probabilities = opened.scorer.probabilities(form[None])[0].tolist()
    left_out: list[str] = []
    return {
        "blank": False,
        "form": _packed(form),
        "ink": _packed(255 - form if opened.ground == LIGHT else form),
        "probabilities": probabilities,
        "saliency": _saliency(opened, image, left_out) if len(probabilities) > 1 else None,
        "layers": _layers(opened, image, left_out),
        "left_out": left_out,
    }


def _form(opened: OpenCheckpoint, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Prepare a drawing (H, W), ink 1 on paper 0, as ``mnist predict`` does: (28, 28)."""
    if opened.ground is None:
        return to_form(levels)
    return fit(255 * (1 - levels if opened.ground == LIGHT else levels))


def _saliency(opened: OpenCheckpoint, image: Tensor, left_out: list[str]) -> dict[str, Any] | None:
    """How more ink at each pixel would change the best score, and its lead over the second."""
    try:
        result = saliency(opened.network, image, opened.normalisation)
    except NoPixelGradient as error:
        left_out.append(f"saliency: {error.message}")
        return None
    sign = -1 if opened.ground == LIGHT else 1  # on light paper, ink reduces brightness
    return {
        "predicted": result.predicted,
        "rival": result.rival,
        "gradient": _signed(sign * result.gradient),
        "difference": _signed(sign * result.difference),
    }


def _layers(opened: OpenCheckpoint, image: Tensor, left_out: list[str]) -> list[dict[str, Any]]:
    """The first layers with maps; or else the hidden layers, with one-pixel maps of their units."""
    layers = trace_layers(opened.network, opened.normalisation(image[None].float()))
    chosen = [one for one in layers if one.output.ndim == 4] or layers[:-1]
    finite = [one for one in chosen if bool(one.output.isfinite().all())]
    if not finite:
        left_out.append(
            "activations: not finite"
            if chosen
            else "activations: the network has no hidden convolution or linear layer"
        )
    return [_layer(one) for one in finite[:FIRST_LAYERS]]


def _layer(layer: Layer) -> dict[str, Any]:
    maps = layer.output[0] if layer.output.ndim == 4 else layer.output[0][:, None, None]
    count, height, width = maps.shape
    return {
        "name": layer.name,
        "operations": layer.operations,
        "count": count,
        "height": height,
        "width": width,
        **_signed(maps[: MOST_MAPS if height > 1 else MOST_UNITS]),
    }


def _signed(values: Tensor) -> dict[str, Any]:
    """Finite values, scaled so that the largest is ±127; and the largest."""
    largest = float(values.abs().max())
    scaled = (127 / (largest or 1.0) * values.float()).round().to(torch.int8)
    return {"values": _packed(scaled.cpu().numpy()), "largest": largest}


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
