"""The pictures of ``mnist bench``: what is drawn is what was measured, with axes that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_cli.benchmark.inference import BatchSummary, InferenceResult, InferenceSummary
from mnist_cli.benchmark.measure import Measurement
from mnist_cli.benchmark.recipes import RecipeResult, summarise
from mnist_cli.benchmark.scaling import Growth, PointSummary, PowerLaw, ScalingResult
from mnist_cli.benchmark.spread import Spread
from mnist_cli.report import bench_figures, figure_style

MACHINE = {
    "date": "2026-11-24",
    "machine": "Abacus",
    "cores": 2,
    "threads": "1",
    "precision": "fp32",
    "dataset": "mnist",
    "torch": "2.14.1",
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, instead of files."""
    figures: list[Figure] = []

    def keep(figure: Figure, _path: Path) -> None:
        figure.canvas.draw()  # ticks are laid out, and labels made
        figures.append(figure)

    monkeypatch.setattr(figure_style, "save", keep)
    return figures


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def ticks(axes: Axes) -> list[str]:
    low, high = axes.get_xlim()
    return [
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= place <= high
    ]


def measured(name: str, *epochs: tuple[float, float]) -> Measurement:
    return Measurement(name, 0, epochs, epochs[-1][0], 9.0, 1.0, epochs[-1][1], 1, 0, {})


def test_every_run_is_a_line_and_every_recipe_a_colour(drawn: list[Figure]) -> None:
    runs = [
        measured("quick", (1.0, 0.992)),
        measured("slow", (5.0, 0.97), (10.0, 0.993)),
        measured("quick", (2.0, 0.985)),
    ]
    bench_figures.save_result(RecipeResult(0.99, MACHINE, [], runs), Path("x.png"))
    (axes,) = drawn[0].axes
    *lines, target = axes.lines
    points = [np.asarray(line.get_xydata()).tolist() for line in lines]
    assert points == [[[1.0, 0.992]], [[2.0, 0.985]], [[5.0, 0.97], [10.0, 0.993]]]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert set(target.get_ydata()) == {0.99}
    assert labels(axes) == ["quick (2)", "slow (1)"]
    assert "seconds" in axes.get_xlabel()
    assert "accuracy" in axes.get_ylabel()
    assert ticks(axes) == ["1", "2", "5", "10"]
    assert "Abacus" in drawn[0].get_supxlabel()
    assert "2026-11-24" in drawn[0].get_supxlabel()


def test_without_a_target_the_errors_of_whole_trainings_are_drawn(drawn: list[Figure]) -> None:
    runs = [
        measured("quick", (1.0, 0.99)),
        measured("slow", (5.0, 0.97), (10.0, 0.996)),
        measured("quick", (3.0, 0.992)),
        measured("worse", (20.0, 0.98)),
    ]
    result = RecipeResult(0.0, MACHINE, summarise(runs, 0.0), runs)
    bench_figures.save_result(result, Path("x.png"))
    (axes,) = drawn[0].axes
    lines = [np.asarray(line.get_xydata()) for line in axes.lines]
    best = next(line for line in axes.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(np.asarray(best.get_xydata()), [[2.0, 0.009], [10.0, 0.004]])
    assert any(np.allclose(line, [[5.0, 0.03], [10.0, 0.004]]) for line in lines)
    *recipes, line = sorted(labels(axes), key=lambda text: "Pareto" in text)
    assert recipes == ["quick (2): 99.10%", "slow (1): 99.60%", "worse (1): 98.00%"]
    assert line.startswith("Pareto line")
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_inference_has_a_line_a_network(drawn: list[Figure]) -> None:
    batches = tuple(
        BatchSummary(size, 1000, Spread(90.0 * size, 100.0 * size, 120.0 * size))
        for size in (1, 10, 100)
    )
    details = {"model": "conv2", "precision": "bf16"}
    one = InferenceSummary("fast", 3, batches, details)
    bench_figures.save_result(InferenceResult(MACHINE, [one]), Path("x.png"))
    (axes,) = drawn[0].axes
    line, *_ = axes.lines
    assert np.asarray(line.get_xydata()).tolist() == [[1, 100], [10, 1000], [100, 10_000]]
    (bars,) = axes.collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[90, 120], [900, 1200], [9000, 12_000]]
    assert labels(axes) == ["fast: conv2, bf16"]
    assert ticks(axes) == ["1", "10", "100"]


def growth(factor: str, values: tuple[float, ...], *, on_device: int = 0) -> Growth:
    points = tuple(
        PointSummary(v, 100, Spread(v, 2 * v, 4 * v), Spread(1, 1, 1), 2**29, on_device)
        for v in values
    )
    return Growth(factor, points, PowerLaw(1.0, 2.0) if len(values) > 1 else None)


def test_each_factor_has_its_seconds_above_its_memory(drawn: list[Figure]) -> None:
    growths = [growth("images", (10, 1000, 60_000)), growth("threads", (1, 2), on_device=2**28)]
    bench_figures.save_result(ScalingResult("fast", MACHINE, growths, []), Path("x.png"))
    above = {axes.get_title(): axes for axes in drawn[0].axes[:2]}
    assert list(above) == ["images", "threads"]
    law, medians, *_ = above["images"].lines
    assert np.asarray(medians.get_xydata()).tolist() == [[10, 20], [1000, 2000], [60e3, 120e3]]
    assert law.get_ydata() == pytest.approx(medians.get_ydata())
    assert labels(above["images"]) == ["least squares:\npower 1.00"]
    assert labels(above["threads"]) == ["through two points:\npower 1.00"]
    images, threads = drawn[0].axes[2:]
    assert [list(line.get_ydata()) for line in images.lines] == [[512.0] * 3]
    assert [list(line.get_ydata()) for line in threads.lines] == [[512.0] * 2, [256.0] * 2]
    assert labels(threads) == ["process", "GPU"]
    assert images.get_ylim()[0] == 0
    assert images.get_ylim()[1] > 512
    assert images.get_ylabel() == "peak memory (MiB)"
    assert ticks(threads) == ["1", "2"]


def test_what_differs_little_looks_little(drawn: list[Figure]) -> None:
    points = tuple(
        PointSummary(v, 100, Spread(s, s, s), Spread(1, 1, 1), 2**29, 0)
        for v, s in ((16, 1.0), (64, 1.02))
    )
    bench_figures.save_result(
        ScalingResult("fast", MACHINE, [Growth("batch", points, None)], []), Path("x.png")
    )
    low, high = drawn[0].axes[0].get_ylim()
    assert high / low == pytest.approx(10)


def test_a_factor_of_one_value_can_be_drawn(drawn: list[Figure]) -> None:
    bench_figures.save_result(
        ScalingResult("fast", MACHINE, [growth("threads", (1,))], []), Path("x.png")
    )
    assert labels(drawn[0].axes[0]) == []
