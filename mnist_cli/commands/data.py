"""``mnist data``: data sets on disk: fetch, verify, show, path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_cli import catalogue
from mnist_cli.base.packages import require
from mnist_cli.commands import contradictions, options
from mnist_cli.commands.contradictions import Excludes
from mnist_cli.config import names as places
from mnist_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mnist_cli.catalogue.spec import DatasetSpec
    from mnist_cli.data.fetch import FetchReport
    from mnist_cli.data.split import Split
    from mnist_cli.data.store import FileReport

app = typer.Typer(
    help="Data sets on disk: fetch, verify, show, path.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_BUNDLED = "{} come with the program: there are no files"

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PATH",
        help=f"One of {', '.join(catalogue.names())}; or a path to your own.",
        autocompletion=options.complete(catalogue.names()),
    ),
]


@app.command()
def fetch(
    name: NameArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=1, help="Time limit in seconds."),
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
    """Download a data set, verified, into the layout that torchvision reads too.

    Every mirror is tried in turn. Files that are there and sound are left alone; if several
    processes ask at once, one downloads and the others wait.
    """
    from mnist_cli.data.fetch import fetch as fetch_files
    from mnist_cli.report.console import note, print_json, stdout
    from mnist_cli.report.datasets import fetching

    if (own := _own_path(name)) is not None:
        raise UsageError(f"{own} is your own: there is nowhere to fetch it from")
    spec = catalogue.get(name)
    with fetching(silent=as_json or quiet) as progress:
        report = fetch_files(
            spec, data_dir, progress=progress, total_timeout=timeout, mirrors=mirror
        )
    if as_json:
        print_json(_fetch_document(report))
        return
    if spec.bundled:
        note(_BUNDLED.format(spec.title))
        return
    done = f"{report.downloaded:,} bytes in {report.seconds:.1f} s" if report.downloaded else ""
    folders = ", ".join(sorted({str(file.path.parent) for file in report.files}))
    stdout().print(f"{spec.title} is in {folders}" + (f" ({done})" if done else ""), markup=False)


def _fetch_document(report: FetchReport) -> dict[str, Any]:
    return {
        "dataset": report.dataset,
        "folder": None if report.folder is None else str(report.folder),
        "downloaded": report.downloaded,
        "seconds": report.seconds,
        "files": [
            {"path": str(file.path), "bytes": file.bytes, "source": file.source}
            for file in report.files
        ],
    }


@app.command()
def verify(
    name: NameArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Check every file of a data set: checksum, format, size; exit 3 if one is missing or bad.

    Of your own every image is read, and the classes are counted.
    """
    from mnist_cli.data import store
    from mnist_cli.report.console import note, print_json, print_table

    if (own := _own_path(name)) is not None:
        _verify_own(own, as_json=as_json)
        return
    spec = catalogue.get(name)
    reports = store.verify(spec, data_dir)
    bad = [report for report in reports if report.problem]
    if not as_json and reports:
        print_table(("file", "bytes", "checksum", "state"), [_verify_row(row) for row in reports])
    if bad:
        raise DataError(
            f"{len(bad)} of {len(reports)} files of {spec.title} under {data_dir} are not right: "
            + "; ".join(f"{row.path.name}: {row.problem}" for row in bad),
            f"Get them with: mnist data fetch {spec.name} --data-dir {data_dir}",
        )
    if as_json:
        print_json({"dataset": spec.name, "files": [_verify_plain(row) for row in reports]})
    elif not reports:
        note(_BUNDLED.format(spec.title))


def _own_path(name: str) -> Path | None:
    """The folder of the user's own that a data set's name means, if it means one."""
    seen = str(places.absolute_dataset(name, Path()))
    return Path(seen) if places.is_own_data(seen) else None


def _verify_own(path: Path, *, as_json: bool) -> None:
    from mnist_cli.data import own
    from mnist_cli.report.console import note, print_json, print_table

    data = own.read(path, note)
    counts = own.count(data)
    if as_json:
        classes = [{"class": name, "train": one, "test": other} for name, one, other in counts]
        print_json({"dataset": str(path), "classes": classes, "remarks": list(data.remarks)})
        return
    rows = [(name, f"{one:,}", f"{other:,}") for name, one, other in counts]
    print_table(("class", "training images", "test images"), rows)
    for remark in data.remarks:
        note(remark)


def _verify_row(row: FileReport) -> tuple[str, str, str, str]:
    size = "-" if row.bytes is None else f"{row.bytes:,}"
    return str(row.path), size, row.checksum, row.problem or "ok"


def _verify_plain(row: FileReport) -> dict[str, Any]:
    return {**vars(row), "path": str(row.path)}


