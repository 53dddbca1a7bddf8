"""Terminals of every kind, and none: codes as documented, no escapes in a pipe, one document."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from program import Outcome, wait_until
from readers import PICTURE
from systems import open_terminal
from tally import Tally
from warm import RUN, Warm, Whole, ends_alike

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
"""Selects a colour; bold and italics are none."""
SETTINGS: dict[str, dict[str, str | None]] = {
    "ASCII only": {"PYTHONIOENCODING": "ascii"},
    "TERM=dumb": {"TERM": "dumb"},
    "NO_COLOR": {"NO_COLOR": "1", "TERM": "xterm-256color"},
    "20 columns": {"COLUMNS": "20", "TERM": "xterm-256color"},
}


@dataclass(frozen=True)
class Case:
    """A command, the exit code that it should have, and its faults."""

    words: list[str]
    code: int = 0
    faults: list[list[Any]] = field(default_factory=list)

    def run(self, warm: Warm, *more: str, **options: Any) -> Outcome:
        return warm.run(*self.words, *more, faults=self.faults, **options)

    def wrong(self, code: int, said: str) -> str:
        """What is wrong with its code, or with a traceback where no bug is; "" if nothing is."""
        if code != self.code:
            return f"exit code {code}: {said}"
        return "a traceback" * ("Traceback" in said and code != 1)


SCORES, STEP = "mnist_cli.training.scoring:_scores", "mnist_cli.training.step:Stepper.__call__"
DIVERGING = ["--model", "notebook", "--optimizer", "sgd", "--schedule", "constant", "--lr", "1e30"]
COMMANDS = {
    "help": Case(["--help"]),
    "train": Case(["train", "--config", "smoke", "--epochs", "1", "--dry-run"]),
    "eval": Case(["eval"]),
    "predict": Case(["predict", PICTURE]),
    "plot": Case(["plot", "--only", "filters", "--format", "svg"]),
    "inspect-grad": Case(["inspect-grad", "--expr", "x * y", "--at", "x=2", "--at", "y=3"]),
    "data show": Case(["data", "show", "digits", "-n", "2"]),
    "doctor": Case(["doctor"]),
    "a bug": Case(["eval"], 1, [["fail", SCORES, 1, "ZeroDivisionError"]]),
    "a wrong value": Case(["train", "--epochs", "0"], 2),
    "an unknown flag": Case(["eval", "--nonsense"], 2),
    "an unknown recipe": Case(["bench", "nowhere"], 2),
    "no such device": Case(["eval", "--device", "tpu"], 2),
    "no data": Case(["data", "path", "mnist", "--data-dir", "nowhere"], 3),
    "nothing to verify": Case(["data", "verify", "mnist", "--data-dir", "nowhere"], 3),
    "no mirror": Case(
        ["data", "fetch", "mnist", "--data-dir", "void"], 3, [["mirrors_at", "http://127.0.0.1:9/"]]
    ),
    "no picture": Case(["predict", "nowhere.png"], 3),
    "no checkpoint": Case(["eval", "nowhere.pt"], 4),
    "no folder": Case([*RUN, "--runs", "/proc/runs"], 5),
    "diverges": Case([*RUN, *DIVERGING, "--runs", "diverged"], 6),
    "out of memory": Case(["eval"], 7, [["fail", SCORES, 1, "MemoryError"]]),
    "interrupted": Case(["eval"], 130, [["send", SCORES, 1, [signal.SIGINT]]]),
    "terminated": Case(["eval"], 143, [["send", SCORES, 1, [signal.SIGTERM]]]),
    "training interrupted": Case(
        [*RUN, "--runs", "stopped"], 130, [["send", STEP, 5, [signal.SIGINT]]]
    ),
}
SHORT = ["help", "doctor", "no checkpoint"]
FAILURES = ["a bug", "diverges", "out of memory", "training interrupted"]
NO_JSON = {"help", "data show"}


def test_every_exit_code_is_met() -> None:
    assert {case.code for case in COMMANDS.values()} == {*range(8), 130, 143}


def chosen(tally: Tally) -> dict[str, Case]:
    return COMMANDS if tally.full else {name: COMMANDS[name] for name in SHORT}


Surroundings = tuple[str, Case, str, dict[str, str | None]]


def in_each_setting(tally: Tally, short: str, *more: str) -> Iterator[Surroundings]:
    """Every command and setting; in short, few commands and ``more``, in one setting."""
    settings = SETTINGS if tally.full else {short: SETTINGS[short]}
    cases = chosen(tally) | {name: COMMANDS[name] for name in more}
    for (name, case), (setting, environment) in itertools.product(cases.items(), settings.items()):
        yield name, case, setting, environment


def test_piped(warm: Warm, whole: Whole, tally: Tally) -> None:
    """Piped: no escape bytes, the documented code."""
    for name, case, setting, environment in in_each_setting(tally, "ASCII only"):
        done = case.run(warm, folder=whole.folder, environment=environment)
        wrong = case.wrong(done.code, done.err)
        wrong = wrong or "escapes in a pipe" * (ESCAPE in done.out + done.err)
        tally.check(not wrong, f"{name}, {setting}: {wrong}")


def test_one_document(warm: Warm, whole: Whole, tally: Tally) -> None:
    """One JSON document on stdout with --json, failures included."""
    for name, case, setting, environment in in_each_setting(tally, "20 columns", *FAILURES):
        if name in NO_JSON:
            continue
        stdin = None if setting == "TERM=dumb" else os.devnull  # closed in one of them
        options = {"environment": environment, "stdin": stdin}
        done = case.run(warm, "--json", folder=whole.folder, **options)
        wrong = case.wrong(done.code, done.err) or not_one_document(done.out, case.code)
        tally.check(not wrong, f"{name}, {setting}: {wrong}")


def not_one_document(text: str, code: int) -> str:
    try:
        document = json.loads(text)
    except ValueError as error:
        return f"{error}: {text[:200]!r}"
    parts = document if isinstance(document, list) else [document]  # predict: one a picture
    failed = [part["error"] for part in parts if "error" in part]
    named = all(error["message"] and error["kind"] for error in failed)
    fine = named and {error["code"] for error in failed} == ({code} if code else set())
    return "" if fine else f"{failed} where {code} was due"


def test_on_a_terminal(warm: Warm, whole: Whole, tally: Tally) -> None:
    """A terminal: dumb, without colour, 20 columns wide, ASCII only."""
    for name, case, setting, environment in in_each_setting(tally, "TERM=dumb"):
        shown, ended, err = on_a_terminal(warm, case, whole.folder, environment)
        wrong = case.wrong(ended, shown + err)
        if setting == "TERM=dumb":
            wrong = wrong or "escapes" * (ESCAPE in shown)
        if setting == "NO_COLOR":
            wrong = wrong or "colours" * bool(COLOUR.search(shown))
        tally.check(not wrong, f"{name}, {setting}: {wrong}")


def on_a_terminal(
    warm: Warm, case: Case, folder: Path, environment: dict[str, str | None]
) -> tuple[str, int, str]:
    """What a terminal was shown, the exit code, and stderr."""
    ours, theirs = open_terminal()
    shown: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(ours, shown))
    reader.start()
    terminal = os.ttyname(theirs)
    done = case.run(warm, folder=folder, environment=environment, stdout=terminal)
    os.close(theirs)
    reader.join(timeout=10)
    os.close(ours)
    return b"".join(shown).decode(errors="replace"), done.code, done.err


def read_all(descriptor: int, into: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while data := os.read(descriptor, 4096):
            into.append(data)


def test_a_terminal_that_is_closed(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """The terminal closed in a run: exit code 143, and the run resumes bit for bit."""
    ours, theirs = open_terminal()
    marker = tmp_path / "waits"
    held = ["linger", STEP, 5, str(marker)]
    process = warm.start(*RUN, folder=tmp_path, faults=[held], stdout=os.ttyname(theirs))
    wait_until(marker.exists)
    os.close(ours)
    os.close(theirs)
    process.kill(signal.SIGHUP)
    marker.unlink()
    done = process.wait()
    wrong = "" if done.code == 143 else f"exit code {done.code}: {done.err}"
    wrong = wrong or "a traceback" * ("Traceback" in done.err)
    wrong = wrong or ends_alike(warm, whole, tmp_path)
    tally.check(not wrong, wrong)


def test_a_reader_of_one_line(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """Output piped into `head -1`: no failure, no traceback."""
    for name, case in (chosen(tally) | {"a whole run": Case(RUN)}).items():
        pipe, folder = tmp_path / f"{name}.pipe", tmp_path / name
        os.mkfifo(pipe)
        reader = threading.Thread(target=read_one_line, args=(pipe,))
        reader.start()
        trains = case.words == RUN
        done = case.run(warm, folder=folder if trains else whole.folder, stdout=str(pipe))
        reader.join(timeout=10)
        wrong = case.wrong(done.code, done.err) or (trains and ends_alike(warm, whole, folder))
        tally.check(not wrong, f"{name}: {wrong}")


def read_one_line(pipe: Path) -> None:
    with pipe.open() as file:
        file.readline()


def test_closed_streams(warm: Warm, whole: Whole, tally: Tally) -> None:
    """Stdin, stdout or stderr closed."""
    names = [["stdin"], ["stdout"], ["stderr"], ["stdin", "stdout", "stderr"]]
    for (name, case), closed in itertools.product(chosen(tally).items(), names):
        done = case.run(warm, folder=whole.folder, **dict.fromkeys(closed))
        wrong = case.wrong(done.code, done.err)
        tally.check(not wrong, f"{name}, {closed} closed: {wrong}")
