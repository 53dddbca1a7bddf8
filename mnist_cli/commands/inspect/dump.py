"""The dump of one batch's backward pass: walked, recorded, replayed if asked, written and shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.autograd.render import FORMATS
from mnist_cli.base.files import atomic_write, check_writable
from mnist_cli.base.packages import told
from mnist_cli.errors import UsageError
from mnist_cli.report.console import note

if TYPE_CHECKING:
    from mnist_cli.autograd.diagnosing import Diagnosis
    from mnist_cli.autograd.graph import GradGraph
    from mnist_cli.autograd.query import Path as ParameterPath
    from mnist_cli.autograd.render.picture import Direction
    from mnist_cli.commands.inspect.subject import Subject

DEFAULT_FORMATS = "text,json,svg,html"
TEXT = "text"
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
    from mnist_cli.devices.memory import ask_for_room

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
    """The direction of ``--direction``, checked; the default is down.

    Raises:
        UsageError: another word.
    """
    if text not in (None, "down", "right"):
        raise UsageError(f"--direction {text}: choose down or right")
    return "right" if text == "right" else "down"


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

    def of(self, graph: GradGraph) -> tuple[GradGraph, bool]:
        """The part to show, folded if required, and whether it is the whole graph.

        Raises:
            UsageError: no such module.
        """
        from mnist_cli.autograd import fold, select

        shown = graph if self.module is None else select(graph, self.module)
        large = len(shown) > MANY and self.module is None
        wanted = large if self.fold is None else self.fold
        if wanted or self.depth is not None:
            shown = fold(shown, self.depth or 1)
        return shown, len(shown) == len(graph)

    def findings(self, made: Dump) -> tuple[Diagnosis, ...]:
        """What is wrong with the part that is shown."""
        from mnist_cli.autograd.query import inside

        if self.module is None:
            return made.findings
        return tuple(one for one in made.findings if inside(_module_of(one, made), self.module))


def _module_of(finding: Diagnosis, made: Dump) -> str:
    """The module that a finding is about; of a parameter the one that holds it."""
    if any(finding.subject == one.name for one in made.graph.parameters):
        return finding.subject.rpartition(".")[0]
    return "" if finding.node is None else made.graph.nodes[finding.node].module


def write_dump(
    made: Dump, view: View, shown: GradGraph, folder: Path, *, whole: bool, text: bool
) -> list[Path]:
    """Write ``graph.*`` and ``flow.png``: the data whole, the pictures of the part shown.

    Args:
        made: the dump.
        view: the formats, and the direction of the pictures.
        shown: the graph that ``view`` shows.
        folder: created if it does not exist.
        whole: ``shown`` is the whole graph.
        text: write the tree to a file too.

    Raises:
        OutputError: a file cannot be written.
    """
    formats = [FORMATS[name] for name in view.formats if name != TEXT or text]
    if formats:
        check_writable(folder)
    pictures = any("plan" in one.options for one in formats)
    plan = None
    if pictures:
        from mnist_cli.autograd.render.layout import layout

        plan = layout(shown, direction=view.direction)
    order = made.order if whole else None
    written = []
    for one in formats:
        path = folder / f"graph.{one.extension}"
        graph = made.graph if one.name == "json" else shown
        atomic_write(path, one.render(graph, direction=view.direction, order=order, plan=plan))
        written.append(path)
    if pictures:
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
