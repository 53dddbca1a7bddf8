"""What is said and drawn of epochs: as wide as the terminal, and with data that can be read back."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from epochs import epoch
from matplotlib.figure import Figure
from rich.console import Console

from mnist_cli.errors import Caution
from mnist_cli.report import figures, training
from mnist_cli.runs.results import Score

AS_TOLD = {"accuracy": 0.9, "grad_norm": 1.5, "images_per_second": 12345.6, "seconds": 1.25}
HISTORY = [epoch(n, 1 / n, val=Score(2 / n, 0.8, 100), **AS_TOLD) for n in (1, 2, 3)]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_an_epochs_line_fits_the_terminal(width: int) -> None:
    whole = training.epoch_line(HISTORY[0], 3)
    line = training.epoch_line(HISTORY[0], 3, width)
    assert len(line) <= width
    assert set(line.split("  ")) <= set(whole.split("  "))
    assert line.startswith("epoch 1/3")
    assert "val accuracy 80.00%" in line or width < 40


@pytest.mark.parametrize("width", [56, 60, 80, 120])
def test_the_bar_says_what_its_time_is(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = training._bar(screen, 3)
    bar.update(bar.tasks[0].id, completed=1, speed="12,345", loss="0.123", accuracy="98.76%")
    screen.print(bar)
    assert isinstance(screen.file, io.StringIO)
    (line,) = screen.file.getvalue().splitlines()
    assert re.fullmatch(r"epoch 1/3 .* 33% .*[-:0-9]+ left", line)
    assert len(line) <= width


def test_an_epochs_line_shows_everything_where_there_is_room() -> None:
    assert training.epoch_line(HISTORY[1], 3).split("  ") == [
        "epoch 2/3",
        "loss 0.5000",
        "accuracy 90.00%",
        "val loss 1.0000",
        "val accuracy 80.00%",
        "lr 0.05",
        "grad 1.5",
        "12,346 img/s",
        "1.2 s",
    ]
    assert "val" not in training.epoch_line(epoch(1, 1.0, val=None), 3)


def lines_of(figure: Figure) -> list[dict[str, Sequence[float]]]:
    return [
        {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
        for axes in figure.axes
    ]


def test_learning_curves_show_the_history(kept: list[Figure]) -> None:
    rates = [(0.0, 0.1), (1.5, 0.3), (3.0, 0.0)]
    figures.save_learning_curves(HISTORY, Path("curves.png"), rates=rates, title="a run")
    loss, accuracy, rate = lines_of(kept[0])
    assert loss == {"training": [1, 1 / 2, 1 / 3], "validation": [2, 1, 2 / 3]}
    assert accuracy == {"training": [0.9] * 3, "validation": [0.8] * 3}
    assert list(rate.values()) == [[0.1, 0.3, 0.0]]
    assert list(kept[0].axes[2].lines[0].get_xdata()) == [0.0, 1.5, 3.0]
    assert [axes.get_xlabel() for axes in kept[0].axes] == ["epoch", "epoch", "epochs done"]
    assert all(axes.get_ylabel() for axes in kept[0].axes)


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_epochs_are_ticked_in_whole_numbers(kept: list[Figure], epochs: int) -> None:
    """Within a single epoch, the learning rate is ticked in quarters."""
    history = [epoch(number, 1 / number, val=None) for number in range(1, epochs + 1)]
    figures.save_learning_curves(
        history, Path("curves.png"), rates=[(0, 1), (epochs, 0)], title="a run"
    )
    for axes, first in zip(kept[0].axes, (1, 1, 0), strict=True):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        step = 0.25 if (first, epochs) == (0, 1) else 1
        assert all(tick % step == 0 and first <= tick <= epochs for tick in ticks)
    assert "validation" not in lines_of(kept[0])[0]


def test_long_names_above_samples_do_not_overlap(kept: list[Figure]) -> None:
    """As those of Fashion-MNIST."""
    numbers = [(index, index % 2) for index in range(60_000 - 20, 60_000)]
    titles = figures.sample_titles(("Ankle boot", "T-shirt/top"), numbers)
    figures.save_samples(np.zeros((20, 28, 28), np.uint8), titles, Path("grid.png"), title="a set")
    kept[0].draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in kept[0].axes]
    assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))


def test_characters_that_the_font_lacks_give_one_warning(tmp_path: Path) -> None:
    with pytest.warns(
        Caution, match="the font of the pictures lacks 三, 四 and shows boxes"
    ) as warned:
        figures.save_samples(
            np.zeros((1, 2, 2), np.uint8), ["四 三"], tmp_path / "grid.png", title="三"
        )
    assert len(warned) == 1


def test_a_grid_of_samples_shows_each_image_under_its_title(kept: list[Figure]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (13, 28, 28), dtype=np.uint8)
    titles = [f"title {i}" for i in range(13)]
    figures.save_samples(images, titles, Path("grid.png"), title="a set")
    shown = [axes for axes in kept[0].axes if axes.images]
    assert [axes.get_title() for axes in shown] == titles
    for axes, image in zip(shown, images, strict=True):
        assert (np.asarray(axes.images[0].get_array()) == image).all()
