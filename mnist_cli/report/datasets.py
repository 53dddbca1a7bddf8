"""The output of ``mnist data``: downloads, files, and images in the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mnist_cli.data.split_names import in_words
from mnist_cli.report.console import note, print_json, print_table, speaks_unicode, stderr, stdout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnist_cli.catalogue.spec import DatasetSpec
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.data.converting import Converted
    from mnist_cli.data.fetch import FetchReport, Progress
    from mnist_cli.data.first_images import FirstImages
    from mnist_cli.data.own_data import OwnData
    from mnist_cli.data.samples import Samples
    from mnist_cli.data.store import FileReport

ENLARGED = "8×8 pixels with 17 grey levels, enlarged to 28×28"
"""A description of the bundled digits: their blur is not MNIST's."""


def print_images(images: Sequence[Any], captions: Sequence[str]) -> None:
    """Print grey images (H, W), uint8, side by side as the width allows, each with a caption."""
    from mnist_cli.report import blocks

    console = stdout()
    width = images[0].shape[1]
    per_row = max(1, (console.width + 1) // (width + 1))
    # Without colours, as NO_COLOR asks, half blocks would be one solid field.
    in_colour = (
        console.is_terminal
        and console.color_system is not None
        and not console.no_color
        and speaks_unicode(console)
    )
    for start in range(0, len(images), per_row):
        row = images[start : start + per_row]
        if in_colour:
            console.print(blocks.colour_row(row), end="")
        else:
            sys.stdout.write(blocks.plain_row(row))
        under = " ".join(f"{text:<{width}.{width}}" for text in captions[start : start + per_row])
        console.print(escape(under.rstrip()))


@contextlib.contextmanager
def fetching(*, silent: bool) -> Iterator[Any]:
    """Show a download: a bar on a terminal, a line per file elsewhere.

    Yields:
        The callback for the progress; None if ``silent``.
    """
    console = stderr()
    if silent:
        yield None
        return
    if not console.is_terminal:
        seen: set[tuple[str, str]] = set()

        def print_once(progress: Progress) -> None:
            if (progress.stage, progress.file) not in seen:
                seen.add((progress.stage, progress.file))
                note(f"{progress.stage} {progress.file} {progress.url}".rstrip())

        yield print_once
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetching", total=None)

        def draw(progress: Progress) -> None:
            bar.update(
                task,
                description=f"{progress.stage} {progress.file}",
                completed=progress.done,
                total=progress.total,
            )

        yield draw


@contextlib.contextmanager
def converting(*, silent: bool) -> Iterator[Any]:
    """Show how many images are written, on a terminal.

    Yields:
        The callback for the progress; None if ``silent`` or elsewhere.
    """
    console = stderr()
    if silent or not console.is_terminal:
        yield None
        return
    from rich import progress as bars

    columns = (bars.TextColumn("writing"), bars.BarColumn(), bars.MofNCompleteColumn())
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("writing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_converted(done: Converted, *, as_json: bool) -> None:
    """Print where a data set was written, and how many images of how many classes."""
    if as_json:
        facts = {"folder": done.folder, "images": done.counts, "classes": list(done.classes)}
        print_json(facts | {"remarks": list(done.remarks)})
        return
    for remark in done.remarks:
        note(remark)
    counts = ", ".join(f"{count:,} {in_words(split)}" for split, count in done.counts.items())
    stdout().print(f"{done.folder}: {counts} images, {len(done.classes):,} classes", markup=False)


def print_fetched(spec: DatasetSpec, report: FetchReport, *, as_json: bool) -> None:
    """Print where a data set's files are now, and how long the download took."""
    if as_json:
        files = [
            {"path": path, "bytes": path.stat().st_size, "source": source}
            for path, source in report.files.items()
        ]
        print_json(
            {
                "dataset": spec.name,
                "folder": report.folder,
                "downloaded": report.downloaded,
                "seconds": report.seconds,
                "files": files,
            }
        )
    elif spec.bundled:
        _note_bundled(spec.title)
    else:
        done = f" ({report.downloaded:,} bytes in {report.seconds:.1f} s)"
        folders = ", ".join(sorted({str(path.parent) for path in report.files}))
        stdout().print(
            f"{spec.title} is in {folders}{done if report.downloaded else ''}", markup=False
        )


def _note_bundled(title: str) -> None:
    note(f"{title} come with the program and have no files; they are {ENLARGED}")


def print_verified(
    spec: DatasetSpec, reports: Sequence[FileReport], hint: str, *, as_json: bool
) -> None:
    """Print what ``mnist data verify`` found, a line per file.

    Raises:
        DataError: a file is missing or bad; ``hint`` says what to do.
    """
    from mnist_cli.data.store import require_sound

    if not as_json and reports:
        rows = [
            (str(one.path), _size(one.bytes), one.checksum, one.problem or "ok") for one in reports
        ]
        print_table(("file", "bytes", "checksum", "state"), rows)
    require_sound(spec, reports, hint)
    if as_json:
        print_json({"dataset": spec.name, "files": [vars(one) for one in reports]})
    elif not reports:
        _note_bundled(spec.title)


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def print_counts(data: OwnData, *, as_json: bool) -> None:
    """Print the number of images of each class of the user's own data."""
    counts = data.counts()
    if as_json:
        classes = [{"class": name, "train": train, "test": test} for name, train, test in counts]
        found = {"dataset": data.spec.name, "classes": classes, "remarks": list(data.remarks)}
        print_json(found if data.val is None else found | {"validation": len(data.val)})
        return
    rows = [(name, f"{train:,}", f"{test:,}") for name, train, test in counts]
    print_table(("class", "training images", "test images"), rows)
    if data.val is not None:
        note(f"{len(data.val):,} validation images")
    for remark in data.remarks:
        note(remark)


def print_paths(name: str, paths: Iterable[Path], *, as_json: bool) -> None:
    """Print the files of a data set, or the folders of its classes, one per line."""
    files = [str(path) for path in paths]
    if as_json:
        print_json({"dataset": name, "files": files})
        return
    if not files:
        _note_bundled(name)
    for file in files:
        stdout().print(file, markup=False)


def augmentation_in_words(config: TrainConfig) -> str:
    """The largest random changes of a training image."""
    changes = {
        "shift": f"±{config.shift:g} pixels",
        "rotate": f"±{config.rotate:g}°",
        "scale": f"±{config.scale:.0%}",
        "shear": f"±{config.shear:g}°",
        "erase": f"a rectangle of {config.erase:.0%} of the images",
    }
    words = [f"{key} {amount}" for key, amount in changes.items() if getattr(config, key)]
    return ", ".join(words) or "none, so both are the same"


def show_augmented(
    spec: DatasetSpec, found: FirstImages, config: TrainConfig, png: Path | None, *, as_json: bool
) -> None:
    """Show each image above the same image after augmentation, as :func:`show_samples` does.

    Args:
        spec: the data set.
        found: the images.
        config: the recipe that draws and changes them.
        png: the picture to write; None shows them in the terminal.
        as_json: print numbers and labels as JSON.
    """
    before = found.before
    words = augmentation_in_words(config)
    which = f"the first images of epoch 1, seed {config.seed}"
    pairs = list(zip(before.indices.tolist(), before.labels.tolist(), strict=True))
    if png is not None:
        from mnist_cli.report.figures import sample_titles, save_samples

        titles = sample_titles(spec.classes, pairs)
        title = f"{spec.title}, {which}: in the file (above) and augmented (below)\n{words}"
        save_samples(_stacked(found), titles, png, title=title, own=spec.own)
        note(f"wrote {png}")
    if as_json:
        samples = [
            {"index": index, "label": label, "class": spec.classes[label]} for index, label in pairs
        ]
        from mnist_cli.config.schema import AUGMENTATIONS

        amounts = {key: getattr(config, key) for key in AUGMENTATIONS}
        document = {"dataset": spec.name, "split": "train", "samples": samples}
        print_json(document | {"augmentation": amounts, "seed": config.seed})
        return
    note(f"{which}: in the file (above) and augmented (below); augmentation: {words}")
    if png is None:
        captions = [f"#{index} {spec.classes[label]}" for index, label in pairs]
        print_images(list(_stacked(found)), captions)


def _stacked(found: FirstImages) -> npt.NDArray[np.uint8]:
    """Images (N, H, W) above those after augmentation, with a grey line between: (N, 2 H + 2, W)."""
    import numpy as np

    before = found.before.images
    line = np.full((len(before), 2, before.shape[2]), 128, np.uint8)
    return np.concatenate([before, line, found.after], axis=1)


def show_samples(spec: DatasetSpec, split: Samples, png: Path | None, *, as_json: bool) -> None:
    """Show images: in the terminal, in a picture, as JSON."""
    numbers = list(zip(split.indices.tolist(), split.labels.tolist(), strict=True))
    images = split.images
    if png is not None:
        from mnist_cli.report.figures import sample_titles, save_samples

        titles = sample_titles(spec.classes, numbers)
        title = f"{spec.title}, {'training' if split.name == 'train' else 'test'} set"
        save_samples(images, titles, png, title=title, own=spec.own)
    if spec.bundled and not as_json:
        note(f"{spec.title} are {ENLARGED}")
    if png is not None:
        note(f"wrote {png}")
    if as_json:
        samples = [
            {"index": index, "label": label, "class": spec.classes[label]}
            for index, label in numbers
        ]
        print_json({"dataset": spec.name, "split": split.name, "samples": samples})
    elif png is None:
        print_images(list(images), [f"#{index} {spec.classes[label]}" for index, label in numbers])
