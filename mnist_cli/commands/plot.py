"""``mnist plot``: plots of a run, or the curves of several runs in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli import options
from mnist_cli.api.picture_names import PICTURES
from mnist_cli.commands import browser, early
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.errors import UsageError
from mnist_cli.options import completing, contradictions
from mnist_cli.options.contradictions import Excludes

ON_REQUEST = ("embedding",)
"""Pictures that take longer than all others together: t-SNE."""

FORMATS = ("png", "svg", "pdf")

RunsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        readable=False,
        help="A checkpoint, or a run: its folder, number or name. Default: the newest run under "
        "--runs. For several runs, their curves are drawn in one figure.",
        autocompletion=completing.complete_runs,
        show_default=False,
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="NAME,…",
        help="Pictures to draw. Default: all but embedding. "
        + "; ".join(f"{name} ({what})" for name, what in PICTURES.items()),
        autocompletion=completing.complete_list(list(PICTURES)),
    ),
]
AllOption = Annotated[
    bool,
    typer.Option("--all", help="Draw the embedding too, which takes longer than all others."),
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
        autocompletion=completing.complete_list(FORMATS),
        rich_help_panel=options.OUTPUT,
    ),
]
OutOption = Annotated[
    Path | None,
    options.out(
        "DIR", "Folder to write to. Default: plots/ in the run, ./plots/ for several runs."
    ),
]

RULES = (
    Excludes(("only",), ("everything",)),
    Excludes(
        ("everything",),
        ("several runs",),
        "Of several runs, only the curves can be drawn: omit --all, or name one run.",
    ),
)


@options.with_figures
def plot(
    context: typer.Context,
    targets: RunsArgument = None,
    only: OnlyOption = None,
    everything: AllOption = False,
    image: ImageOption = 0,
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    normalise: options.NormaliseOption = None,
    device: options.DeviceOption = None,
    formats: FormatOption = "png,svg",
    out: OutOption = None,
    open_pictures: browser.OpenFlag = False,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Draw a run: curves, filters, activations, saliency, mistakes, a map of the test set.

    The map (embedding) is drawn only with --all or --only embedding: t-SNE takes longer than the
    other pictures together. Skips plots that the run or the data on disk do not allow, and gives the reason. If --only
    names such a plot, the command fails. Downloads nothing. Prints small previews on a terminal.
    """
    several = bool(targets and len(targets) > 1)
    typed = contradictions.refuse(context, RULES, **{"several runs": several})
    names, unasked = _chosen(only, everything=everything, several=several)
    endings = options.parse_words("--format", formats, tuple(FORMATS))
    if not several:
        early.check_checkpoint(targets[0] if targets else None, runs)
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.inference.plot_material import NetworkViews, RunCurves
    from mnist_cli.report import lessons
    from mnist_cli.report.console import print_json, warn
    from mnist_cli.report.plot_pictures import OF_RUN, draw, draw_overlay, options_without_effect
    from mnist_cli.report.plots import print_pictures

    needs_network = not OF_RUN.keys() >= set(names)
    asked = ("model", "device", "normalise", "dataset", "data_dir", "image")
    given = {f"--{name.replace('_', '-')}": typed.get(name) for name in asked}
    if unused := options_without_effect(names, given):
        warn(f"{', '.join(unused)}: not used to draw {' and '.join(names)}")
    views = None
    if targets and several:
        _check_overlay(names)
        outcome = draw_overlay(targets, runs, out or Path("plots"), endings)
    else:
        curves = RunCurves.find(targets[0] if targets else None, runs)
        if needs_network:
            source = DataSource(data_dir, dataset, download=False)
            opened = open_checkpoint(
                *(curves.path, runs),
                model=model,
                device=device,
                source=source,
                normalise=normalise,
                quiet=quiet,
            )
            views = NetworkViews(opened, image)
        outcome = draw(
            *(curves, views, names),
            required=only is not None,
            folder=out or curves.folder,
            endings=endings,
            unasked={} if quiet and not as_json else unasked,
        )
    for text in views.opened.warnings if views else ():
        warn(text)
    scale = views.opened.scale_used if views else None
    if views and scale and not (as_json or quiet):
        note_foreign(views.opened)
    if as_json:
        print_json(outcome.to_plain() | {"normalisation": scale and scale.to_plain()})
    else:
        print_pictures(outcome.drawn, outcome.left_out, [] if quiet else outcome.previews)
        if not quiet:
            lessons.point_to("plot")
    if open_pictures and outcome.drawn:
        browser.show([files[0] for files in outcome.drawn.values()])


def _chosen(
    only: str | None, *, everything: bool, several: bool
) -> tuple[list[str], dict[str, str]]:
    """The pictures to draw, and those that must be asked for, with the reason."""
    if several and only is None:
        return ["curves"], {}
    names = options.parse_words("--only", only, tuple(PICTURES))
    if only is not None or everything:
        return names, {}
    reason = "it takes longer than all others. Draw it with --all or --only"
    return (
        [name for name in names if name not in ON_REQUEST],
        {name: f"{reason} {name}." for name in ON_REQUEST},
    )


def _check_overlay(names: list[str]) -> None:
    if names != ["curves"]:
        others = ", ".join(name for name in names if name != "curves")
        raise UsageError(
            f"--only {others}: of several runs, only the curves can be drawn",
            "Name one run, or omit --only.",
        )
