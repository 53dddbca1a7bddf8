"""Small pictures on the terminal, and pictures whose data can be read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from mnist_cli.report import insight_figures, run_figures, style
from mnist_cli.report.plots import sparkline
from mnist_cli.training.evaluate import Score
from mnist_cli.training.state import EpochResult


def epoch(number: int, loss: float) -> EpochResult:
    return EpochResult(
        epoch=number,
        step=number,
        loss=loss,
        accuracy=1 - loss,
        val=Score(loss / 2, 1 - loss / 2, 9),
        lr=0.1 / number,
        grad_norm=1.0,
        images_per_second=1.0,
        seconds=1.0,
    )


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([3, 1, 2]) == "█▁▅"
    assert sparkline([5]) == "▁"
    assert sparkline([]) == ""


def test_a_mosaic_keeps_every_tile_whole_and_in_order() -> None:
    tiles = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    sheet = insight_figures.mosaic(tiles, 2)
    assert sheet.shape == (8, 7)
    assert np.array_equal(sheet[3:5, 4:7], tiles[3])
    assert np.nansum(sheet) == tiles.sum()
    assert np.isnan(sheet).sum() == sheet.size - tiles.size


def test_runs_over_each_other_show_each_runs_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(run_figures, "save", lambda figure, *_paths: kept.append(figure))
    runs = {"a": [epoch(1, 0.5), epoch(2, 0.25)], "b": [epoch(1, 0.125)]}
    run_figures.save_overlay(runs, Path("x.png"))
    loss, accuracy, rate = kept[0].axes
    assert [list(line.get_ydata()) for line in loss.lines] == [
        [0.5, 0.25],
        [0.25, 0.125],
        [0.125],
        [0.0625],
    ]
    assert [line.get_linestyle() for line in accuracy.lines] == ["--", "-"] * 2
    assert [list(line.get_ydata()) for line in rate.lines] == [[0.1, 0.05], [0.1]]
    (legend,) = kept[0].legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["a", "b", "validation", "training"]


def test_pictures_have_no_date_and_repeat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure = Figure()
        figure.subplots().plot([1, 2], [3, 4])
        style.save(figure, *(tmp_path / f"{name}.{ending}" for ending in ("svg", "pdf", "png")))
    for ending in ("svg", "pdf", "png"):
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert one == two
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
