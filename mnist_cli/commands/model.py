"""``mnist model``: a layer-by-layer summary of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli import options
from mnist_cli.base.files import is_there
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.commands import early
from mnist_cli.commands.opening import open_checkpoint
from mnist_cli.config import choices
from mnist_cli.config.names import ModelName
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.options import completing

if TYPE_CHECKING:
    from mnist_cli.inference.shown import Shown

CLASSES = 10
MAX_IMAGES = 4096  # activations are computed, and more images may not fit into memory


def _complete_networks(context: typer.Context, incomplete: str) -> list[str]:
    names = [name for name in choices.MODELS if name.startswith(incomplete)]
    return [*names, *completing.complete_runs(context, incomplete)]


NetworkArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME|CHECKPOINT",
        help="A network's name, a checkpoint, a run or its number. Default: the newest run "
        "under --runs, or the default network if there is none.",
        autocompletion=_complete_networks,
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
) -> None:
    """Print a layer-by-layer summary: shapes, weights, multiply-adds and memory of each operation.

    The table lists the operations of one forward pass, so it also shows a ReLU, a pool or a
    reshape that the network calls as a function. A multiply-add counts once; biases and other
    operations do not count. Memory is the size of an operation's output; a view takes none.

    Trained weights, fixed weights and the running statistics of batch norms are counted
    separately. --quiet prints only the totals.
    """
    target, model = _meant(target, model)
    if target is not None:
        _check_exists(target, runs)
        if classes is None:
            early.check_checkpoint(Path(target), runs)
    import torch

    from mnist_cli.devices.memory import explain_out_of_memory
    from mnist_cli.insight.flow import follow
    from mnist_cli.report import lessons
    from mnist_cli.report import network as report
    from mnist_cli.report.console import note, print_json, warn

    shown = _choose(target, model, classes, runs, quiet=quiet)
    for text in shown.warnings:
        warn(text)
    if not as_json and not quiet:
        note(shown.origin)
    with explain_out_of_memory(batch_size, "--batch-size"):
        flow = follow(shown.network, torch.zeros(batch_size, 1, 28, 28))
    if as_json:
        print_json(report.network_document(flow, shown))
    else:
        report.print_network(flow, shown, table=not quiet)
        if not quiet:
            lessons.point_to("model")


def _meant(target: str | None, name: ModelName | None) -> tuple[str | None, ModelName | None]:
    """The checkpoint and the network that the arguments mean.

    Raises:
        UsageError: two networks are named.
    """
    target = None if target is None else choices.plain_model(ModelName(target))
    if target is not None and choices.width_of(target) is not None:
        if name not in (None, target):
            raise UsageError(f"{target} and --model {name} contradict each other", "Give one.")
        return None, ModelName(target)
    if target is not None and name is None and ModelName(target).is_own:
        return None, ModelName.typed(target)
    return target, name


def _choose(
    target: str | None, name: ModelName | None, classes: int | None, runs: Path, *, quiet: bool
) -> Shown:
    """The network that the arguments mean; a registered name comes before a file of that name.

    Raises:
        UsageError: no network or file has that name, or --classes is given with a checkpoint.
        CheckpointError: the checkpoint cannot be read.
    """
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.inference.shown import fresh, saved

    if target is None and name is not None:
        return fresh(name, classes or CLASSES, f"the network {name.label}, with fresh weights")
    if target is None and not _any_run(runs):
        name = TrainConfig().model
        return fresh(name, classes or CLASSES, f"no run under {runs}/: {name}, the default network")
    if classes is not None:
        raise UsageError(
            "--classes applies only to a network given by its name",
            "Omit it, or name a network: mnist model conv4.",
        )
    where = Path(target) if target is not None else None
    return saved(open_checkpoint(where, runs, model=name, device="cpu", quiet=quiet))


def _any_run(runs: Path) -> bool:
    from mnist_cli.runs.directory import newest

    try:
        newest(runs)
    except CheckpointError:
        return False
    return True


def _check_exists(target: str, runs: Path) -> None:
    """Say what a name may be if nothing has it; the reader reports a missing path."""
    from mnist_cli.runs.directory import find_run

    path = Path(target)
    try:
        found = is_there(path) or find_run(path, runs) is not None
    except OSError:
        return
    if found or path.suffix in (".pt", ".pth") or len(path.parts) > 1:
        return
    if target.lower() in choices.preset_names():
        raise UsageError(
            f"{target} is a recipe, not a network",
            f"`mnist config show {target}` names its network.",
        )
    raise UsageError(
        f"no such network, checkpoint or run: '{target}'",
        f"{did_you_mean(target, choices.MODELS)} Networks: {choices.known_models()}.".lstrip(),
    )
