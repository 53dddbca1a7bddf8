"""The plots: each takes its material, writes a figure, and gives a preview for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mnist_cli.base.files import check_writable
from mnist_cli.base.packages import import_failure
from mnist_cli.data.split import Split
from mnist_cli.errors import CheckpointError, DataError, OwnCodeError
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.inference.plot_material import CannotDraw, NetworkViews, RunCurves, mistaken_images
from mnist_cli.insight import embedding
from mnist_cli.insight.pixels import Ascent, NoPixelGradient
from mnist_cli.report import figures, run_figures, view_figures
from mnist_cli.report.map_figures import Panel, save_map
from mnist_cli.report.previews import Preview, bright, grey, half
from mnist_cli.runs.results import EpochResult
from mnist_cli.training.expected_errors import attributed
from mnist_cli.training.norms import RULE_OF_THUMB
from mnist_cli.training.scoring import Evaluation

DRAWN_MISTAKES = 32
NOT_AVAILABLE = (CannotDraw, NoPixelGradient, DataError)
"""Why a plot that was not named is skipped."""

Paths = Sequence[Path]


@dataclass(frozen=True)
class Outcome:
    """What was drawn.

    Attributes:
        source: the checkpoint, or the names of the runs.
        drawn: files by plot.
        left_out: reasons by plot that was skipped.
        previews: for the terminal.
    """

    source: str
    drawn: Mapping[str, list[Path]]
    left_out: Mapping[str, str]
    previews: list[Preview]

    def to_plain(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        files = {name: [str(path) for path in paths] for name, paths in self.drawn.items()}
        return {"source": self.source, "pictures": files, "left_out": dict(self.left_out)}


def draw(
    curves: RunCurves,
    views: NetworkViews | None,
    names: Sequence[str],
    *,
    required: bool,
    folder: Path,
    endings: Sequence[str],
    unasked: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Draw plots by name; skip those that are not available, unless they are ``required``.

    Args:
        curves: the run's epochs.
        views: its network; None if all plots are of :data:`OF_RUN`.
        names: of the plots.
        required: fail if a plot is not available.
        folder: where to write.
        endings: formats of the files.
        unasked: plots that are not drawn, each with the reason.

    Raises:
        MnistError: a plot that is required is not available, or nothing can be written.
        ImportError: an optional package is missing, without which nothing was drawn.
    """
    check_writable(folder)
    drawn: dict[str, list[Path]] = {}
    left_out = dict(unasked)
    previews: list[Preview] = []
    missing: ImportError | None = None
    for name in names:
        paths = [folder / f"{name}.{ending}" for ending in endings]
        try:
            previews.append(_draw_one(name, curves, views, paths))
            drawn[name] = paths
        except NOT_AVAILABLE as error:
            if required:
                raise
            left_out[name] = f"{error.message}. {error.hint}" if error.hint else error.message
        except ImportError as error:
            if required:
                raise
            left_out[name], missing = import_failure(error), error
    if missing is not None and not drawn:
        raise missing
    return Outcome(str(curves.path), drawn, left_out, previews)


def _draw_one(name: str, curves: RunCurves, views: NetworkViews | None, paths: Paths) -> Preview:
    if name in OF_RUN:
        return OF_RUN[name](curves, paths)
    assert views is not None
    if not views.opened.checkpoint.model.is_own:
        return OF_NETWORK[name](views, paths)
    try:
        with attributed("this network", "cannot be drawn", lambda: ""):
            return OF_NETWORK[name](views, paths)
    except OwnCodeError as error:
        raise CannotDraw(error.message, error.hint) from error


def draw_overlay(
    targets: Sequence[Path], runs: Path, folder: Path, endings: Sequence[str]
) -> Outcome:
    """Draw the learning curves of several runs in one figure.

    Raises:
        MnistError: a run cannot be read, or has not finished an epoch.
    """
    found = [_overlaid(target, runs) for target in targets]
    names = [of.name for of in found]
    if len(set(names)) < len(names):
        names = [str(target) for target in targets]
    histories = {name: of.history for name, of in zip(names, found, strict=True)}
    rates = {name: of.rates for name, of in zip(names, found, strict=True)}
    check_writable(folder)
    paths = [folder / f"curves.{ending}" for ending in endings]
    run_figures.save_overlay(
        histories,
        rates,
        *paths,
        steps={name: of.metrics.steps for name, of in zip(names, found, strict=True)},
        augmented=_agreed([of.augmented for of in found]),
    )
    previews = [_curve(name, history) for name, history in histories.items()]
    return Outcome(", ".join(histories), {"curves": paths}, {}, previews)


