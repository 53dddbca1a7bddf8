"""``mnist model``: the data's way through a network, and what each operation costs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.base.files import is_there
from mnist_cli.commands import options
from mnist_cli.config import choices
from mnist_cli.config.names import is_own_network, label, seen_from_here
from mnist_cli.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.insight.flow import Flow

CLASSES = 10
MAX_IMAGES = 4096  # their activations are really computed: beyond, they may not fit the memory

NetworkArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME|CHECKPOINT",
        help="A network's name, a checkpoint, a run or its number. Default: the newest run "
        "under --runs, or the default network if there is none.",
        autocompletion=options.complete(choices.MODELS),
        show_default=False,
    ),
]
ClassesOption = Annotated[
    int | None,
    typer.Option(
        "--classes",
        metavar="N",
        min=1,
        max=1000,
        help=f"Number of classes of a network given by its name. Default: {CLASSES}.",
    ),
]
BatchSizeOption = Annotated[
    int,
    typer.Option(
        "--batch-size", "-b", metavar="N", min=1, max=MAX_IMAGES, help="Images in the forward pass."
    ),
]


def model(
    target: NetworkArgument = None,
    classes: ClassesOption = None,
    batch_size: BatchSizeOption = 1,
    model: options.ModelOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Follow the data through a network: shapes, weights, multiply-adds and memory of each step.

    One forward is watched, so that a ReLU, a pool or a reshaping shows which the network calls as
    a function. A multiplication with its addition counts once, biases and everything else not at
    all. Memory is that of a step's output; a view takes none.

    Of weights, those that are trained, those that are fixed, and the running statistics of a
    batch norm are counted apart. --quiet prints the totals alone.
    """
    from mnist_cli.report.console import note, print_json
    from mnist_cli.report.network import Subject, print_network

    shown = _choose(target, model, classes, runs)
    if not as_json and not quiet:
        note(shown.origin)
    flow = _follow(shown, batch_size)
    if as_json:
        print_json(_document(shown, flow))
    else:
        print_network(flow, Subject(shown.name, shown.classes, shown.members), table=not quiet)


@dataclass(frozen=True)
class Shown:
    """A network, and where it came from; of those that vote it is the first."""

    network: nn.Module
    name: str
    classes: int
    origin: str
    members: int = 1
    checkpoint: Path | None = None


def _choose(target: str | None, name: str | None, classes: int | None, runs: Path) -> Shown:
    """The network that the arguments mean; a registered name comes before a file of that name.

    Raises:
        UsageError: there is neither a network nor a file of that name, or --classes of a file.
        CheckpointError: the checkpoint cannot be read.
    """
    from mnist_cli.commands import provenance
    from mnist_cli.runs.directory import newest

    name = seen_from_here(name)
    if target is not None and name is None and is_own_network(target):
        target, name = None, seen_from_here(target)
    if target is None and name is not None:
        return _fresh(name, classes, f"the network {label(name)}, with fresh weights")
    if target is not None and choices.width_of(target) is not None:
        if name not in (None, target):
            raise UsageError(f"{target} and --model {name} contradict each other", "Give one.")
        return _fresh(target, classes, f"the network {target}, with fresh weights")
    if target is None:
        try:
            newest(runs)
        except CheckpointError:
            return _default(classes, runs)
    if classes is not None:
        raise UsageError(
            "--classes is for a network that is named: a checkpoint has its own",
            "Leave it out, or name a network, as mnist model conv4.",
        )
    if target is not None:
        _check_exists(target, runs)
    where = None if target is None else Path(target)
    return _saved(provenance.open_checkpoint(where, runs, name))


def _check_exists(target: str, runs: Path) -> None:
    """Where there is nothing of that name, say what a name may be; a path is left to others."""
    from mnist_cli.runs.directory import find_run

    path = Path(target)
    try:
        found = is_there(path) or find_run(path, runs) is not None
    except OSError:
        return
    if found or path.suffix in (".pt", ".pth") or len(path.parts) > 1:
        return
    near = difflib.get_close_matches(target, choices.MODELS, n=1)
    raise UsageError(
        f"there is no network, checkpoint or run '{target}'",
        (f"Did you mean '{near[0]}'? " if near else "") + f"Networks: {choices.known_models()}.",
    )


def _default(classes: int | None, runs: Path) -> Shown:
    from mnist_cli.config.schema import TrainConfig

    name = TrainConfig().model
    return _fresh(name, classes, f"no run under {runs}/: {name}, the default network")


def _fresh(name: str, classes: int | None, origin: str) -> Shown:
    """A network as `mnist train` would begin with it, its memory order included."""
    from mnist_cli.config import schema as configs
    from mnist_cli.training.state import fresh_model

    config = configs.compose([configs.from_flags({"model": name})])
    count = classes or CLASSES
    return Shown(fresh_model(config, count), name, count, origin)


def _saved(checkpoint: Checkpoint) -> Shown:
    from mnist_cli.networks.ensemble import first_member

    members = checkpoint.members
    voting = f"{members} networks that vote, of which this is the first: " if members > 1 else ""
    return Shown(
        network=first_member(checkpoint.build_model()),
        name=checkpoint.model,
        classes=checkpoint.classes,
        origin=f"{checkpoint.path}: {voting}{checkpoint.model}",
        members=members,
        checkpoint=checkpoint.path,
    )


def _follow(shown: Shown, batch_size: int) -> Flow:
    import torch

    from mnist_cli.devices.memory import explain_out_of_memory
    from mnist_cli.insight.flow import follow

    with explain_out_of_memory(batch_size, "--batch-size"):
        return follow(shown.network, torch.zeros(batch_size, 1, 28, 28))


def _document(shown: Shown, flow: Flow) -> dict[str, Any]:
    """The figures are of one network, and of the whole batch."""
    return {
        "model": shown.name,
        "checkpoint": None if shown.checkpoint is None else str(shown.checkpoint),
        "classes": shown.classes,
        "members": shown.members,
        "images": list(flow.images),
        "dtype": "float32",
        "steps": [{**vars(step), "weights": vars(step.weights)} for step in flow.steps],
        "unused": dict(flow.unused),
        "totals": {
            **vars(flow.weights),
            "weight_bytes": flow.weight_bytes,
            "multiply_adds": flow.multiply_adds,
            "activation_bytes": flow.bytes,
        },
    }
