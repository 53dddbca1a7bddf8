"""What the page of ``mnist draw`` shows of a drawing, from its bytes to plain figures.

Pictures travel as base64: 8 bits a pixel, without a sign for grey levels, with one for figures
around zero, which are shares of the largest.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_cli.commands import provenance
from mnist_cli.errors import DataError, NonFiniteError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from mnist_cli.commands.digit_reader import Reader
    from mnist_cli.insight.layers import Layer

SIDE = 280
"""Pixels of a drawing's side: ten for each of the form's, which are 28."""
FIRST_LAYERS, MOST_MAPS, MOST_UNITS = 3, 64, 1024


@dataclass(frozen=True)
class Looker:
    """Answers drawings: how the network sees one, what it takes it for, and why."""

    reader: Reader

    def about(self) -> dict[str, Any]:
        """What the page is told at its start."""
        checkpoint = self.reader.checkpoint
        return {
            "model": checkpoint.model.label,
            "checkpoint": str(checkpoint.path),
            "members": checkpoint.members,
            "classes": list(self.reader.classes),
            "side": SIDE,
        }

    def rehearse(self) -> None:
        """Answer a made-up drawing, so that what cannot be computed fails now, and the rest is warm.

        Raises:
            MnistError: as :meth:`look`.
        """
        import numpy as np

        drawing = np.zeros((SIDE, SIDE), np.uint8)
        drawing[SIDE // 5 : -SIDE // 5, SIDE // 2 : SIDE // 2 + SIDE // 12] = 255
        self.look(drawing.tobytes())

    def look(self, drawing: bytes) -> dict[str, Any]:
        """The answer to a drawing: :data:`SIDE` rows of as many bytes, 0 is paper and 255 ink.

        Raises:
            DataError: another number of bytes.
            NonFiniteError: the network's answers are not finite.
        """
        import numpy as np

        from mnist_cli.vision.form import is_blank

        if len(drawing) != SIDE**2:
            raise DataError(f"a drawing has {SIDE**2:,} bytes, this has {len(drawing):,}")
        pixels = np.frombuffer(drawing, np.uint8).reshape(SIDE, SIDE)
        levels = pixels.astype(np.float32) / np.float32(255)
        return {"blank": True} if is_blank(levels) else self._answer(self._form(levels))

    @property
    def _on_light(self) -> bool:
        """Whether ink takes brightness away, as in images of the user's own on light paper."""
        return provenance.own_ground(self.reader.checkpoint) == provenance.LIGHT

    def _form(self, levels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """A drawing (H, W), ink 1 on paper 0, as ``mnist predict`` prepares pictures."""
        from mnist_cli.vision.fitting import fit
        from mnist_cli.vision.form import to_form

        if provenance.own_ground(self.reader.checkpoint) is None:
            return to_form(levels)
        return fit(255 * (1 - levels if self._on_light else levels))

    def _answer(self, form: npt.NDArray[np.uint8]) -> dict[str, Any]:
        import torch

        image = torch.from_numpy(form)[None].to(self.reader.device)
        probabilities = self.reader.probabilities(form[None])[0].tolist()
        return {
            "blank": False,
            "form": _packed(form),
            "ink": _packed(255 - form if self._on_light else form),
            "probabilities": probabilities,
            "saliency": self._saliency(image) if len(probabilities) > 1 else None,
            "layers": self._layers(image),
        }

    def _saliency(self, image: Tensor) -> dict[str, Any]:
        """What more ink would do, pixel by pixel, to the score and to its lead."""
        from mnist_cli.insight.pixels import saliency

        found = saliency(self.reader.network, image, self.reader.normalisation)
        sign = -1 if self._on_light else 1  # a gradient is by brightness
        return {
            "predicted": found.predicted,
            "rival": found.rival,
            "gradient": _signed(sign * found.gradient),
            "difference": _signed(sign * found.difference),
        }

    def _layers(self, image: Tensor) -> list[dict[str, Any]]:
        """The first layers: name, operations, shape and what they answer.

        Those that answer with maps; where there is none, the hidden ones, each unit as a map of
        one pixel.
        """
        from mnist_cli.insight.layers import trace_layers

        normalised = self.reader.normalisation(image[None].float())
        layers = trace_layers(self.reader.network, normalised)
        found = [one for one in layers if one.output.ndim == 4] or layers[:-1]
        return [_layer(one) for one in found[:FIRST_LAYERS]]


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


def _signed(figures: Tensor) -> dict[str, Any]:
    """Figures as shares of the largest, -127 to 127, and that one.

    Raises:
        NonFiniteError: some are not finite.
    """
    import torch

    largest = float(figures.abs().max())
    if not largest < float("inf"):
        raise NonFiniteError("what the network computes inside is not finite", "Try another run.")
    shares = (127 / (largest or 1.0) * figures.float()).round().to(torch.int8)
    return {"values": _packed(shares.cpu().numpy()), "largest": largest}


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