def _agreed(answers: Sequence[bool | None]) -> bool | None:
    """The answer that all give; None if they differ."""
    return answers[0] if len(set(answers)) == 1 else None


def _overlaid(target: Path, runs: Path) -> RunCurves:
    curves = RunCurves.find(target, runs)
    try:
        assert curves.history
    except CannotDraw as error:
        kind = CannotDraw if curves.course else CheckpointError  # else another program's
        raise kind(f"{target}: {error.message}", "Leave it out.") from error
    return curves


def save_evaluation(
    opened: OpenCheckpoint, split: Split, evaluation: Evaluation, folder: Path
) -> None:
    """Draw ``confusion.png`` and ``mistakes.png`` of an evaluation on a split."""
    classes, name = opened.classes, opened.name
    figures.save_confusion(evaluation, classes, folder / "confusion.png", name=name)
    worst = evaluation.mistakes[:DRAWN_MISTAKES]
    images, own = mistaken_images(split, worst), opened.data.spec.own
    figures.save_mistakes(worst, images, classes, folder / "mistakes.png", name=name, own=own)


# --- of a run


def _curve(name: str, history: Sequence[EpochResult]) -> Preview:
    curves = {"training loss": figures.training(history, "loss")}
    judged = [one.val for one in history if one.val]
    if judged:
        curves["validation loss"] = [val.loss for val in judged]
        curves["validation accuracy"] = [val.accuracy for val in judged]
    else:
        curves["training accuracy"] = [one.accuracy for one in history]
    curves["learning rate"] = [one.lr for one in history]
    return Preview(name, curves=curves)


def _curves(run: RunCurves, paths: Paths) -> Preview:
    history = run.history
    title = f"Learning curves of {run.name}"
    steps = run.metrics.steps
    figures.save_learning_curves(
        history, *paths, rates=run.rates, title=title, steps=steps, augmented=run.augmented
    )
    return _curve("curves", history)


def _ratios(run: RunCurves, paths: Paths) -> Preview:
    layers = run.norms
    title = f"What training does to the layers of {run.name}"
    run_figures.save_norms(layers, RULE_OF_THUMB, *paths, title=title)
    curves = {name: [of.update_to_weight for _, of in points] for name, points in layers.items()}
    return Preview("ratio of update to weight, by layer", curves=curves)


# --- of a network


def _filters(views: NetworkViews, paths: Paths) -> Preview:
    convolutions = [layer for layer in views.layers if layer.weight.ndim == 4]
    if not convolutions:
        raise CannotDraw("the network has no convolution")
    view_figures.save_filters(views.layers, *paths, title=f"Filters of {views.network_name}")
    shown = convolutions[0].weight.detach().float().cpu().numpy()[:7, 0]
    return Preview("filters", [grey(one, repeat=2) for one in shown])


def _activations(views: NetworkViews, paths: Paths) -> Preview:
    layers, probabilities, own = views.activations, views.probabilities, views.opened.on_own_data
    image = views.followed[0].cpu().numpy()
    title = f"{views.caption} on its way through {views.network_name}"
    title = title[0].upper() + title[1:]
    view_figures.save_activations(
        image, layers, probabilities, views.classes, *paths, title=title, own=own
    )
    answer = views.classes[int(probabilities.argmax())]
    title = f"{views.caption}: classified as {answer}, {probabilities.max():.1%} confident"
    if layers[0].output.ndim != 4:
        return Preview(title)
    maps = layers[0].output[0].float()
    strongest = maps.amax((1, 2)).topk(min(5, len(maps))).indices.sort().values.tolist()
    small = [bright(maps[number].clamp(min=0).cpu().numpy()) for number in strongest]
    return Preview(title, small, [f"{layers[0].name} {number}" for number in strongest])


