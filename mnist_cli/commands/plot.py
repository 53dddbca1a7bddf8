"""``mnist plot``: a run as pictures, or several runs' curves over each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_cli.commands import options
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.commands.plotting.material import Material
    from mnist_cli.commands.plotting.pictures import Outcome

PICTURES = {
    "curves": "loss, accuracy and learning rate over the epochs",
    "ratios": "gradients and ratios of update to weight by layer, over the epochs",
    "filters": "the first layer's filters and the second's",
    "activations": "each layer's activations for one image",
    "saliency": "the pixels that decide the answer",
    "maximised": "for each class, an image that maximises its score",
    "confusion": "the confusion matrix of the test set",
    "mistakes": "the most confident mistakes",
    "embedding": "the test set as a map, by PCA and t-SNE",
}
FORMATS = ("png", "svg", "pdf")

RunsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        help="A run directory or a checkpoint. Default: the newest run under --runs. "
        "For several runs, their curves are drawn in one figure.",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="NAME,…",
        help="Pictures to draw: "
        + "; ".join(f"{name} ({what})" for name, what in PICTURES.items()),
        autocompletion=options.complete(list(PICTURES)),
    ),
]
ImageOption = Annotated[
    int,
    typer.Option(
        "--image",
        metavar="INDEX",
        min=0,
        help="Number of the test image to follow through the network.",
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="|".join(FORMATS),
        help="Format, or a comma-separated list.",
        autocompletion=options.complete(FORMATS),
        rich_help_panel=options.OUTPUT,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder to write to. Default: plots/ in the run, ./plots/ for several runs.",
        rich_help_panel=options.OUTPUT,
    ),
]


def plot(
    targets: RunsArgument = None,
    only: OnlyOption = None,
    image: ImageOption = 0,
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    formats: FormatOption = "png,svg",
    out: OutOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Draw a run: curves, filters, activations, saliency, mistakes, a map of the test set.

    Draws what the run and the data at hand allow, and says what it leaves out and why; what
    --only names is had or refused. Downloads nothing. On a terminal it shows small pictures too.
    """
    from mnist_cli.report.console import print_json

    several = bool(targets and len(targets) > 1)
    names = _words("--only", only, PICTURES) if only or not several else ["curves"]
    endings = _words("--format", formats, FORMATS)
    network_flags = {"--model": model, "--dataset": dataset, "--device": device}
    _warn_of_unused(names, {**network_flags, "--image": image or None})
    if targets and several:
        outcome = _overlay(targets, runs, names, out, endings)
    else:
        from mnist_cli.commands.plotting.material import Request, open_material

        target = targets[0] if targets else None
        request = Request(target, runs, model, dataset, data_dir, device, image)
        outcome = _draw(open_material(request), names, only is not None, out, endings)
    if as_json:
        print_json(outcome.to_plain())
    else:
        _tell(outcome, quiet=quiet)


def _words(flag: str, text: str | None, known: dict[str, str] | tuple[str, ...]) -> list[str]:
    """The words of a list with commas, in the order of those that are known; all if not given."""
    if text is None:
        return list(known)
    given = [word.strip() for word in text.split(",")]
    for word in given:
        if word not in known:
            raise UsageError(f"{flag}: there is no '{word}'", f"Choose among {', '.join(known)}.")
    return [word for word in known if word in given]


def _warn_of_unused(names: list[str], given: dict[str, object]) -> None:
    """Say which flags are for nothing, where all pictures are of the run's figures."""
    from mnist_cli.commands.plotting.pictures import WITHOUT_NETWORK
    from mnist_cli.report.console import warn

    unused = [flag for flag, value in given.items() if value is not None]
    if unused and WITHOUT_NETWORK.issuperset(names):
        warn(f"{', '.join(unused)}: not used, since {' and '.join(names)} need no network")


def _overlay(
    targets: list[Path], runs: Path, names: list[str], out: Path | None, endings: list[str]
) -> Outcome:
    from mnist_cli.commands.plotting.pictures import draw_overlay

    if names != ["curves"]:
        others = ", ".join(name for name in names if name != "curves")
        raise UsageError(
            f"--only {others}: of several runs only the curves are drawn over each other",
            "Name one run, or leave --only out.",
        )
    return draw_overlay(targets, runs, out or Path("plots"), endings)


def _draw(
    material: Material, names: list[str], required: bool, out: Path | None, endings: list[str]
) -> Outcome:
    from mnist_cli.commands.plotting.pictures import draw

    return draw(material, names, required=required, folder=out or material.folder, endings=endings)


def _tell(outcome: Outcome, *, quiet: bool) -> None:
    from mnist_cli.report.plots import print_pictures

    print_pictures(outcome.drawn, outcome.left_out, [] if quiet else outcome.previews)
