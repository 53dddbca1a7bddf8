"""Classifies images: ``mnist.predict``."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_cli.api import markup
from mnist_cli.api.checkpoint_given import check_given, normalisation_given, open_given
from mnist_cli.api.places import RUNS
from mnist_cli.api.run_folder import RunFolder
from mnist_cli.api.surroundings import briefly, undisturbed
from mnist_cli.config.normalisations import NAMED
from mnist_cli.errors import UsageError
from mnist_cli.inference.certainty import UNSURE, most_likely
from mnist_cli.report.console import percent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    from mnist_cli.api.images_given import Given
    from mnist_cli.inference.scorer import Forms
    from mnist_cli.vision.digits import Digit
    from mnist_cli.vision.pieces import Box
    from mnist_cli.vision.segmenting import LeftOut

MOST_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """A digit, and the probability of each class. A notebook shows it with its image.

    Attributes:
        digit: number of the most likely class; for MNIST, the digit itself.
        name: name of that class.
        probabilities: the probability of each class.
        source: path of the picture, or the place of the array among the arguments.
        image: (28, 28), uint8 or float32 from 0 to 255, as the network got it.
        box: the digit's box in the upright picture, in pixels; None for an array.
        remarks: sentences on parts of the picture that were ignored or changed.
        left_out: ink that is not part of a digit; only with ``segment``.
    """

    digit: int
    name: str
    probabilities: tuple[float, ...]
    source: str
    image: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    classes: tuple[str, ...]
    box: Box | None = None
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(
        cls, one: Given | Digit, probabilities: Sequence[float], classes: tuple[str, ...]
    ) -> Prediction:
        """The prediction for an image, from the probability of each class."""
        digit = max(range(len(probabilities)), key=probabilities.__getitem__)
        source: str = getattr(one, "path", "") or getattr(one, "source", "")
        return cls(
            digit,
            classes[digit],
            tuple(probabilities),
            source,
            one.form,
            classes,
            one.box,
            one.remarks,
            one.left_out,
        )

    @property
    def probability(self) -> float:
        """The probability of the digit."""
        return self.probabilities[self.digit]

    @property
    def unsure(self) -> bool:
        """Whether the digit has a probability below 0.6: most wrong answers do, and few right ones."""
        return self.probability < UNSURE

    @property
    def best(self) -> tuple[int, ...]:
        """The three most likely classes, the most likely first."""
        return most_likely(self.probabilities)

    def to_plain(self) -> dict[str, Any]:
        """As plain values: what ``mnist predict --json`` prints for a digit."""
        plain: dict[str, Any] = {
            "path": self.source,
            "digit": self.digit,
            "class": self.name,
            "probabilities": list(self.probabilities),
            "unsure": self.unsure,
            "box": None if self.box is None else vars(self.box),
        }
        if self.remarks:
            plain["remarks"] = list(self.remarks)
        if self.left_out:
            plain["left_out"] = [
                {"box": vars(part.box), "why": part.why, "pieces": part.pieces}
                for part in self.left_out
            ]
        return plain

    def line(self) -> str:
        """The three most likely classes with their probabilities, as text."""
        likely = (f"{self.classes[one]} {percent(self.probabilities[one])}" for one in self.best)
        return ", ".join(likely) + (" (unsure)" if self.unsure else "")

    def __repr__(self) -> str:
        return markup.lines_of(f"Prediction: {self.name}, of {self.source}", self.line())

    def _repr_html_(self) -> str:
        return Predictions([self])._repr_html_()


class Predictions(list[Prediction]):
    """A list of :class:`Prediction` that a terminal shows in three lines, and a notebook as a table."""

    def __repr__(self) -> str:
        if not self:
            return "0 predictions"
        unsure = sum(one.unsure for one in self)
        first = f"{self[0].source}: {self[0].line()}"
        names = ", ".join(one.name for one in self[:MOST_SHOWN])
        more = ", …" if len(self) > MOST_SHOWN else ""
        return markup.lines_of(
            f"{len(self):,} prediction{'s' * (len(self) > 1)}: {names}{more}",
            f"first: {first}",
            f"unsure, below {UNSURE:.0%}: {unsure:,}",
        )

    def _repr_html_(self) -> str:
        header = ("image", "digit", "best", "second", "third")
        rows = "".join(_html_row(one) for one in self[:MOST_SHOWN])
        head = markup.table(header, []).partition("<tbody>")[0]
        more = len(self) - MOST_SHOWN
        note = markup.paragraph(f"and {more:,} more") if more > 0 else ""
        return f"{head}<tbody>{rows}</tbody></table>{note}"


def _html_row(one: Prediction) -> str:
    likely = [f"{one.classes[k]} {percent(one.probabilities[k])}" for k in one.best]
    cells = [one.source, one.name, *likely]
    picture = f'<img alt="" width="28" height="28" src="{_picture(one.image)}"> '
    shown = "".join(f"<td>{markup.escaped(cell)}</td>" for cell in cells)
    return "<tr>" + shown.replace("<td>", f"<td>{picture}", 1) + "</tr>"


def _picture(image: npt.NDArray[Any]) -> str:
    """A grey image as the address of a PNG."""
    import numpy as np

    levels = np.rint(image).astype(np.uint8)
    height, width = levels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in levels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


@briefly
def predict(
    images: object,
    model: RunFolder | nn.Module | str | os.PathLike[str] | int | None = None,
    *,
    segment: bool = False,
    network: str | type[nn.Module] | None = None,
    normalise: str | tuple[float, float] | None = None,
    device: str | None = None,
    precision: str | None = None,
    runs: str | os.PathLike[str] = RUNS,
) -> Predictions:
    """Classify images.

    A path and a PIL picture go through the preparation of ``mnist predict``: grey, light on dark,
    the digit scaled to 20 pixels and centred in 28×28. A folder stands for its pictures, a data
    file (CSV, npz, Parquet, IDX) for its rows. An array or a tensor is used unchanged: it is in
    MNIST's form already, 28×28 and light on dark. Whole numbers are levels from 0 to 255;
    floating-point numbers are from 0 to 1, not normalised, since the network does that.

    Args:
        images: one image or several: paths, PIL pictures, numpy arrays or tensors (28, 28),
            (N, 28, 28) or (N, 1, 28, 28), in a list or alone.
        model: a :class:`Run`, the path of a run or a checkpoint, a run's number or name, or any
            ``nn.Module`` as for :func:`mnist_cli.evaluate`; None is the newest run.
        segment: find several digits in each picture, in reading order.
        network: the network's name, if the file does not state it; see :func:`mnist_cli.load`.
        normalise: as for :func:`mnist_cli.evaluate`; MNIST's for a module that states none.
        device: where to compute; None is ``auto``, or where the module is.
        precision: ``fp32``, ``bf16`` or ``fp16``; None is the training's precision, or else fp32.
        runs: folder of the run directories, for numbers and names.

    Returns:
        A list with a :class:`Prediction` for each digit, in the order of the images.

    Raises:
        DataError: pictures that cannot be used, or on which nothing is written.
        UsageError: an argument is wrong, or an array is of another form.
        CheckpointError: no such checkpoint, or it is damaged, hostile or of another network.
        NonFiniteError: the network's outputs are not finite.
        OutOfMemory: the device has too little memory.
    """
    check_given(model, runs)
    with undisturbed():
        from mnist_cli.api.images_given import prepared

        with _opened(
            model,
            runs,
            network=network,
            device=device,
            normalise=normalise,
            precision=precision,
        ) as opened:
            if segment and opened.whole:
                raise UsageError(
                    f"segment finds digits, but {opened.name} was trained on your own data, which "
                    "are not in MNIST's form",
                    "Omit it: pictures are then not cropped, as in training.",
                )
            given = prepared(images, segment=segment, whole=opened.whole)
            if not given:
                return Predictions()
            import numpy as np

            forms: Any = np.stack([one.form for one in given])  # of both types, as float32
            found = opened.probabilities(forms).tolist()
        return Predictions(
            Prediction.of(one, row, opened.classes) for one, row in zip(given, found, strict=True)
        )


@dataclass(frozen=True)
class _Opened:
    """An opened classifier; ``whole`` is true if pictures are not cropped."""

    name: str
    classes: tuple[str, ...]
    whole: bool
    probabilities: Callable[[Forms], Tensor]


@contextmanager
def _opened(
    model: Any,
    runs: str | os.PathLike[str],
    *,
    network: object,
    device: str | None,
    normalise: object,
    precision: str | None,
) -> Iterator[_Opened]:
    from torch import nn

    if not isinstance(model, nn.Module):
        opened = open_given(
            model,
            runs=runs,
            network=network,
            device=device,
            precision=precision,
            normalise=normalise,
        )
        yield _Opened(
            str(opened.path),
            opened.classes,
            opened.whole_pictures,
            lambda forms: opened.scorer.probabilities(forms),  # builds the network: images first
        )
        return
    from mnist_cli.api.evaluating import refuse_for_modules
    from mnist_cli.api.guest import classifier_in, visiting, width_of

    refuse_for_modules(device=device, network=network)
    loaded = classifier_in(model)
    whole = loaded is not None and loaded.whole_pictures
    with visiting(model, normalisation_given(normalise), NAMED["mnist"], precision) as scorer:
        numbers = tuple(map(str, range(width_of(scorer))))
        known = loaded is not None and len(loaded.classes) == len(numbers)
        classes = loaded.classes if loaded is not None and known else numbers
        yield _Opened(scorer.name, classes, whole, scorer.probabilities)
