"""The dump of one batch's backward pass: walked, recorded, replayed if asked, written and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.autograd.render import FORMATS
from mnist_cli.errors import UsageError
from mnist_cli.files import atomic_write, check_writable

if TYPE_CHECKING:
    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.autograd.replaying import Replay
    from mnist_cli.autograd.walking import Walk
    from mnist_cli.commands.inspect.subject import Subject

DEFAULT_FORMATS = "text,json,svg,html"
TEXT = "text"


@dataclass(frozen=True, eq=False)
class Dump:
    """A recorded graph, and the live walk and replay that it came from."""

    graph: GradGraph
    walk: Walk
    replay: Replay | None = None


def make_dump(subject: Subject, *, replay: bool) -> Dump:
    """Walk and record the loss of a subject; ``replay`` also calls every node by hand."""
    from mnist_cli.autograd import judge, record, trace_modules, walk
    from mnist_cli.autograd import replay as call_by_hand

    with trace_modules(subject.model) as modules:
        loss = subject.loss()
    walked = walk(loss, names=subject.model, modules=modules)
    recording = record(walked, keep=replay)
    graph = recording.graph.with_context(**subject.context(), loss=loss.item())
    if not replay:
        return Dump(graph, walked)
    replayed = call_by_hand(walked)
    return Dump(replace(graph, replay=judge(replayed, recording)), walked, replayed)


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of ``--format``, checked.

    Raises:
        UsageError: one that does not exist.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: choose from {', '.join(FORMATS)}")
    return names


def folder_for(subject: Subject, out: Path | None) -> Path:
    """Where dumps go: ``--out``, else ``grad/`` in the checkpoint's run, else ``grad/`` here."""
    if out is not None:
        return out
    if subject.source is not None and (subject.source.parent / "config.toml").is_file():
        return subject.source.parent / "grad"
    return Path("grad")


def write_dump(
    graph: GradGraph,
    shown: GradGraph,
    folder: Path,
    formats: Sequence[str],
    order: Sequence[int] | None,
    *,
    text: bool,
) -> list[Path]:
    """Write ``graph.*`` into the folder: the data whole, the pictures of the graph as shown.

    Args:
        graph: everything.
        shown: the part of it to draw, folded perhaps.
        folder: made if it is not there.
        formats: names of :data:`FORMATS`.
        order: ids of ``shown`` in the order of the replay, for the page's slider.
        text: write the tree as a file too, rather than leave it to the terminal.

    Raises:
        OutputError: it cannot be written.
    """
    wanted = [name for name in formats if name != TEXT or text]
    if wanted:
        check_writable(folder)
    written = []
    for name in wanted:
        path = folder / f"graph.{FORMATS[name].extension}"
        atomic_write(path, _rendered(name, graph if name == "json" else shown, order))
        written.append(path)
    return written


def _rendered(name: str, graph: GradGraph, order: Sequence[int] | None) -> str:
    if name == "html" and order is not None:
        from mnist_cli.autograd.render import html

        return html.render(graph, replay_order=order)
    return FORMATS[name].render(graph)
