"""The dump of one batch's backward pass: walked, recorded, replayed if asked, written and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.autograd.render import FORMATS
from mnist_cli.errors import UsageError
from mnist_cli.files import atomic_write, check_writable
from mnist_cli.packages import told
from mnist_cli.report.console import note

if TYPE_CHECKING:
    from mnist_cli.autograd.diagnosing import Diagnosis
    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.autograd.query import Path as ParameterPath
    from mnist_cli.autograd.render.picture import Direction
    from mnist_cli.commands.inspect.subject import Subject

DEFAULT_FORMATS = "text,json,svg,html"
TEXT = "text"
PICTURES = {"svg", "html"}
MANY = 400
"""Nodes above which a picture is folded to modules, unless asked otherwise."""


@dataclass(frozen=True, eq=False)
class Dump:
    """A recorded graph, what is wrong with it in words, and the order of the replay's calls."""

    graph: GradGraph
    findings: tuple[Diagnosis, ...]
    order: tuple[int, ...] | None = None


def make_dump(subject: Subject, *, replay: bool) -> Dump:
    """Walk and record the loss of a subject; ``replay`` also calls every node by hand."""
    from mnist_cli.autograd import dead_units, diagnose, judge, record
    from mnist_cli.autograd import replay as call_by_hand
    from mnist_cli.autograd.recording import kept_bytes, root_tensor
    from mnist_cli.training.memory import ask_for_room

    with subject.walked() as walked:
        if subject.device.type == "cpu":
            ask_for_room((2 if replay else 1) * kept_bytes(walked))
        recording = record(walked, keep=True)
        loss = root_tensor(walked).item()
        graph = recording.graph.with_context(**subject.context(), loss=loss)
        findings = diagnose(graph, dead_units=dead_units(recording))
        if not replay:
            return Dump(graph, findings)
        replayed = call_by_hand(walked)
        graph = replace(graph, replay=judge(replayed, recording))
        return Dump(graph, findings, tuple(replayed.order))


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of ``--format``, checked.

    Raises:
        UsageError: one that does not exist.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: choose from {', '.join(FORMATS)}")
    if not names:
        raise UsageError("--format names nothing", f"Choose from {', '.join(FORMATS)}.")
    return names


def parse_direction(text: str | None) -> Direction:
    """The direction of ``--direction``, checked; down where it is left out.

    Raises:
        UsageError: another word.
    """
    if text in (None, "down"):
        return "down"
    if text == "right":
        return "right"
    raise UsageError(f"--direction {text}: choose down or right")


def folder_for(subject: Subject, out: Path | None) -> Path:
    """Where dumps go: ``--out``, else ``grad/`` in the checkpoint's run, else ``grad/`` here."""
    if out is not None:
        return out
    if subject.source is not None and (subject.source.parent / "config.toml").is_file():
        return subject.source.parent / "grad"
    return Path("grad")


@dataclass(frozen=True)
class View:
    """Which formats are made, and which part of the graph the pictures show.

    ``fold`` None is: where the graph is too large to be read whole.
    """

    formats: tuple[str, ...]
    module: str | None = None
    fold: bool | None = None
    depth: int | None = None
    direction: Direction = "down"

    def part(self, graph: GradGraph) -> GradGraph:
        """The module that is asked for, or everything."""
        from mnist_cli.autograd.query import select

        return graph if self.module is None else select(graph, self.module)

    def of(self, graph: GradGraph) -> GradGraph:
        """The part to show, folded if it is to be."""
        from mnist_cli.autograd.folding import fold

        shown = self.part(graph)
        large = len(shown) > MANY and self.module is None
        wanted = large if self.fold is None else self.fold
        if wanted or self.depth is not None:
            shown = fold(shown, self.depth or 1)
        return shown

    def findings(self, made: Dump) -> tuple[Diagnosis, ...]:
        """What is wrong with the part that is shown."""
        from mnist_cli.autograd.query import inside

        if self.module is None:
            return made.findings
        return tuple(one for one in made.findings if inside(_module_of(one, made), self.module))

    def whole(self, graph: GradGraph) -> bool:
        """Whether the graph is shown as it is."""
        return len(self.of(graph)) == len(graph)


def _module_of(finding: Diagnosis, made: Dump) -> str:
    """The module that a finding is about; of a parameter the one that holds it."""
    if any(finding.subject == one.name for one in made.graph.parameters):
        return finding.subject.rpartition(".")[0]
    return "" if finding.node is None else made.graph.nodes[finding.node].module


def write_dump(made: Dump, view: View, folder: Path, *, text: bool) -> list[Path]:
    """Write ``graph.*`` and ``flow.png``: the data whole, the pictures of the graph as viewed.

    Args:
        made: the dump.
        view: formats, and the part to draw.
        folder: made if it is not there.
        text: write the tree as a file too, rather than leave it to the terminal.

    Raises:
        OutputError: it cannot be written.
    """
    wanted = [name for name in view.formats if name != TEXT or text]
    if wanted:
        check_writable(folder)
    shown = view.of(made.graph)
    order = made.order if view.whole(made.graph) else None
    written = []
    for name in wanted:
        path = folder / f"graph.{FORMATS[name].extension}"
        atomic_write(path, _rendered(name, made.graph if name == "json" else shown, view, order))
        written.append(path)
    if PICTURES & set(wanted):
        try:
            written.append(write_flow(made.graph, folder))
        except ImportError as error:
            note(f"flow.png is not drawn: {told(error)}")
    return written


def write_flow(graph: GradGraph, folder: Path) -> Path:
    """Draw the gradient's norm by module into ``flow.png``.

    Raises:
        ImportError: matplotlib is missing.
    """
    from mnist_cli.autograd.diagnosing import gradient_flow
    from mnist_cli.report.figures import save_gradient_flow

    path = folder / "flow.png"
    title = f"Gradient flow of {graph.context.get('model', 'the graph')}"
    save_gradient_flow(gradient_flow(graph), path, title=title)
    return path


def _rendered(name: str, graph: GradGraph, view: View, order: Sequence[int] | None) -> str:
    from mnist_cli.autograd.render import html, svg

    if name == "html":
        return html.render(graph, replay_order=order, direction=view.direction)
    if name == "svg":
        return svg.render(graph, direction=view.direction)
    return FORMATS[name].render(graph)


def path_document(path: ParameterPath) -> dict[str, Any]:
    """The chain to a parameter as plain values."""
    from mnist_cli.autograd.document import plain

    return {
        "parameter": path.parameter,
        "routes": path.routes,
        "steps": [
            {
                "node": step.node.id,
                "name": step.node.name,
                "module": step.node.module,
                "parameter": step.node.parameter,
                "position": step.position,
                "norm": None if step.grad is None else plain(step.grad.norm),
            }
            for step in path.steps
        ],
    }