@app.command()
def path(
    name: NameArgument = "mnist",
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Print where the files of a data set lie; exit 3 if some are missing or not its own.

    Of your own images these are the folders of the classes.
    """
    from mnist_cli.data import store
    from mnist_cli.report.console import note

    if (own := _own_path(name)) is not None:
        _print_places(str(own), _own_sources(own), as_json=as_json)
        return
    spec = catalogue.get(name)
    located = store.locate(spec, data_dir)
    if located.missing:
        missing = ", ".join(file.name for file in located.missing)
        raise DataError(
            f"{spec.title} is not whole under {data_dir}: {missing} missing",
            f"Get it with: mnist data fetch {spec.name} --data-dir {data_dir}",
        )
    wrong = [report for report in store.verify(spec, data_dir) if report.problem]
    if wrong:
        raise DataError(
            f"the files under {data_dir} are not {spec.title}: {wrong[0].problem}",
            f"Get it with: mnist data fetch {spec.name} --data-dir {data_dir}",
        )
    files = [str(copies[0]) for copies in located.found.values()]
    if not (files or as_json):
        note(_BUNDLED.format(spec.title))
    _print_places(spec.name, files, as_json=as_json)


def _print_places(name: str, files: list[str], *, as_json: bool) -> None:
    from mnist_cli.report.console import print_json, stdout

    if as_json:
        print_json({"dataset": name, "files": files})
        return
    for file in files:
        stdout().print(file, markup=False)


def _own_sources(path: Path) -> list[str]:
    """The IDX files, or the folders of the classes, of the user's own data."""
    from mnist_cli.data import own

    return [str(one) for one in own.locate(path)]


@app.command()
def show(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help=f"auto (MNIST, else the bundled digits), {', '.join(catalogue.names())}; "
            "or a path to your own.",
            autocompletion=options.complete(["auto", *catalogue.names()]),
        ),
    ] = "auto",
    split: Annotated[
        Literal["train", "test"],
        typer.Option("--split", metavar="train|test", help="Training or test split."),
    ] = "train",
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=1000, help="Number of images.")
    ] = 10,
    indices: Annotated[
        str | None,
        typer.Option("--indices", metavar="I,J,…", help="Images to show, by number."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write a PNG file instead."),
    ] = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    as_json: options.JsonOption = False,
) -> None:
    """Show samples of a data set: as half blocks in the terminal, or as a picture with --out.

    Without --indices the samples are spread evenly over the file.
    """
    contradictions.refuse(context, [Excludes(("count",), ("indices",))])
    from mnist_cli.data.load import load
    from mnist_cli.report.console import note, print_json

    if png is not None:
        require("matplotlib", "--out")
    data = load(name, data_dir, say=note)
    if data.fallback:
        note(f"MNIST is not available; these are the bundled digits ({data.fallback})")
    chosen = _choose(data.split(split), count, indices)
    if png is not None:
        _save(data.spec, chosen, png)
    if as_json:
        print_json(_samples(data.spec, chosen))
    elif png is None:
        _print(data.spec, chosen)


def _choose(split: Split, count: int, indices: str | None) -> Split:
    import torch

    if indices is None:
        count = min(count, len(split))
        return split.take(torch.arange(count) * len(split) // count)
    numbers = options.parse_indices(indices)
    for number in numbers:
        if not 0 <= number < len(split):
            raise UsageError(f"--indices: image {number} does not exist; 0 to {len(split) - 1} do")
    return split.take(torch.tensor(numbers))


def _samples(spec: DatasetSpec, split: Split) -> dict[str, Any]:
    return {
        "dataset": spec.name,
        "split": split.name,
        "samples": [
            {"index": index, "label": label, "class": spec.classes[label]}
            for index, label in zip(split.indices.tolist(), split.labels.tolist(), strict=True)
        ],
    }


def _print(spec: DatasetSpec, split: Split) -> None:
    from mnist_cli.report.datasets import print_images

    captions = [f"#{i} {spec.classes[label]}" for i, label in _numbered(split)]
    print_images(list(split.images.squeeze(1).numpy()), captions)


def _save(spec: DatasetSpec, split: Split, path: Path) -> None:
    from mnist_cli.report.console import note
    from mnist_cli.report.figures import save_samples

    titles = [f"{spec.classes[label]} · #{i}" for i, label in _numbered(split)]
    title = f"{spec.title}, {'training' if split.name == 'train' else 'test'} set"
    save_samples(split.images.squeeze(1).numpy(), titles, path, title=title, own=spec.own)
    note(f"wrote {path}")


def _numbered(split: Split) -> list[tuple[int, int]]:
    return list(zip(split.indices.tolist(), split.labels.tolist(), strict=True))
