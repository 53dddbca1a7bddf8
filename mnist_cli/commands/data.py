"""``mnist data``: data sets on disk: fetch, verify, show, path, convert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_cli import catalogue, options
from mnist_cli.api import recipe_layers
from mnist_cli.base.files import check_writable
from mnist_cli.base.packages import require
from mnist_cli.base.process import command_line
from mnist_cli.errors import UsageError
from mnist_cli.options import completing, contradictions
from mnist_cli.options.contradictions import Excludes, Needs

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig

app = typer.Typer(
    help="Data sets on disk: fetch, verify, show, path, convert.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NAMES = ", ".join(catalogue.names())


def _data_set(metavar: str, meaning: str, *more: str) -> Any:
    """The argument that names a data set, or one of ``more``; ``meaning`` is its help."""
    names = (*more, *catalogue.names())
    return typer.Argument(metavar=metavar, help=meaning, autocompletion=completing.complete(names))


NameArgument = Annotated[str, _data_set("NAME|PATH", f"One of {NAMES}; or a path to your own.")]
KnownArgument = Annotated[str, _data_set("NAME", f"One of {NAMES}.")]


@app.command()
def fetch(
    name: KnownArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            help="Time limit. Default: 600 seconds; 3600 for emnist-digits.",
        ),
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror", metavar="URL", help="Download from this address instead; repeatable."
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Download and verify a data set, in the layout that torchvision also reads.

    Every mirror is tried in turn. Intact files on disk are kept. If several processes
    run at once, one downloads and the others wait.
    """
    from mnist_cli.data.fetch import fetch as fetch_files
    from mnist_cli.data.own_data import path_of
    from mnist_cli.report import datasets

    if (own := path_of(name)) is not None:
        raise UsageError(
            f"{own} is your own data; only known data sets can be downloaded",
            f"Choose one of {NAMES}.",
        )
    spec = catalogue.get(name)
    with datasets.fetching(silent=as_json or quiet) as progress:
        report = fetch_files(
            spec, data_dir, progress=progress, total_timeout=timeout, mirrors=mirror
        )
    datasets.print_fetched(spec, report, as_json=as_json)


