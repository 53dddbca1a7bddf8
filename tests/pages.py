"""Pages of Markdown: their commands and Python are run, and what they print is compared.

Two kinds of fenced block are run, in the order of the page; a page's names live on from block to
block, its files in one folder::

    ```console
    $ mnist data path digits
    digits come with the program and have no files; they are …
    ```

    ```pycon
    >>> 1 + 1
    2
    ```

Below a command is its output, stdout and stderr, as in a pipe. ``…`` stands for any text within
its line; alone in a line it stands for any number of lines. It replaces seconds, names of machines,
and digits that another processor computes otherwise. In a line with ``…``, a blank stands for any
number of blanks, because a column is as wide as its figures. A command that should fail says so
after ``console``: ``fails=2``. A block that begins with ``python title="net.py"`` is saved as that
file. Blocks of any other kind are not run.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from program import shell

from mnist_cli import cli

FENCE = re.compile(r'^```(\w*)(?: fails=(\d+)| title="([\w.]+)")?$')
INDENTED = re.compile(r"\s+```(console|pycon)")
PROMPTS = {"console": ("$ ", "> "), "pycon": (">>> ", "... ")}
ANYTHING = "…"


@dataclass(frozen=True)
class Step:
    """One command, statement or file of a page.

    Attributes:
        kind: ``console``, ``pycon`` or ``python``.
        source: what is typed, without prompts; of a file, what it holds.
        output: the lines that the page shows beneath it.
        start: the number of the first of them in the page, from 0.
        code: the exit code that it should have.
        file: the name to save ``source`` under, of a block that has one.
    """

    kind: str
    source: str
    output: list[str]
    start: int
    code: int = 0
    file: str = ""


def steps(page: str) -> Iterator[Step]:
    """Everything that a page runs, in its order."""
    lines = page.splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        number += 1
        if fence is None:
            assert not INDENTED.match(lines[number - 1]), f"line {number}: would not be run"
            continue
        end = lines.index("```", number)
        if fence[1] in PROMPTS:
            yield from _block(fence[1], lines, number, end, int(fence[2] or 0))
        elif fence[3]:
            yield Step(fence[1], "\n".join(lines[number:end]), [], end, file=fence[3])
        number = end + 1


def _block(kind: str, lines: list[str], number: int, end: int, code: int) -> Iterator[Step]:
    first, more = PROMPTS[kind]
    while number < end:
        assert lines[number].startswith(first), f"line {number + 1}: no prompt"
        source = [lines[number].removeprefix(first)]
        number += 1
        while number < end and (lines[number] + " ").startswith(more) and _goes_on(kind, source):
            source.append(lines[number][len(more) :])
            number += 1
        start = number
        while number < end and not lines[number].startswith(first):
            number += 1
        yield Step(kind, "\n".join(source), lines[start:number], start, code)


def _goes_on(kind: str, source: list[str]) -> bool:
    return kind == "pycon" or source[-1].endswith("\\")


@dataclass
class Session:
    """Runs the steps of a page, in the folder that is the current one."""

    names: dict[str, object] = field(default_factory=dict)

    def run(self, step: Step) -> list[str]:
        """What a step prints, line by line.

        Raises:
            AssertionError: it ends with another exit code than the page says.
        """
        if step.file:
            Path(step.file).write_text(step.source + "\n", encoding="utf-8")
            importlib.invalidate_caches()  # the folder has just been looked through
            printed = ""
        elif step.kind == "pycon":
            printed = self._python(step.source)
        else:
            printed, code = _command(step.source)
            assert code == step.code, f"$ {step.source}\nends with {code}:\n{printed}"
        return _trimmed(printed.splitlines())

    def _python(self, source: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source + "\n", "<page>", "single"), self.names)
        return out.getvalue()


def _command(source: str) -> tuple[str, int]:
    """What a command prints, and its exit code; in this process where it is one of ours alone."""
    text = source.replace("\\\n", "")
    words = shlex.split(text)
    if words[0] != "mnist" or set(text) & set("|<>;&$"):
        done = shell(f"{{ {text}\n}} 2>&1")
        return done.out, done.code
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = cli.run(words[1:])
    return out.getvalue(), code


def _trimmed(lines: list[str]) -> list[str]:
    """Lines without spaces at their ends, and without empty ones at the end of all."""
    text = "\n".join(line.rstrip() for line in lines).rstrip("\n")
    return text.split("\n") if text else []


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether a page's lines stand for what was printed."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == ANYTHING else _pattern(line) + r"\n"
        for line in _trimmed(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def _pattern(line: str) -> str:
    if ANYTHING not in line:
        return re.escape(line)
    return ".*".join(re.sub(r"(\\ )+", r" +", re.escape(part)) for part in line.split(ANYTHING))


def renewed(shown: list[str], printed: list[str]) -> list[str]:
    """What was printed, with the page's own lines wherever these still stand for it."""
    shown = _trimmed(shown)
    whole = [line for line in shown if line.strip() != ANYTHING]
    known = [next((s for s in whole if re.fullmatch(_pattern(s), now)), now) for now in printed]
    lines: list[str] = []
    matcher = difflib.SequenceMatcher(None, shown, known, autojunk=False)
    for _, start, end, first, last in matcher.get_opcodes():
        elided = [line for line in shown[start:end] if line.strip() == ANYTHING]
        lines += elided[:1] or known[first:last]
    return lines


def rewrite(page: str, printed: list[tuple[Step, list[str]]]) -> str:
    """The page with what its steps print now."""
    lines = page.splitlines()
    for step, now in reversed(printed):
        if matches(step.output, now):
            continue
        end = step.start + len(step.output)
        blank = step.output[len(_trimmed(step.output)) :]
        lines[step.start : end] = [*renewed(step.output, now), *blank]
    return "\n".join(lines) + "\n"


def run_page(path: Path, *, renew: bool) -> list[str]:
    """Run a page, and say what differs from it; with ``renew`` it is rewritten instead."""
    page = path.read_text(encoding="utf-8")
    session = Session()
    printed = [(step, session.run(step)) for step in steps(page)]
    if renew:
        path.write_text(rewrite(page, printed), encoding="utf-8")
        return []
    return [_difference(path, step, now) for step, now in printed if not matches(step.output, now)]


def _difference(path: Path, step: Step, now: list[str]) -> str:
    there = f"{path.name}, line {step.start + 1}"
    shown = _trimmed(step.output)
    diff = difflib.unified_diff(shown, renewed(shown, now), there, "printed now", lineterm="")
    return "\n".join([step.source, *diff])
