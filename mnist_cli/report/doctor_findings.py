"""The output of ``mnist doctor``: the verdict on the GPU first, then the facts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from mnist_cli.report.console import print_facts, speaks_unicode, stdout, warn

if TYPE_CHECKING:
    from mnist_cli.proving.diagnosis import Diagnosis, Gpu, Verdict


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """The verdict and the facts on stdout, problems on stderr."""
    console = stdout()
    _print_verdict(console, diagnosis.gpu)
    for gpu in diagnosis.gpus:
        _facts(console, f"cuda:{gpu.index}", _gpu(console, gpu))
    _facts(console, "driver and build", diagnosis.cuda)
    _facts(console, "devices", diagnosis.devices)
    _facts(console, "chosen", diagnosis.chosen)
    _facts(console, "cpu", diagnosis.cpu)
    _facts(console, "versions", diagnosis.versions)
    title = "data (sizes and labels checked; `mnist data verify NAME` reads every byte)"
    _facts(console, title, diagnosis.data)
    _facts(console, "folders", diagnosis.folders)
    for problem in diagnosis.problems:
        warn(problem)


def _print_verdict(console: Console, verdict: Verdict) -> None:
    """One line, on a terminal with colour and a mark, and the next step below it."""
    lines = [verdict.verdict, *([f"Next step: {verdict.next_step}"] if verdict.next_step else [])]
    if not console.is_terminal:
        for line in lines:
            console.print(escape(line))
        return
    style = "bold green" if verdict.ready else "bold yellow"
    console.print(f"[{style}]{mark(console, verdict.ready)} {escape(_wrap(console, lines[0]))}[/]")
    for line in lines[1:]:
        console.print(escape(_wrap(console, line)))
    console.print()


def mark(console: Console, good: bool) -> str:
    """A tick or a cross; ``+`` or ``x`` on a terminal that shows only ASCII."""
    return ("✓" if good else "✗") if speaks_unicode(console) else ("+" if good else "x")


def _gpu(console: Console, gpu: Gpu) -> dict[str, str]:
    sign = f"{mark(console, gpu.works)} " if console.is_terminal else ""
    return {
        "name": gpu.name,
        "compute capability": gpu.capability,
        "memory": f"{gpu.memory / 2**30:.1f} GiB, {gpu.free / 2**30:.1f} GiB free",
        "kernel": f"{sign}{gpu.kernel}",
    }


def _facts(console: Console, title: str, facts: Mapping[str, str]) -> None:
    """A titled list; on a terminal, long values wrap between words."""
    if console.is_terminal:
        indent = max(map(len, facts), default=0) + 4
        facts = {name: _wrap(console, value, indent) for name, value in facts.items()}
    print_facts(title, facts)


def _wrap(console: Console, text: str, indent: int = 2) -> str:
    lines = textwrap.wrap(
        text, max(console.width - indent, 20), break_long_words=False, break_on_hyphens=False
    )
    return f"\n{' ' * indent}".join(lines)