def _saliency(views: NetworkViews, paths: Paths) -> Preview:
    found, image, own = views.saliency, views.followed[0].cpu().numpy(), views.opened.on_own_data
    title = f"Saliency of {views.caption}: the gradient of {views.network_name} by its pixels"
    view_figures.save_saliency(image, found, views.classes, *paths, title=title, own=own)
    answer, rival = (views.classes[number] for number in (found.predicted, found.rival))
    images = [image, grey(found.gradient.numpy()), grey(found.difference.numpy())]
    images = [one[1:-1, 1:-1] for one in images]  # so that three fit into 80 columns
    return Preview("saliency", images, ["the image", f"why {answer}", f"and not {rival}"])


def _maximised(views: NetworkViews, paths: Paths) -> Preview:
    found, classes, ascent = views.maximised, views.classes, Ascent()
    title = (
        f"Class maximisation: the image that {views.network_name} prefers for each class "
        f"({ascent.steps} steps of gradient ascent, seed {ascent.seed})"
    )
    view_figures.save_maximised(found, classes, *paths, title=title, own=views.opened.on_own_data)
    images = [half(image) for image in (255 * found.images).numpy()]
    return Preview("maximised", images, list(classes))


def _confusion(views: NetworkViews, paths: Paths) -> Preview:
    found, classes = views.evaluation, views.classes
    figures.save_confusion(found, classes, *paths, name=views.opened.name)
    return Preview(
        f"test accuracy {found.score.accuracy:.2%} of {found.score.count:,} images",
        confusion=(found.confusion, classes),
    )


def _mistakes(views: NetworkViews, paths: Paths) -> Preview:
    worst, classes = views.evaluation.mistakes[:DRAWN_MISTAKES], views.classes
    images = mistaken_images(views.opened.split("test"), worst)
    name, own = views.opened.name, views.opened.on_own_data
    figures.save_mistakes(worst, images, classes, *paths, name=name, own=own)
    captions = [f"{classes[one.label]}, predicted {classes[one.predicted]}" for one in worst]
    return Preview("mistakes", [half(image) for image in images[:5]], captions[:5])


def _embedding(views: NetworkViews, paths: Paths) -> Preview:
    labels, features = views.opened.split("test").labels, views.features
    components = embedding.principal_components(features)
    if components.coordinates.shape[1] < 2 or len(labels) < 5:
        raise CannotDraw("a map needs at least two features and five images")
    chosen = embedding.spread(len(labels), embedding.NEIGHBOURS)
    placed = embedding.neighbour_map(components.coordinates[chosen])
    first, second = components.shares[:2].tolist()
    pca = Panel(
        f"PCA of {len(labels):,} images",
        f"first component ({first:.0%} of the variance)",
        f"second component ({second:.0%})",
        components.coordinates[:, :2].numpy(),
        labels.numpy(),
    )
    tsne = Panel(
        f"t-SNE of {len(chosen):,} images (seed 0)",
        "no unit: only neighbourhoods have meaning",
        "",
        placed,
        labels[chosen].numpy(),
    )
    save_map(
        [pca, tsne],
        views.classes,
        *paths,
        title=f"The test set as {views.network_name} represents it: "
        f"the {features.shape[1]} inputs of its last layer",
    )
    names = [str(number % 10) for number in range(len(views.classes))]
    chart = embedding.charted(placed, tsne.labels, names)
    return Preview(f"t-SNE of {len(chosen):,} test images, by class", chart=chart)


OF_RUN: Mapping[str, Callable[[RunCurves, Paths], Preview]] = {"curves": _curves, "ratios": _ratios}
"""Plots of a run's epochs, which need no network."""

OF_NETWORK: Mapping[str, Callable[[NetworkViews, Paths], Preview]] = {
    "filters": _filters,
    "activations": _activations,
    "saliency": _saliency,
    "maximised": _maximised,
    "confusion": _confusion,
    "mistakes": _mistakes,
    "embedding": _embedding,
}

USERS: Mapping[str, Set[str]] = {
    "--image": {"activations", "saliency"},
    **dict.fromkeys(("--dataset", "--data-dir"), OF_NETWORK.keys() - {"filters"}),
}
"""By option, the plots that it affects; other options affect all plots of a network."""


def options_without_effect(names: Sequence[str], given: Mapping[str, object]) -> list[str]:
    """The given options, by flag, that none of these plots uses; None means not given."""
    return [
        flag
        for flag, value in given.items()
        if value is not None and USERS.get(flag, OF_NETWORK.keys()).isdisjoint(names)
    ]
