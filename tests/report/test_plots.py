"""Small pictures on the terminal, and pictures whose data can be read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from epochs import epoch
from matplotlib.figure import Figure
from rich.console import Console

from mnist_cli.report import (
    datasets,
    figure_style,
    figures,
    plots,
    run_figures,
    themes,
    view_figures,
)
from mnist_cli.report.map_figures import Panel, save_map
from mnist_cli.report.plots import sparkline
from mnist_cli.report.previews import Preview
from mnist_cli.runs.results import Norms, Score, StepRow
from mnist_cli.training.scoring import Evaluation, Mistake

LONG = ("Trouser", "Ankle boot")
LONG_TITLE = "Trouser,\npredicted\nAnkle boot"


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([3, 1, 2]) == "█▁▅"
    assert sparkline([5]) == "▁"
    assert sparkline([]) == ""
    assert sparkline([1, float("nan"), 2]) == "▁ █"
    assert sparkline([float("nan")]) == " "
    assert sparkline([3, 1, 2], "_.-:=+*#") == "#_="


def test_a_sparkline_of_a_long_run_keeps_its_ends() -> None:
    line = sparkline([9, *[0] * 500, 5], most=20)
    assert (len(line), line[0], line[-1]) == (20, "█", "▅")
    assert set(line[1:-1]) == {"▁"}


def test_norms_are_a_line_per_layer_without_zeros(kept: list[Figure]) -> None:
    layers = {
        "conv1": [(1, Norms(1.0, 10.0, 0.1)), (3, Norms(0.5, 10.0, 0.0))],
        "fc": [(1, Norms(2.0, 0.0, 0.1)), (3, Norms(4.0, 8.0, 0.8))],
    }
    run_figures.save_norms(layers, 1e-3, Path("x.png"), title="a run")
    lines = [
        {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
        for axes in kept[0].axes
    ]
    assert lines[0] == {"conv1": [1.0, 0.5], "fc": [2.0, 4.0]}
    np.testing.assert_allclose(lines[1]["conv1"], [0.1, 0.05])
    np.testing.assert_allclose(lines[1]["fc"], [np.nan, 0.5])
    np.testing.assert_allclose(lines[2]["conv1"], [0.01, np.nan])
    np.testing.assert_allclose(lines[2]["fc"], [np.nan, 0.1])
    assert [0.001, 0.001] in lines[2].values()  # the rule of thumb
    assert "0.001" in kept[0].get_supxlabel()
    assert [axes.get_yscale() for axes in kept[0].axes] == ["log"] * 3
    assert list(kept[0].axes[0].lines[0].get_xdata()) == [1, 3]
    (legend,) = kept[0].legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["conv1", "fc"]


def test_a_mosaic_keeps_every_tile_whole_and_in_order() -> None:
    tiles = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    sheet = view_figures.mosaic(tiles, 2)
    assert sheet.shape == (8, 7)
    assert np.array_equal(sheet[3:5, 4:7], tiles[3])
    assert np.nansum(sheet) == tiles.sum()
    assert np.isnan(sheet).sum() == sheet.size - tiles.size


def test_an_overlay_shows_each_runs_values(kept: list[Figure]) -> None:
    runs = {"a": [epoch(1, 0.5), epoch(2, 0.25)], "b": [epoch(1, 0.125)]}
    rates = {"a": [(0.0, 0.1), (2.0, 0.05)], "b": [(0.0, 0.3)]}
    run_figures.save_overlay(runs, rates, Path("x.png"))
    loss, accuracy, rate = kept[0].axes
    assert [list(line.get_ydata()) for line in loss.lines] == [
        [0.5, 0.25],
        [0.25, 0.125],
        [0.125],
        [0.0625],
    ]
    assert [line.get_linestyle() for line in accuracy.lines] == ["--", "-"] * 2
    assert [list(line.get_ydata()) for line in rate.lines] == [[0.1, 0.05], [0.3]]
    (legend,) = kept[0].legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["a", "b", "validation", "training"]


def test_the_steps_are_drawn_and_the_plain_loss_stands_beside_the_smoothed(
    kept: list[Figure],
) -> None:
    steps = [StepRow(1, n, n / 2, 3.0 / n, 2.0 / n, 0.5, 1.0, 0.1) for n in (1, 2)]
    one = replace(epoch(1, 0.5), plain_loss=0.25)
    figures.save_learning_curves(
        [one], Path("x.png"), rates=[(0.0, 0.1)], title="a run", steps=steps
    )
    loss, accuracy, _ = kept[0].axes
    drawn = [[list(line.get_xdata()), list(line.get_ydata())] for line in loss.lines]
    assert drawn[:2] == [[[0.5, 1.0], [2.0, 1.0]], [[1.0], [0.25]]]
    assert drawn[-1] == [[1.0], [0.5]]
    assert list(accuracy.lines[0].get_ydata()) == [0.5, 0.5]


def test_an_overlay_has_the_steps_of_each_run(kept: list[Figure]) -> None:
    steps = {"a": [StepRow(1, n, n / 2, 3.0 / n, 2.0 / n, 0.5, 1.0, 0.1) for n in (1, 2)]}
    runs, rates = {"a": [epoch(1, 0.5)]}, {"a": [(0.0, 0.1), (1.0, 0.1)]}
    run_figures.save_overlay(runs, rates, Path("x.png"), steps=steps)
    assert np.asarray(kept[0].axes[0].lines[0].get_xydata()).tolist() == [[0.5, 2.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("augmented", "plain", "note"),
    [
        (False, 0.5, "training mode"),  # the recipe smooths nothing: nothing is left out either
        (True, 0.25, "training mode, on augmented images, without label smoothing"),
        (False, None, "training mode, with the recipe's label smoothing"),
    ],
)
def test_the_note_says_what_the_recipe_does(
    kept: list[Figure], augmented: bool, plain: float | None, note: str
) -> None:
    one = replace(epoch(1, 0.5), plain_loss=plain)
    figures.save_learning_curves([one], rates=[(0, 1)], title="a run", augmented=augmented)
    run_figures.save_overlay({"a": [one]}, {"a": [(0, 1)]}, augmented=augmented)
    assert [figure.get_supxlabel().endswith(note) for figure in kept] == [True, True]


def test_a_single_epoch_has_large_markers_of_two_kinds(kept: list[Figure]) -> None:
    """It has no line, so its markers are larger, and inside the axes."""
    history = {count: [epoch(number, 0.5) for number in range(1, count + 1)] for count in (1, 2)}
    for one in history.values():
        figures.save_learning_curves(one, Path("x.png"), rates=[(0.0, 0.1)], title="a run")
    run_figures.save_overlay({"a": history[1]}, {"a": [(0.0, 0.1)]}, Path("x.png"))
    norms = {"fc": [(1, Norms(1.0, 10.0, 0.1))]}
    run_figures.save_norms(norms, 1e-3, Path("x.png"), title="a run")
    single, several, overlay, layers = (figure.axes[0].lines for figure in kept)
    assert min(line.get_markersize() for line in [*single, *overlay, *layers]) > 1.5 * max(
        line.get_markersize() for line in several
    )
    assert [line.get_marker() for line in single] == ["o", "s"]
    inside = [line.get_markerfacecolor() for line in overlay]
    assert inside == [themes.LIGHT.paper, overlay[1].get_color()]
    low, high = kept[0].axes[0].get_ylim()
    assert low == 0
    assert high > 1.05 * 0.5


def test_the_bars_of_the_classes_are_explained(kept: list[Figure]) -> None:
    chances = np.asarray([0.1, 0.7, 0.2], dtype=np.float32)
    image = np.zeros((28, 28), np.uint8)
    view_figures.save_activations(image, [], chances, "abc", Path("x.png"), title="it")
    bars = kept[0].axes[1]
    legend = bars.get_legend()
    assert legend is not None
    meaning = {
        patch.get_facecolor(): text.get_text()
        for patch, text in zip(legend.get_patches(), legend.get_texts(), strict=True)
    }
    told = [meaning[bar.get_facecolor()] for bar in bars.patches]
    assert [text == "the predicted class" for text in told] == [False, True, False]


def test_pictures_have_no_date_and_repeat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure = Figure()
        figure.subplots().plot([1, 2], [3, 4])
        figure_style.save(
            figure, *(tmp_path / f"{name}.{ending}" for ending in ("svg", "pdf", "png"))
        )
    for ending in ("svg", "pdf", "png"):
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert one == two
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def evaluation(count: int) -> Evaluation:
    confusion = np.eye(count, dtype=int) * 9
    confusion[0, 1] = 2
    rows = tuple(tuple(row) for row in confusion.tolist())
    return Evaluation(Score(0.1, 0.9, 9 * count + 2), (), rows, 0.0, ())


@pytest.mark.parametrize(("count", "written"), [(10, 100), (30, 900), (31, 0)])
def test_many_classes_have_no_counts(kept: list[Figure], count: int, written: int) -> None:
    figures.save_confusion(
        evaluation(count), [str(number) for number in range(count)], name="0001-it"
    )
    axes = kept[0].axes[0]
    assert len(axes.texts) == written
    assert [text.get_text() for text in axes.texts[:3]] == ["9", "2", "·"][:written]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title().startswith("Confusion matrix of 0001-it\n")
    assert max(kept[0].get_size_inches()) < 15
    assert axes.images[0].get_array()[0, 1] == 2


@pytest.mark.parametrize(("names", "title"), [("ab", "a, predicted b"), (LONG, LONG_TITLE)])
def test_long_names_have_their_own_lines(
    kept: list[Figure], names: Sequence[str], title: str
) -> None:
    figures.save_mistakes(
        [Mistake(7, 0, 1, 0.9)], np.zeros((1, 28, 28), np.uint8), names, name="a run"
    )
    assert kept[0].get_suptitle().startswith("The 1 most confident mistakes of a run (confidence")
    assert kept[0].axes[0].get_title() == f"{title}\n90% · #7"


class Ascii(Console):
    """A terminal of 80 columns that knows nothing but ASCII."""

    def __init__(self) -> None:
        super().__init__(
            file=io.StringIO(), force_terminal=True, no_color=True, width=80, highlight=False
        )

    @property
    def encoding(self) -> str:
        return "ascii"


def test_on_an_ascii_terminal_pictures_are_ascii(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    console = Ascii()
    for module in (plots, datasets):
        monkeypatch.setattr(module, "stdout", lambda: console)
    preview = Preview(
        "a run",
        images=[np.full((4, 4), 255, np.uint8)],
        captions=["white"],
        curves={"loss": [3.0, 1.0]},
        confusion=([[5, 1], [0, 6]], ["a", "b"]),
        chart=["1  2"],
    )
    plots.print_pictures({"curves": [tmp_path / "curves.png"]}, {}, [preview])
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.isascii()
    assert "loss  #_  3 to 1" in shown
    assert "1  2" in shown
    assert "@@@@" in capsys.readouterr().out


HOSTILE = [f"$x_{{$ {number:02d} Acer pseudoplatanus {number:02d}" for number in range(30)]
HOSTILE[3] = "no text \udcff"


def test_names_are_drawn_as_they_are_however_many_and_odd(tmp_path: Path) -> None:
    """A $ begins no formula, and bytes that are no text stop nothing."""
    labels = np.arange(30, dtype=np.int64)
    points = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    panel = Panel("it", "x", "y", points, labels)
    save_map([panel], HOSTILE, tmp_path / "e.svg", title="$\\foo_{$")
    figures.save_mistakes(
        [Mistake(7, 0, 3, 0.9)],
        np.zeros((1, 28, 28), np.uint8),
        HOSTILE,
        tmp_path / "m.png",
        name="0008-$\\foo_{$ \udcff",
    )
    assert (tmp_path / "m.png").stat().st_size > 1000
    names = figure_style.short_names(HOSTILE)
    assert len(set(names)) == 30  # cut in the middle: both ends tell them apart
    assert max(map(len, names)) <= figure_style.MOST_LETTERS
    colours = figure_style.class_colours(30)
    assert len(set(colours)) == 30
    assert figure_style.class_colours(10) == list(themes.LIGHT.classes)


def test_curves_of_single_epochs_explain_their_steps(kept: list[Figure]) -> None:
    """Thin lines are named, accuracies stay within 0 to 100%, and the epoch has inner ticks."""
    steps = [StepRow(1, n, n / 4, 3.0 / n, 2.0 / n, n / 4, 1.0, 0.1) for n in (1, 2, 3, 4)]
    rates = [(one.done, one.lr) for one in steps]
    ended = [replace(epoch(1, 0.5), accuracy=0.6, val=Score(0.5, 1.0, 9))]
    figures.save_learning_curves(ended, Path("x.png"), rates=rates, title="a run", steps=steps)
    run_figures.save_overlay({"a": ended}, {"a": rates}, Path("x.png"), steps={"a": steps})
    for figure in kept:
        assert "(thin lines: over a few steps)" in figure.get_supxlabel()
        for axes in figure.axes:
            assert {0.25, 0.5, 0.75} <= set(axes.get_xticks())
        low, high = figure.axes[1].get_ylim()
        assert (low > -0.05, high < 1.05) == (True, True)
        assert figure.axes[1].get_xlim()[1] > 1.02
    (legend,) = kept[1].legends
    assert legend.get_texts()[-1].get_text() == "training, a few steps"
    named = kept[0].axes[0].get_legend()
    assert named is not None
    assert [text.get_text() for text in named.get_texts()][:2] == [
        "training, a few steps",
        "training",
    ]
