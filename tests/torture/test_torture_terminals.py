"""Terminals of every kind, and none: codes as documented, no escapes in a pipe, one document."""

from __future__ import annotations

import json
import os
import pty
import re
import threading
from pathlib import Path

from tally import Tally
from warm import RUN, Warm, Whole

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
"""Selects a colour; bold and italics are none."""
SETTINGS: dict[str, dict[str, str | None]] = {
    "ASCII only": {"PYTHONIOENCODING": "ascii"},
    "TERM=dumb": {"TERM": "dumb"},
    "NO_COLOR": {"NO_COLOR": "1", "TERM": "xterm-256color"},
    "20 columns": {"COLUMNS": "20", "TERM": "xterm-256color"},
}
COMMANDS: dict[str, tuple[list[str], int]] = {
    "train": (["train", "--config", "smoke", "--epochs", "1", "--dry-run"], 0),
    "eval": (["eval"], 0),
    "inspect-grad": (["inspect-grad", "--expr", "x * y", "--at", "x=2", "--at", "y=3"], 0),
    "data show": (["data", "show", "digits", "-n", "2"], 0),
    "doctor": (["doctor"], 0),
    "a wrong value": (["train", "--epochs", "0"], 2),
    "an unknown flag": (["eval", "--nonsense"], 2),
    "no data": (["data", "path", "mnist", "--data-dir", "nowhere"], 3),
    "no checkpoint": (["eval", "nowhere.pt"], 4),
    "no folder": ([*RUN, "--runs", "/proc/runs"], 5),
}
SHORT = ["doctor", "no checkpoint"]
NO_JSON = {"data show"}


def chosen(tally: Tally) -> list[str]:
    return list(COMMANDS) if tally.full else SHORT


def test_piped(warm: Warm, whole: Whole, tally: Tally) -> None:
    """Piped: no escape bytes, the documented code."""
    for name in chosen(tally):
        words, code = COMMANDS[name]
        for setting, environment in SETTINGS.items():
            if not tally.full and setting != "ASCII only":
                continue
            done = warm.run(*words, folder=whole.folder, environment=environment)
            wrong = "" if done.code == code else f"exit code {done.code}: {done.err}"
            wrong = wrong or "escapes in a pipe" * (ESCAPE in done.out + done.err)
            wrong = wrong or "a traceback" * ("Traceback" in done.err)
            tally.check(not wrong, f"{name}, {setting}: {wrong}")


def test_one_document(warm: Warm, whole: Whole, tally: Tally) -> None:
    """One JSON document on stdout with --json, failures included."""
    for name in chosen(tally):
        words, code = COMMANDS[name]
        if name in NO_JSON:
            continue
        for setting, environment in SETTINGS.items():
            if not tally.full and setting != "20 columns":
                continue
            stdin = None if setting == "TERM=dumb" else os.devnull  # closed in one of them
            options = {"environment": environment, "stdin": stdin}
            done = warm.run(*words, "--json", folder=whole.folder, **options)
            wrong = "" if done.code == code else f"exit code {done.code}: {done.err}"
            wrong = wrong or not_one_document(done.out, code)
            tally.check(not wrong, f"{name}, {setting}: {wrong}")


def not_one_document(text: str, code: int) -> str:
    try:
        document = json.loads(text)
    except ValueError as error:
        return f"{error}: {text[:200]!r}"
    failed = document.get("error", {}) if isinstance(document, dict) else {}
    return "" if failed.get("code", 0) == code else f"{failed} where {code} was due"


def test_on_a_terminal(warm: Warm, whole: Whole, tally: Tally) -> None:
    """A terminal: dumb, without colour, of 20 columns, ASCII only."""
    for name in chosen(tally):
        words, code = COMMANDS[name]
        for setting, environment in SETTINGS.items():
            if not tally.full and setting != "TERM=dumb":
                continue
            shown, ended, err = on_a_terminal(warm, words, whole.folder, environment)
            wrong = "" if ended == code else f"exit code {ended}: {shown} {err}"
            wrong = wrong or "a traceback" * ("Traceback" in shown + err)
            if setting == "TERM=dumb":
                wrong = wrong or "escapes" * (ESCAPE in shown)
            if setting == "NO_COLOR":
                wrong = wrong or "colours" * bool(COLOUR.search(shown))
            tally.check(not wrong, f"{name}, {setting}: {wrong}")


def on_a_terminal(
    warm: Warm, words: list[str], folder: Path, environment: dict[str, str | None]
) -> tuple[str, int, str]:
    """What a terminal was shown, the exit code, and stderr."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(ours, shown))
    reader.start()
    process = warm.start(*words, folder=folder, environment=environment, stdout=os.ttyname(theirs))
    done = process.wait()
    os.close(theirs)
    reader.join(timeout=10)
    os.close(ours)
    return b"".join(shown).decode(errors="replace"), done.code, done.err


def read_all(descriptor: int, into: list[bytes]) -> None:
    try:
        while data := os.read(descriptor, 4096):
            into.append(data)
    except OSError:  # how Linux says that the other end is closed
        return


def test_a_reader_of_one_line(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """| head -1: no failure, no traceback."""
    for name in chosen(tally):
        words, code = COMMANDS[name]
        pipe = tmp_path / f"{name}.pipe"
        os.mkfifo(pipe)
        reader = threading.Thread(target=read_one_line, args=(pipe,))
        reader.start()
        done = warm.run(*words, folder=whole.folder, stdout=str(pipe))
        reader.join(timeout=10)
        wrong = "" if done.code == code else f"exit code {done.code}: {done.err}"
        wrong = wrong or "a traceback" * ("Traceback" in done.err)
        tally.check(not wrong, f"{name}: {wrong}")


def read_one_line(pipe: Path) -> None:
    with pipe.open() as file:
        file.readline()


def test_closed_streams(warm: Warm, whole: Whole, tally: Tally) -> None:
    """Stdin, stdout or stderr closed."""
    for name in chosen(tally):
        words, code = COMMANDS[name]
        for closed in ("stdin", "stdout", "stderr") if tally.full else ("stdin",):
            streams: dict[str, str | None] = {closed: None}
            done = warm.run(*words, folder=whole.folder, **streams)
            wrong = "" if done.code == code else f"exit code {done.code}: {done.err}"
            tally.check(not wrong, f"{name}, {closed} closed: {wrong}")
