"""Output into pipes, full disks and old encodings; lines and figures as wide as their terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from program import TINY, Run, finish, one_thread, start
from rich.console import Console
from systems import needs_posix

from mnist_cli.report import console, figure_style, figures, training
from mnist_cli.runs.results import EpochResult, Score

SHARED = [*TINY, "--epochs", "1", "--nproc", "2", "--json"]


@needs_posix
def test_a_reader_who_leaves_early_does_not_fail_several_ranks() -> None:
    process = start(*SHARED, "--quiet")
    process.stdout.close()
    assert process.wait(120) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_several_ranks_report_a_full_disk_behind_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        done = finish(start(*SHARED, stdout=full))
    assert done.code == 5
    assert "error: cannot write the output: No space left on device" in done.err
    assert "Traceback" not in done.err


@needs_posix
def test_a_locale_that_only_knows_ascii(tmp_path: Path) -> None:
    """As the interpreter finds it when it starts."""
    environment = one_thread(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    helped = finish(start("--help", environment=environment))
    refused = finish(start("train", "--model", "ä", environment=environment))
    ran = finish(start(*TINY, "--runs", tmp_path / "ü", "--json", environment=environment))
    assert (helped.code, refused.code, ran.code) == (0, 2, 0)
    assert "Usage: mnist" in helped.out
    assert "unknown model 'ä'" in refused.err
    assert ran.document["run"] == str(tmp_path / "ü" / "0001-digits-conv2")


@needs_posix
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "JPY_PARENT_PID": "1"}, False),  # as Jupyter starts commands
    ],
)
def test_colour_that_is_forced_brings_no_bar_into_a_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = run(*TINY, "--epochs", "1")
    assert ("\x1b[1;32mtest accuracy" in outcome.out) is coloured
    assert not re.search(r"\x1b\[\?|\x1b\[\d*[A-K]|\r", outcome.out)  # the cursor stays
    assert "epoch 1/1  loss" in outcome.out


NASTY = "a\x1b]0;title\x07\x1b[31m\x9b2J\u202eb\r"
CONTROLS = {character for character in NASTY if not character.isprintable()}


def test_no_control_character_of_a_name_reaches_the_terminal(run: Run, tmp_path: Path) -> None:
    for words in (["eval", NASTY], ["train", "--model", NASTY], [NASTY]):
        for more in ([], ["--debug"]):
            outcome = run(*words, *more)
            shown = outcome.out + outcome.err
            assert outcome.code in {2, 3, 4}
            assert not set(shown) & CONTROLS
            assert "\\x1b" in shown


def test_tables_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(["name", "value"], [[NASTY, "1"]])
    console.print_facts(NASTY, {NASTY: NASTY})
    console.warn(NASTY)
    shown = capsys.readouterr()
    assert not set(shown.out + shown.err) & CONTROLS


def result(epoch: int, val: Score | None) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        step=epoch * 10,
        loss=1 / epoch,
        accuracy=0.9,
        val=val,
        lr=0.1 / epoch,
        grad_norm=1.5,
        images_per_second=12345.6,
        seconds=1.25,
    )


HISTORY = [result(epoch, Score(2 / epoch, 0.8, 100)) for epoch in (1, 2, 3)]


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
    assert "val" not in training.epoch_line(result(1, None), 3)


def test_messages_break_between_words_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "the file /a/path/that/is/longer/than/the/terminal/is/wide holds [bold]no images[/]"
    console.warn(message)
    assert capsys.readouterr().err == f"warning: {message}\n"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    console.warn(message)
    lines = capsys.readouterr().err.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert " ".join(lines) == f"warning: {message}"
    assert all(len(line) <= 30 or " " not in line for line in lines)


@pytest.mark.parametrize(("no_color", "sign"), [("", "▀"), ("1", "@")])
def test_images_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, no_color: str, sign: str
) -> None:
    for name, value in {
        "TTY_COMPATIBLE": "1",
        "NO_COLOR": no_color,
        "TERM": "xterm-256color",
    }.items():
        monkeypatch.setenv(name, value)
    assert sign in run("data", "show", "digits", "--count", 5).out


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, instead of files."""
    kept: list[Figure] = []
    monkeypatch.setattr(figure_style, "save", lambda figure, _path: kept.append(figure))
    return kept


def lines_of(figure: Figure) -> list[dict[str, Sequence[float]]]:
    return [
        {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
        for axes in figure.axes
    ]


def test_learning_curves_show_the_history(drawn: list[Figure]) -> None:
    rates = [(0.0, 0.1), (1.5, 0.3), (3.0, 0.0)]
    figures.save_learning_curves(HISTORY, Path("curves.png"), rates=rates, title="a run")
    loss, accuracy, rate = lines_of(drawn[0])
    assert loss == {"training": [1, 1 / 2, 1 / 3], "validation": [2, 1, 2 / 3]}
    assert accuracy == {"training": [0.9] * 3, "validation": [0.8] * 3}
    assert list(rate.values()) == [[0.1, 0.3, 0.0]]
    assert list(drawn[0].axes[2].lines[0].get_xdata()) == [0.0, 1.5, 3.0]
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["epoch", "epoch", "epochs done"]
    assert all(axes.get_ylabel() for axes in drawn[0].axes)


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_epochs_are_ticked_in_whole_numbers(drawn: list[Figure], epochs: int) -> None:
    """Within a single epoch, the learning rate is ticked in quarters."""
    history = [result(epoch, None) for epoch in range(1, epochs + 1)]
    figures.save_learning_curves(
        history, Path("curves.png"), rates=[(0, 1), (epochs, 0)], title="a run"
    )
    for axes, first in zip(drawn[0].axes, (1, 1, 0), strict=True):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        step = 0.25 if (first, epochs) == (0, 1) else 1
        assert all(tick % step == 0 and first <= tick <= epochs for tick in ticks)
    assert "validation" not in lines_of(drawn[0])[0]


def test_a_grid_of_samples_shows_each_image_under_its_title(drawn: list[Figure]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (13, 28, 28), dtype=np.uint8)
    titles = [f"title {i}" for i in range(13)]
    figures.save_samples(images, titles, Path("grid.png"), title="a set")
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert [axes.get_title() for axes in shown] == titles
    for axes, image in zip(shown, images, strict=True):
        assert (np.asarray(axes.images[0].get_array()) == image).all()
