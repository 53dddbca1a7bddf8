"""The colours of figures: legible on their background, and the same in every figure of a command."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.text import Text

from mnist_cli.autograd.flowing import FlowPoint
from mnist_cli.cli import COMMANDS, build
from mnist_cli.report import figure_style, figures, flow_figure, themes
from mnist_cli.report.themes import DARK, LIGHT, Colours
from mnist_cli.training.scoring import Evaluation, Score


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2: 21 of black on white, 1 of equal colours."""

    def luminance(colour: str) -> float:
        parts = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in colors.to_rgb(colour)
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_legible(theme: Colours) -> None:
    for colour in (theme.ink, theme.quiet, theme.warning):
        assert contrast(colour, theme.paper) >= 4.5


@pytest.mark.parametrize("count", [2, 9, 40])
@pytest.mark.parametrize("dark", [False, True])
def test_lines_are_seen(dark: bool, count: int) -> None:
    with themes.figures(dark=dark):
        now = themes.colours()
        found = figure_style.ordered_colours(count)
        assert len(set(found)) == count
        assert min(contrast(colour, now.paper) for colour in found) >= 2
    if dark:
        assert min(contrast(one, now.paper) for one in (*now.lines, *now.classes)) >= 3


def test_neighbours_in_order_are_told_apart() -> None:
    """Nine layers of conv4: viridis gave neighbours a distance of 0.09 to 0.2 in RGB."""
    values = np.array([colors.to_rgb(one) for one in figure_style.ordered_colours(9)])
    assert np.linalg.norm(np.diff(values, axis=0), axis=1).min() > 0.2


def test_no_figure_keeps_light_colours(kept: list[Figure]) -> None:
    evaluation = Evaluation(Score(0.1, 0.9, 4), (), ((2, 1), (0, 1)), 0.0, ())
    point = FlowPoint("a", 1, 1.0, 1.0, 0.0)
    draw: list[Callable[[], None]] = [
        lambda: figures.save_confusion(evaluation, "ab", name="it"),
        lambda: figures.save_samples(np.zeros((1, 2, 2), np.uint8), ["a"], title="it"),
        lambda: flow_figure.save_gradient_flow([point], title="it"),
    ]
    with themes.figures(dark=True):
        for one in draw:
            one()
    assert themes.colours() is LIGHT
    for figure in kept:
        assert colors.to_hex(figure.get_facecolor()) == DARK.paper
        assert {colors.to_hex(axes.get_facecolor()) for axes in figure.axes} == {DARK.paper}
        shown = [text for text in figure.findobj(Text) if text.get_text()]
        assert shown
        for text in shown:
            colour = colors.to_hex(text.get_color())
            on_mistakes = colour == DARK.paper  # counts on the brightest cells
            assert on_mistakes or contrast(colour, DARK.paper) > 2


def test_every_command_that_draws_has_the_option() -> None:
    drawing = {"train", "sweep", "plot", "eval", "inspect-grad", "bench"}
    having = {
        command.name
        for name in set(COMMANDS) - {"runs", "data", "config"}
        for command in build(name).registered_commands
        if command.callback is not None and "dark" in signature(command.callback).parameters
    }
    assert having == drawing


NAN, INF = float("nan"), float("inf")


def test_the_flow_marks_what_a_logarithmic_axis_cannot_show(kept: list[Figure]) -> None:
    flow = [
        FlowPoint("", 1, 1.0, 1.0, None),  # outside of all modules
        FlowPoint("cut", 0, None, None, None, silent=True),
        FlowPoint("sound", 1, 0.5, 1.0, 2.0),
        FlowPoint("relu", 1, 0.25, 1.0, None),
        FlowPoint("zero", 1, 0.0, 1.0, 1.0),
        FlowPoint("bad", 1, 1.0, 1.0, NAN),
        FlowPoint("worse", 1, INF, 1.0, None),
    ]
    flow_figure.save_gradient_flow(flow, Path("x.png"), title="it")
    (axes,) = kept[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        *("cut", "sound", "relu", "zero", "bad", "worse")
    ]
    places = {str(line.get_label()): list(line.get_xdata()) for line in axes.lines}
    assert places["weights without a gradient"] == [0]
    assert places["zero"] == [3]
    assert places["NaN or infinite"] == [4, 5]
    drawn = {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
    np.testing.assert_array_equal(drawn["arriving from the loss"], [NAN, 0.5, 0.25, NAN, 1, NAN])
    np.testing.assert_array_equal(drawn["of its weights"], [NAN, 2.0, NAN, 1.0, NAN, NAN])
    assert 0 < drawn["zero"][0] < 0.1  # shares of the axes' height
    assert 0.9 < drawn["NaN or infinite"][0] < 1
    low, high = axes.get_ylim()
    assert (axes.get_yscale(), low < 0.25, high > 2.0) == ("log", True, True)
    assert not axes.patches  # bars have no length on a logarithmic axis


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_flow_of_any_number_of_modules_is_a_bounded_picture(
    kept: list[Figure], count: int
) -> None:
    flow = [FlowPoint(f"stage{n}.block.conv", 1, 1.0, 1.0, 10.0**-n) for n in range(count)]
    flow_figure.save_gradient_flow(flow, title="it")
    assert max(kept[0].get_size_inches()) <= flow_figure.WIDEST
    assert len(kept[0].axes[0].get_xticks()) <= 100