@app.command()
def verify(
    name: NameArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Check every file of a data set: checksum, format, size; exit 3 if one is missing or damaged.

    For your own data, every image is read and the classes are counted.
    """
    from mnist_cli.data import store
    from mnist_cli.data.own_data import path_of, read_own
    from mnist_cli.report import datasets
    from mnist_cli.report.console import note

    if (own := path_of(name)) is not None:
        datasets.print_counts(read_own(own, note), as_json=as_json)
    else:
        spec = catalogue.get(name)
        reports = store.verify(spec, data_dir)
        datasets.print_verified(spec, reports, _fetch_it(name, data_dir), as_json=as_json)


@app.command()
def path(
    name: NameArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Print the paths of a data set's files; exit 3 if one is missing or damaged.

    For your own data, prints the files, or the folders of the classes.
    """
    from mnist_cli.data import store
    from mnist_cli.data.own_data import locate, path_of
    from mnist_cli.report import datasets

    if (own := path_of(name)) is not None:
        datasets.print_paths(str(own), locate(own), as_json=as_json)
    else:
        spec = catalogue.get(name)
        files = store.sound_files(spec, data_dir, _fetch_it(name, data_dir))
        datasets.print_paths(spec.name, files, as_json=as_json)


def _fetch_it(name: str, data_dir: Path) -> str:
    words = ["mnist", "data", "fetch", name, "--data-dir", str(data_dir)]
    return f"Download it with: {command_line(words)}"


SHOW_RULES = (
    Excludes(("count",), ("indices",)),
    Excludes(("augmented",), ("indices",), "Training draws the images: --seed draws others."),
    Excludes(
        ("augmented",), ("--split test",), "Only training images are augmented: omit --split."
    ),
    Needs(("config", "assignments", "seed"), ("augmented",)),
    Needs(("dark",), ("png",)),
)


@app.command()
@options.with_figures
def show(
    context: typer.Context,
    name: Annotated[
        str,
        _data_set(
            "NAME|PATH",
            f"auto (MNIST, else the bundled digits), {NAMES}; or a path to your own.",
            "auto",
        ),
    ] = "auto",
    split: Annotated[
        Literal["train", "test"],
        typer.Option(
            "--split",
            metavar="train|test",
            case_sensitive=False,
            help="Training or test split.",
        ),
    ] = "train",
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=1000, help="Number of images.")
    ] = 10,
    indices: Annotated[
        str | None,
        typer.Option("--indices", metavar="I,J,…", help="Images to show, by number."),
    ] = None,
    augmented: Annotated[
        bool,
        typer.Option(
            "--augmented",
            help="Show the first training images of a recipe, before and after augmentation.",
        ),
    ] = False,
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    seed: options.SeedOption = None,
    png: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            readable=False,
            help="Write a picture to this file instead.",
        ),
    ] = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Show samples of a data set: as half blocks in the terminal, or as a picture with --out.

    Without --indices, the samples are spread evenly over the file. --augmented shows training
    images: the first images of the first epoch with this --config, --set and --seed, augmented
    exactly as in training on the CPU.
    """
    contradictions.refuse(context, SHOW_RULES, **{"--split test": split == "test"})
    from mnist_cli.data.load import load_samples
    from mnist_cli.report import datasets
    from mnist_cli.report.console import note

    if png is not None:
        require("matplotlib", "--out")
        check_writable(png.parent)
    if augmented:
        typed = {"dataset": name} if "name" in contradictions.given(context) else {}
        recipe = recipe_layers.compose_config(config, assignments, {"seed": seed, **typed})
        _show_augmented(recipe, count, data_dir, png, as_json=as_json)
        return
    splits, data = load_samples(name, data_dir, note)
    if data.fallback:
        note(f"MNIST is not available; these are the bundled digits ({data.fallback})")
    images = splits[split]
    chosen = (
        images.spread(count) if indices is None else images.pick(options.parse_indices(indices))
    )
    datasets.show_samples(data.spec, chosen, png, as_json=as_json)


def _show_augmented(
    recipe: TrainConfig, count: int, data_dir: Path, png: Path | None, *, as_json: bool
) -> None:
    from mnist_cli.data.first_images import first_images
    from mnist_cli.data.load import load
    from mnist_cli.report import datasets
    from mnist_cli.report.console import note

    data = load(recipe.dataset, data_dir, say=note)
    if data.fallback:
        note(f"MNIST is not available; these are the bundled digits ({data.fallback})")
    found = first_images(recipe, data, count)
    datasets.show_augmented(data.spec, found, recipe, png, as_json=as_json)


@app.command()
def convert(
    source: NameArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            readable=False,
            help="New folder to write.",
            show_default=False,
        ),
    ],
    target: Annotated[
        Literal["idx", "png"],
        typer.Option(
            "--format",
            "-f",
            metavar="idx|png",
            case_sensitive=False,
            help="IDX files under MNIST's names, or PNGs in train/CLASS/ and test/CLASS/.",
        ),
    ] = "idx",
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a data set as IDX files or as a folder of PNGs, with the same bytes in each image.

    Reads every data set that --dataset reads. Images of other sizes are written as 28×28. An
    existing folder is never replaced, and a conversion that fails leaves nothing.
    """
    from mnist_cli.data.converting import check_target, convert
    from mnist_cli.data.converting import source as read_source
    from mnist_cli.report import datasets
    from mnist_cli.report.console import note

    check_target(out)
    raw = read_source(source, data_dir, None if quiet or as_json else note)
    with datasets.converting(silent=as_json or quiet) as progress:
        done = convert(raw, out, target, progress)
    datasets.print_converted(done, as_json=as_json)
