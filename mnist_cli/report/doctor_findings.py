"""The output of ``mnist doctor``: the verdict on the GPU first, then the facts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from mnist_cli.report.console import speaks_unicode, stdout, warn

if TYPE_CHECKING:
    from mnist_cli.proving.diagnosis import Diagnosis, Gpu, Verdict


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """The verdict and the facts on stdout, problems on stderr."""
    console = stdout()
    _print_verdict(console, diagnosis.gpu)
    for gpu in diagnosis.gpus:
        _facts(console, f"cuda:{gpu.index}", _gpu(console, gpu))
    _facts(console, "driver and build", diagnosis.cuda)
    _facts(console, "devices", diagnosis.devices, _state)
    _facts(console, "chosen", diagnosis.chosen)
    _facts(console, "cpu", diagnosis.cpu)
    _facts(console, "versions", diagnosis.versions)
    title = "data (sizes and labels checked; `mnist data verify NAME` reads every byte)"
    _facts(console, title, diagnosis.data, _state)
    _facts(console, "folders", diagnosis.folders, _state)
    for problem in diagnosis.problems:
        warn(problem)


def _print_verdict(console: Console, verdict: Verdict) -> None:
    """One line, on a terminal with colour and a mark, and the next step below it."""
    style = "bold green" if verdict.ready else "bold yellow"
    words = escape(_wrap(console, verdict.verdict))
    console.print(f"[{style}]{_mark(console, verdict.ready)}{words}[/]")
    if verdict.next_step:
        console.print(escape(_wrap(console, f"Next step: {verdict.next_step}")))
    if console.is_terminal:
        console.print()


def _mark(console: Console, good: bool) -> str:
    """A tick or a cross on a terminal; ``+`` or ``x`` on one that shows only ASCII."""
    if not console.is_terminal:
        return ""
    return ("✓ " if good else "✗ ") if speaks_unicode(console) else ("+ " if good else "x ")


def _gpu(console: Console, gpu: Gpu) -> dict[str, str]:
    return {
        "name": gpu.name,
        "compute capability": gpu.capability,
        "memory": f"{gpu.memory / 2**30:.1f} GiB, {gpu.free / 2**30:.1f} GiB free",
        "kernel": f"{_mark(console, gpu.works)}{gpu.kernel}",
    }


def _state(value: str) -> bool | None:
    """Whether a fact is good; None if something is only absent, such as a data set."""
    if value.startswith(("no:", "not under")) or value.endswith("not installed"):
        return None
    return not value.startswith("cannot")


def _facts(
    console: Console,
    title: str,
    facts: Mapping[str, str],
    state: Callable[[str], bool | None] | None = None,
) -> None:
    """A titled list; on a terminal, long values wrap between words, and states have marks."""
    width = max(map(len, facts), default=0)
    console.print(f"[bold]{escape(_wrap(console, title, 0))}[/]")
    for name, value in facts.items():
        mark = _coloured_mark(console, state(value)) if state else "  "
        text = escape(_wrap(console, value, width + 4))
        console.print(f"{mark}{escape(name):<{width}}  {text}")


def _coloured_mark(console: Console, good: bool | None) -> str:
    """Two characters before a name: a green tick, a red cross, or a pale dash for what is absent."""
    if not console.is_terminal:
        return "  "
    if good is None:
        return "[dim]-[/] "
    return f"[{'green' if good else 'bold red'}]{_mark(console, good)}[/]"


def _wrap(console: Console, text: str, indent: int = 2) -> str:
    if not console.is_terminal:
        return text
    lines = textwrap.wrap(
        text, max(console.width - indent, 20), break_long_words=False, break_on_hyphens=False
    )
    return f"\n{' ' * indent}".join(lines)
