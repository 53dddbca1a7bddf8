"""Which pictures there are: each brings material and figure together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.base.packages import told
from mnist_cli.commands.plotting.material import MISSING, CannotDraw, Material
from mnist_cli.errors import CheckpointError
from mnist_cli.report.plots import Preview

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnist_cli.runs.results import EpochResult

DRAWN_MISTAKES = 32
WITHOUT_NETWORK = frozenset({"curves", "ratios"})
"""Pictures of the run's figures alone, for which a network of the user's own need not be named."""

Paths = Sequence[Path]


@dataclass(frozen=True)
class Outcome:
    """Files by picture, reasons by picture left out, and what to show of them."""

    source: str
    drawn: Mapping[str, list[Path]]
    left_out: Mapping[str, str]
    previews: list[Preview]

    def to_plain(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        files = {name: [str(path) for path in paths] for name, paths in self.drawn.items()}
        return {"source": self.source, "pictures": files, "left_out": dict(self.left_out)}


def draw(
    material: Material,
    names: Sequence[str],
    *,
    required: bool,
    folder: Path,
    endings: Sequence[str],
) -> Outcome:
    """Draw pictures by name; what is not available is left out unless it is ``required``.

    Raises:
        MnistError: a picture that is required is not available, or nothing can be written.
        ImportError: an optional package is missing, without which nothing was drawn.
    """
    from mnist_cli.base.files import check_writable

    if not set(names) <= WITHOUT_NETWORK:
        assert material.checkpoint  # what is wrong with it is said before anything is written
    check_writable(folder)
    drawn: dict[str, list[Path]] = {}
    left_out: dict[str, str] = {}
    previews: list[Preview] = []
    missing: ImportError | None = None
    for name in names:
        paths = [folder / f"{name}.{ending}" for ending in endings]
        try:
            previews.append(DRAW[name](material, paths))
            drawn[name] = paths
        except MISSING as error:
            if required:
                raise
            left_out[name] = f"{error.message}. {error.hint}" if error.hint else error.message
        except ImportError as error:
            if required:
                raise
            left_out[name], missing = told(error), error
    if missing is not None and not drawn:
        raise missing
    return Outcome(str(material.path), drawn, left_out, previews)


def draw_overlay(
    targets: Sequence[Path],
    runs: Path,
    folder: Path,
    endings: Sequence[str],
) -> Outcome:
    """Draw the learning curves of several runs over each other.

    Raises:
        MnistError: one of them cannot be read, or has not ended an epoch.
    """
    from mnist_cli.base.files import check_writable
    from mnist_cli.report.run_figures import save_overlay

    found = [read_curves(target, runs) for target in targets]
    names = [of.name for of in found]
    if len(set(names)) < len(names):
        names = [str(target) for target in targets]
    curves = dict(zip(names, found, strict=True))
    histories = {name: of.history for name, of in curves.items()}
    check_writable(folder)
    paths = [folder / f"curves.{ending}" for ending in endings]
    rates = {name: of.rates for name, of in curves.items()}
    save_overlay(histories, rates, *paths)
    previews = [_curve(name, history) for name, history in histories.items()]
    return Outcome(", ".join(histories), {"curves": paths}, {}, previews)


@dataclass(frozen=True)
class Curves:
    """A run's name and epochs, and the course of its learning rate."""

    name: str
    history: tuple[EpochResult, ...]
    rates: list[tuple[float, float]]


def read_curves(target: Path, runs: Path) -> Curves:
    """The curves of one of several runs."""
    from mnist_cli.commands.plotting.material import Request, open_material

    material = open_material(Request(target, runs, device="cpu"))
    try:
        return Curves(material.name, material.history, material.rates)
    except CannotDraw as error:
        kind = CannotDraw if material.course else CheckpointError  # else another program's
        raise kind(f"{target}: {error.message}", "Leave it out.") from error


