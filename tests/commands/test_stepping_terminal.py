"""``inspect-grad --step`` in a real pseudo-terminal: keys, a resize, and the terminal put back."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from subprocess import Popen

import pytest
from program import start
from systems import open_terminal

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

import termios

from mnist_cli.report import stepping

STEP = re.compile(r"step (\d+) of (\d+)")


@dataclass
class Terminal:
    """A window of some size in which the program runs."""

    process: Popen[str]
    side: int
    program_side: int
    before: list[object]
    """Its settings before the program started."""
    seen: str = ""

    def type(self, keys: str) -> None:
        self.seen = ""
        os.write(self.side, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Read until what was drawn since the last key holds the pattern."""
        deadline = time.monotonic() + 120
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.seen!r}"
            if select.select([self.side], [], [], 0.1)[0]:
                self.seen += os.read(self.side, 65536).decode(errors="replace")
        return self.seen

    def resize(self, columns: int, lines: int) -> None:
        self.seen = ""
        termios.tcsetwinsize(self.side, (lines, columns))
        os.kill(self.process.pid, signal.SIGWINCH)

    def end(self) -> int:
        """Read on until the program has ended, as a terminal does; its exit code."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it never ended"
            if select.select([self.side], [], [], 0.05)[0]:
                self.seen += os.read(self.side, 65536).decode(errors="replace")
        return self.process.returncode


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    side, program_side = open_terminal()
    termios.tcsetwinsize(side, (12, 40))
    ends = {"stdin": program_side, "stdout": program_side, "stderr": program_side}
    asked = ("--model", "conv2", "--batch-size", "2", "--precision", "fp32", "--step")
    before = settings(program_side)
    process = start("inspect-grad", *asked, **ends)
    window = Terminal(process, side, program_side, before)
    try:
        yield window
    finally:
        process.kill()
        process.wait()
        os.close(side)
        os.close(program_side)


def settings(program_side: int) -> list[object]:
    return list(termios.tcgetattr(program_side))


def last_screen(text: str) -> list[str]:
    return text.rpartition("\x1b[2J")[2].split("\r\n")


def test_keys_resizing_and_quitting(terminal: Terminal) -> None:
    terminal.wait_for(r"step 1 of \d+[\s\S]*quit")
    assert (
        settings(terminal.program_side) != terminal.before
    )  # keys are read one by one, without echo
    terminal.type("n")
    terminal.wait_for(r"step 2 of \d+[\s\S]*quit")
    terminal.type("gfc1.weight")
    terminal.wait_for(r"go to: fc1\.weight_")
    terminal.type("\r")
    arrived = terminal.wait_for(r"this is the gradient of[\s\S]*quit")
    assert "fc1.weight" in arrived
    terminal.type("gfc1\r")
    small = terminal.wait_for(r"more lines: PgDn[\s\S]*quit")
    assert len(last_screen(small)) <= 12
    terminal.type("\x1b[6~")
    assert "summed to shape" in terminal.wait_for(r"summed to shape[\s\S]*quit")
    terminal.resize(100, 30)
    large = terminal.wait_for(r"step \d+ of[\s\S]*PgUp, PgDn[\s\S]*quit")
    assert "more lines" not in large
    terminal.type("\x1b[F")
    found = STEP.search(terminal.wait_for(r"step \d+ of[\s\S]*quit"))
    assert found is not None
    assert found[1] == found[2]
    terminal.type("q")
    assert terminal.end() == 0
    assert settings(terminal.program_side) == terminal.before


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda terminal: terminal.type("\x03"), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
    ],
    ids=["ctrl-c", "sigterm"],
)
def test_an_interrupted_command_puts_the_terminal_back(
    terminal: Terminal, stop: Callable[[Terminal], None], code: int
) -> None:
    terminal.wait_for(r"step 1 of \d+[\s\S]*quit")
    stop(terminal)
    assert terminal.end() == code
    assert settings(terminal.program_side) == terminal.before


def test_any_signal_ends_the_wait_for_a_key() -> None:
    """A signal that comes just before the wait would otherwise be heard at the next key."""
    before = signal.signal(signal.SIGUSR2, lambda _number, _frame: None)
    try:
        with stepping._signalling() as signalled:
            assert not select.select([signalled], [], [], 0)[0]
            signal.raise_signal(signal.SIGUSR2)
            assert select.select([signalled], [], [], 0)[0]
    finally:
        signal.signal(signal.SIGUSR2, before)
