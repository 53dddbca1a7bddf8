"""A replay shown node by node: with keys in a terminal, else as plain text."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_cli.autograd.graph import GradGraph
from mnist_cli.report.console import speaks_unicode, stdout
from mnist_cli.report.steps import Glyphs, find_step, step_lines

if TYPE_CHECKING:
    from mnist_cli.autograd.replayed import ReplayStep

HELPS = (
    "n next · b back · g go to a node, module or parameter · PgUp, PgDn · ? keys · q quit",
    "n next · b back · g go to · PgUp, PgDn · ? keys · q quit",
    "n next · b back · ? keys · q quit",
    "n b g ? q",
)
"""The help line; the longest that fits the window is shown."""

KEYS = (
    "n, Space, Enter, right   next step",
    "b, p, left               previous step",
    "g, /, :                  go to a number, node, module or parameter",
    "Home, End                first step, last step",
    "PgUp, PgDn               scroll a step that is larger than the window",
    "?                        these keys",
    "q, Esc                   quit",
)
"""What ``?`` shows."""

PAGE = 5
"""Lines that PgUp and PgDn move a step that is larger than the window."""

_KEYS = {
    **dict.fromkeys(["n", " ", "\r", "\n", "j", "\x1b[C", "\x1b[B", "\x1bOC", "\x1bOB"], "next"),
    **dict.fromkeys(["b", "p", "k", "\x7f", "\x1b[D", "\x1b[A", "\x1bOD", "\x1bOA"], "back"),
    **dict.fromkeys(["g", "/", ":"], "go"),
    **dict.fromkeys(["\x1b[6~", "]"], "down"),
    **dict.fromkeys(["\x1b[5~", "["], "up"),
    **dict.fromkeys(["0", "\x1b[H", "\x1b[1~", "\x1bOH"], "first"),
    **dict.fromkeys(["G", "\x1b[F", "\x1b[4~", "\x1bOF"], "last"),
    **dict.fromkeys(["?", "h"], "keys"),
    **dict.fromkeys(["q", "Q", "\x04", "\x1b"], "quit"),
}


@dataclass
class Stepper:
    """The position of the reader. Knows keys and lines, not terminals.

    ``top`` is the first line shown of a step that is larger than the window. While ``helping``,
    the keys are shown in place of the step.
    """

    graph: GradGraph
    steps: Sequence[ReplayStep]
    index: int = 0
    top: int = 0
    message: str = ""
    prompt: str | None = None
    done: bool = False
    helping: bool = False

    def press(self, key: str) -> None:
        """React to one key; an empty one does nothing. While a place is typed, keys are its letters.

        Raises:
            KeyboardInterrupt: Ctrl-C, which a terminal in raw mode does not send as a signal.
        """
        if not key:
            return
        if self.prompt is not None:
            self._type(key)
            return
        if key == "\x03":
            raise KeyboardInterrupt
        self.message = ""
        action = _KEYS.get(key, "")
        if self.helping and action != "quit":
            self.helping = False
            return
        last = len(self.steps) - 1
        if action == "next":
            self._go(self.index + 1, "this is the last step")
        elif action == "back":
            self._go(self.index - 1, "this is the first step")
        elif action in {"first", "last"}:
            self._go(0 if action == "first" else last)
        elif action == "go":
            self.prompt = ""
        elif action in {"up", "down"}:
            self.top = max(self.top + (PAGE if action == "down" else -PAGE), 0)
        elif action == "keys":
            self.helping = True
        elif action == "quit":
            self.done, self.helping = not self.helping, False

    def _go(self, index: int, beyond: str = "") -> None:
        """Go to a step; beyond either end, stay and show a message."""
        self.index = min(max(index, 0), len(self.steps) - 1)
        self.message = beyond if index != self.index else ""
        self.top = 0

    def _type(self, key: str) -> None:
        assert self.prompt is not None
        if key in {"\r", "\n"}:
            found = find_step(self.steps, self.graph, self.prompt)
            missing = f"no step '{self.prompt}'" if self.prompt.strip() else ""
            self.prompt = None
            self._go(self.index if found is None else found)
            self.message = missing if found is None else ""
        elif key in {"\x1b", "\x03", "\x04"}:
            self.prompt = None
        elif key in {"\x7f", "\b"}:
            self.prompt = self.prompt[:-1]
        elif key.isprintable():
            self.prompt += key

    def screen(self, glyphs: Glyphs, width: int, height: int) -> list[str]:
        """At most ``height`` lines of at most ``width`` characters: the step, a message, the keys.

        The last two lines are always there. A step that does not fit is cut, with a line that
        says so; PgDn shows its rest.
        """
        whole: Sequence[str] = (*KEYS, "", "any key goes back")
        if not self.helping:
            whole = step_lines(self.steps[self.index], self.graph, len(self.steps), glyphs)
        body = [part for line in whole for part in _wrapped(line, width)]
        room = max(height - 3, 1)
        if len(body) > room:
            room = max(room - 1, 1)
            self.top = min(self.top, len(body) - room)
            left = len(body) - room - self.top
            more = f"{glyphs.ellipsis} {left} more lines: PgDn" if left else "PgUp: the lines above"
            body = [*body[self.top : self.top + room], more]
        below = f"go to: {self.prompt}_" if self.prompt is not None else self.message
        return [line[:width] for line in (*body, "", below, self._help(glyphs, width))][-height:]

    def _help(self, glyphs: Glyphs, width: int) -> str:
        fitting = next((text for text in HELPS if len(text) <= width), HELPS[-1])
        return fitting.replace("·", glyphs.between)


def step_through(graph: GradGraph, steps: Sequence[ReplayStep]) -> None:
    """Show the steps: by keys if stdin and stdout are a terminal, else all in a row.

    Raises:
        KeyboardInterrupt: Ctrl-C; the terminal has been restored.
    """
    console = stdout()
    glyphs = Glyphs() if speaks_unicode(console) else Glyphs.ascii()
    keys = sys.platform != "win32" and sys.stdin and sys.stdin.isatty()
    if not console.is_terminal or console.is_dumb_terminal or not keys:
        for step in steps:
            sys.stdout.write("\n".join(step_lines(step, graph, len(steps), glyphs)) + "\n\n")
        return
    stepper = Stepper(graph, steps)

    with console.screen(hide_cursor=True), _posix_keys() as read:
        while not stepper.done:
            _draw(stepper, glyphs)
            stepper.press(read())


def _draw(stepper: Stepper, glyphs: Glyphs) -> None:
    size = os.get_terminal_size(sys.stdout.fileno())
    lines = stepper.screen(glyphs, max(size.columns - 1, 1), max(size.lines, 1))
    sys.stdout.write("\x1b[H\x1b[2J" + "\r\n".join(lines))
    sys.stdout.flush()


def _wrapped(line: str, width: int) -> list[str]:
    """A line in pieces that fit; those after the first are indented as a step's details."""
    return textwrap.wrap(line, width, subsequent_indent=" " * min(11, width // 3)) or [""]


@contextlib.contextmanager
def _posix_keys() -> Iterator[Callable[[], str]]:
    """Read keys one by one, without echo; the terminal is restored at the end.

    A key is empty if the window changed its size: the screen is to be drawn again.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> str:
        ready, _, _ = select.select([descriptor, signalled], [], [])
        if signalled in ready:
            os.read(signalled, 1024)
            return ""
        key = os.read(descriptor, 1)
        while key and _unfinished(key) and select.select([descriptor], [], [], 0.05)[0]:
            key += os.read(descriptor, 1)
        return key.decode(errors="replace") or "\x04"

    with _signalling() as signalled:
        try:
            tty.setraw(descriptor)
            yield read
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signalling() -> Iterator[int]:
    """A pipe that becomes readable after a signal, such as a change of the window's size.

    A wait for keys alone never ends if a signal comes just before it: Python's handler runs only
    after the wait. The handler of a resize does nothing: it could interrupt another drawing.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    handler = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGWINCH, handler)
        os.close(readable)
        os.close(writable)


def _unfinished(key: bytes) -> bool:
    """Whether more bytes belong to this key: an escape sequence or a letter beyond ASCII."""
    if key.startswith(b"\x1b"):
        return key in {b"\x1b", b"\x1b[", b"\x1bO"} or (key[2:].isdigit() and key[-1:] != b"~")
    try:
        key.decode()
    except UnicodeDecodeError:
        return len(key) < 4
    return False