# --- the pictures: each writes its files and returns what to show of it


def _curve(name: str, history: Sequence[EpochResult]) -> Preview:
    curves = {"training loss": [one.loss for one in history]}
    judged = [one.val for one in history if one.val]
    if judged:
        curves["validation loss"] = [val.loss for val in judged]
        curves["validation accuracy"] = [val.accuracy for val in judged]
    else:
        curves["training accuracy"] = [one.accuracy for one in history]
    curves["learning rate"] = [one.lr for one in history]
    return Preview(name, curves=curves)


def _curves(material: Material, paths: Paths) -> Preview:
    history = material.history
    from mnist_cli.report.figures import save_learning_curves

    title = f"Learning curves of {material.name}"
    save_learning_curves(history, material.rates, *paths, title=title)
    return _curve("curves", history)


def _ratios(material: Material, paths: Paths) -> Preview:
    from mnist_cli.report.run_figures import save_norms
    from mnist_cli.training.norms import RULE_OF_THUMB

    layers = material.norms
    title = f"What training does to the layers of {material.name}"
    save_norms(layers, RULE_OF_THUMB, *paths, title=title)
    curves = {name: [of.update_to_weight for _, of in points] for name, points in layers.items()}
    return Preview("ratio of update to weight, by layer", curves=curves)


def _filters(material: Material, paths: Paths) -> Preview:
    from mnist_cli.report.insight_figures import save_filters

    convolutions = [layer for layer in material.layers if layer.weight.ndim == 4]
    if not convolutions:
        raise CannotDraw("the network has no convolution")
    save_filters(material.layers, *paths, title=f"What {material.network_name} looks for")
    shown = convolutions[0].weight.detach().float().cpu().numpy()[:7, 0]
    return Preview("filters", [_grey(one, repeat=2) for one in shown])


def _activations(material: Material, paths: Paths) -> Preview:
    from mnist_cli.report.insight_figures import save_activations

    layers = material.activations
    probabilities = material.probabilities.numpy()
    image = material.followed[0].cpu().numpy()
    title = f"{material.caption} on its way through {material.network_name}"
    title = title[0].upper() + title[1:]
    save_activations(
        image, layers, probabilities, material.classes, *paths, title=title, own=material.own
    )
    said = material.classes[int(probabilities.argmax())]
    title = f"{material.caption}: taken for {said}, {probabilities.max():.1%} sure"
    if layers[0].output.ndim != 4:
        return Preview(title)
    maps = layers[0].output[0].float()
    strongest = maps.amax((1, 2)).topk(min(5, len(maps))).indices.sort().values.tolist()
    small = [_bright(maps[number].clamp(min=0).cpu().numpy()) for number in strongest]
    return Preview(title, small, [f"{layers[0].name} {number}" for number in strongest])


def _saliency(material: Material, paths: Paths) -> Preview:
    from mnist_cli.report.insight_figures import save_saliency

    found, image = material.saliency, material.followed[0].cpu().numpy()
    title = f"Saliency of {material.caption}: the gradient of {material.network_name} by its pixels"
    save_saliency(image, found, material.classes, *paths, title=title, own=material.own)
    said, rival = (material.classes[number] for number in (found.predicted, found.rival))
    images = [image, _grey(found.gradient.numpy()), _grey(found.difference.numpy())]
    images = [one[1:-1, 1:-1] for one in images]  # three then fit into 80 columns
    return Preview("saliency", images, ["the image", f"why {said}", f"and not {rival}"])


def _maximised(material: Material, paths: Paths) -> Preview:
    from mnist_cli.insight.pixels import Ascent
    from mnist_cli.report.insight_figures import save_maximised

    found, classes, ascent = material.maximised, material.classes, Ascent()
    title = (
        f"Class maximisation: what {material.network_name} takes for each class "
        f"({ascent.steps} steps uphill, seed {ascent.seed})"
    )
    save_maximised(found, classes, *paths, title=title, own=material.own)
    images = [_small(image) for image in (255 * found.images).numpy()]
    return Preview("maximised", images, list(classes))


