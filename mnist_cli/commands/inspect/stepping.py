"""``inspect-grad --step``: the replay node by node, with keys in a terminal, else as plain text."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_cli.report.console import stdout
from mnist_cli.report.steps import Glyphs, find_step, step_lines

if TYPE_CHECKING:
    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.autograd.replaying import ReplayStep

HELP = "n next · b back · g go to a node, module or parameter · home, end · q quit"
PLAIN_HELP = HELP.replace("·", "|")

_KEYS = {
    **dict.fromkeys(["n", " ", "\r", "\n", "j", "\x1b[C", "\x1b[B"], "next"),
    **dict.fromkeys(["b", "p", "k", "\x7f", "\x1b[D", "\x1b[A"], "back"),
    **dict.fromkeys(["g", "/", ":"], "go"),
    **dict.fromkeys(["0", "\x1b[H", "\x1b[1~"], "first"),
    **dict.fromkeys(["G", "\x1b[F", "\x1b[4~"], "last"),
    **dict.fromkeys(["q", "Q", "\x03", "\x04", "\x1b"], "quit"),
}


@dataclass
class Stepper:
    """Where the reader stands. Knows keys, not terminals."""

    graph: GradGraph
    steps: Sequence[ReplayStep]
    index: int = 0
    message: str = ""
    prompt: str | None = None
    done: bool = False

    def press(self, key: str) -> None:
        """React to one key; while a place is being typed, keys are its letters."""
        if self.prompt is not None:
            self._type(key)
            return
        self.message = ""
        action = _KEYS.get(key, "")
        last = len(self.steps) - 1
        if action == "next":
            self.message = "this is the last step" if self.index == last else ""
            self.index = min(self.index + 1, last)
        elif action == "back":
            self.message = "this is the first step" if self.index == 0 else ""
            self.index = max(self.index - 1, 0)
        elif action == "first":
            self.index = 0
        elif action == "last":
            self.index = last
        elif action == "go":
            self.prompt = ""
        elif action == "quit":
            self.done = True

    def _type(self, key: str) -> None:
        assert self.prompt is not None
        if key in {"\r", "\n"}:
            found = find_step(self.steps, self.graph, self.prompt)
            self.message = f"there is no '{self.prompt}'" if found is None else ""
            self.index = self.index if found is None else found
            self.prompt = None
        elif key in {"\x1b", "\x03", "\x04"}:
            self.prompt = None
        elif key in {"\x7f", "\b"}:
            self.prompt = self.prompt[:-1]
        elif key.isprintable():
            self.prompt += key

    def lines(self, glyphs: Glyphs, help_text: str) -> list[str]:
        """The screen."""
        step = self.steps[self.index]
        below = f"go to: {self.prompt}_" if self.prompt is not None else self.message
        return [*step_lines(step, self.graph, len(self.steps), glyphs), "", below, help_text]


def step_through(graph: GradGraph, steps: Sequence[ReplayStep]) -> None:
    """Show the steps: by keys where stdin and stdout are a terminal, else all in a row."""
    console = stdout()
    unicode = (console.encoding or "").lower().startswith("utf")
    glyphs = Glyphs() if unicode else Glyphs.ascii()
    reader = _key_reader()
    if not console.is_terminal or console.is_dumb_terminal or reader is None:
        for step in steps:
            sys.stdout.write("\n".join(step_lines(step, graph, len(steps), glyphs)) + "\n\n")
        return
    stepper = Stepper(graph, steps)
    with console.screen(hide_cursor=True), reader() as read:
        while not stepper.done:
            _draw(stepper.lines(glyphs, HELP if unicode else PLAIN_HELP))
            stepper.press(read())


def _draw(lines: Sequence[str]) -> None:
    size = os.get_terminal_size()
    room = max(size.lines - 1, 3)
    wide = [part for line in lines for part in _wrapped(line, max(size.columns - 1, 20))]
    shown = wide if len(wide) <= room else [*wide[: room - 2], *wide[-2:]]
    text = "\r\n".join(shown)
    sys.stdout.write(f"\x1b[H\x1b[2J{text}")
    sys.stdout.flush()


def _wrapped(line: str, width: int) -> list[str]:
    """A line in pieces that fit, those after the first indented as a step's details are."""
    return textwrap.wrap(line, width, subsequent_indent=" " * min(11, width // 3)) or [""]


def _key_reader() -> Callable[[], contextlib.AbstractContextManager[Callable[[], str]]] | None:
    """How single keys are read here; None where stdin is no terminal or the system has no way."""
    if not sys.stdin or not sys.stdin.isatty():
        return None
    try:
        import termios  # noqa: F401
    except ImportError:
        return None
    return _posix_keys


@contextlib.contextmanager
def _posix_keys() -> Iterator[Callable[[], str]]:
    """Read keys one by one, without echo; the terminal is put back on leaving."""
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> str:
        key = os.read(descriptor, 1)
        while key and _unfinished(key) and select.select([descriptor], [], [], 0.05)[0]:
            key += os.read(descriptor, 1)
        return key.decode(errors="replace") or "\x04"

    try:
        tty.setraw(descriptor)
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _unfinished(key: bytes) -> bool:
    """Whether more bytes belong to this key: an escape sequence or a letter beyond ASCII."""
    if key.startswith(b"\x1b"):
        return key == b"\x1b" or key == b"\x1b[" or (key[2:].isdigit() and key[-1:] != b"~")
    try:
        key.decode()
    except UnicodeDecodeError:
        return len(key) < 4
    return False
