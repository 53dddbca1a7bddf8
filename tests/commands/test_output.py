"""Output into pipes, full disks, old encodings and terminals."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from program import TINY, Run, finish, one_thread, start
from systems import needs_posix

from mnist_cli.cli.running import _show_warning
from mnist_cli.errors import Caution
from mnist_cli.report import console

SHARED = [*TINY, "--epochs", "1", "--nproc", "2", "--json"]


@needs_posix
def test_a_reader_who_leaves_early_does_not_fail_several_ranks() -> None:
    process = start(*SHARED, "--quiet")
    process.stdout.close()
    with process.stderr:
        complaints = [line for line in process.stderr if "threads on 1 core" not in line]
    assert (process.wait(120), complaints) == (0, [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_several_ranks_report_a_full_disk_behind_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        done = finish(start(*SHARED, stdout=full))
    assert done.code == 5
    assert "error: cannot write the output: No space left on device" in done.err
    assert "Traceback" not in done.err


@needs_posix
@pytest.mark.parametrize(
    ("words", "code"), [(TINY, 0), ((*TINY, "--lr", 1e30, "--debug"), 6), (("eval", "nope"), 4)]
)
def test_notices_that_cannot_be_written_end_no_command(words: Sequence[object], code: int) -> None:
    """The reader of stderr has gone; or its disk is full."""
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY) if Path("/dev/full").exists() else os.dup(writer)
    for stream in (writer, full):
        done = finish(start(*words, stderr=stream))
        os.close(stream)
        assert (done.code, "test accuracy" in done.out) == (code, code == 0)


def test_a_caution_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A network is tried twice: without the number of classes, and with it."""
    for message in ("net.py is odd", "net.py is odd", "net.py is slow"):
        _show_warning(message, Caution, "trial.py", 9)
    assert capsys.readouterr().err == "warning: net.py is odd\nwarning: net.py is slow\n"


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