def _confusion(material: Material, paths: Paths) -> Preview:
    from mnist_cli.report.figures import save_confusion

    score = material.evaluation.score
    save_confusion(material.evaluation, material.classes, *paths, name=material.name)
    return Preview(
        f"test accuracy {score.accuracy:.2%} of {score.count:,} images",
        confusion=(material.evaluation.confusion, material.classes),
    )


def _mistakes(material: Material, paths: Paths) -> Preview:
    import torch

    from mnist_cli.report.figures import save_mistakes

    worst = material.evaluation.mistakes[:DRAWN_MISTAKES]
    rows = torch.tensor([mistake.index for mistake in worst], dtype=torch.int64)
    images = material.data.test.images.index_select(0, rows).squeeze(1).numpy()
    save_mistakes(worst, images, material.classes, *paths, name=material.name, own=material.own)
    name = material.classes
    captions = [f"{name[one.label]}, taken for {name[one.predicted]}" for one in worst]
    return Preview("mistakes", [_small(image) for image in images[:5]], captions[:5])


def _embedding(material: Material, paths: Paths) -> Preview:
    from mnist_cli.insight import embedding
    from mnist_cli.report.insight_figures import save_embedding

    labels = material.data.test.labels
    components = embedding.principal_components(material.features)
    if components.coordinates.shape[1] < 2 or len(labels) < 5:
        raise CannotDraw("a map takes two features and five images at least")
    chosen = embedding.spread(len(labels), embedding.NEIGHBOURS)
    placed = embedding.neighbour_map(components.coordinates[chosen])
    first, second = components.shares[:2].tolist()
    save_embedding(
        [
            (
                f"PCA of {len(labels):,} images",
                f"first component ({first:.0%} of the variance)",
                f"second component ({second:.0%})",
                components.coordinates[:, :2].numpy(),
                labels.numpy(),
            ),
            (
                f"t-SNE of {len(chosen):,} images (seed 0)",
                "no unit: only who is near whom",
                "",
                placed,
                labels[chosen].numpy(),
            ),
        ],
        material.classes,
        *paths,
        title=f"The test set as {material.network_name} describes it: "
        f"the {material.features.shape[1]} figures before its last layer",
    )
    names = [str(number % 10) for number in range(len(material.classes))]
    chart = embedding.charted(placed, labels[chosen].numpy(), names)
    return Preview(f"t-SNE of {len(chosen):,} test images, by class", chart=chart)


def _grey(values: npt.NDArray[Any], *, repeat: int = 1) -> npt.NDArray[np.uint8]:
    """Figures of both signs as grey: 0 in the middle; each pixel so many times."""
    import numpy as np

    most = float(np.abs(values).max()) or 1.0
    grey = (127.5 + 127.5 * values / most).round().astype(np.uint8)
    return np.kron(grey, np.ones((repeat, repeat), np.uint8))


def _bright(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Figures from 0 on as grey, at half size while that still is larger than a character row."""
    import numpy as np

    grey = (255 * values / (float(values.max()) or 1.0)).round().astype(np.uint8)
    return _small(grey) if len(grey) > 14 else grey


def _small(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An image at half its size: the mean of each four pixels."""
    import numpy as np

    height, width = (size // 2 for size in image.shape)
    fours = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    small: npt.NDArray[np.uint8] = fours.mean(axis=(1, 3)).astype(np.uint8)
    return small


DRAW: Mapping[str, Callable[[Material, Paths], Preview]] = {
    "curves": _curves,
    "ratios": _ratios,
    "filters": _filters,
    "activations": _activations,
    "saliency": _saliency,
    "maximised": _maximised,
    "confusion": _confusion,
    "mistakes": _mistakes,
    "embedding": _embedding,
}
