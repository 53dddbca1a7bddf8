"""``mnist predict``: classify pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mnist_cli.commands import contradictions, options
from mnist_cli.commands.contradictions import Excludes
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.commands.predict_names import refuse_others
from mnist_cli.errors import DataError, UsageError

PicturesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Pictures (PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, PNM; HEIC with pillow-heif), folders "
        "of them, or - for stdin.",
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        "-k",
        metavar="CHECKPOINT",
        help="A checkpoint or a run directory. Default: the newest run under --runs.",
    ),
]
SegmentFlag = Annotated[
    bool,
    typer.Option(
        "--segment",
        help="Find several digits in each picture, in reading order. Lines, specks and other ink "
        "that is no digit is left out, and named.",
    ),
]
CsvFlag = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Print one CSV line per digit, and everything else on stderr.",
        rich_help_panel=options.OUTPUT,
    ),
]


def predict(
    context: typer.Context,
    pictures: PicturesArgument,
    checkpoint: CheckpointOption = None,
    segment: SegmentFlag = False,
    model: options.ModelOption = None,
    normalise: options.NormaliseOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    as_csv: CsvFlag = False,
    quiet: options.QuietOption = False,
) -> None:
    """Classify pictures: the digit, and the three most likely classes with their probabilities.

    Each picture is first converted to MNIST's form: grey, light on dark, the digit scaled to 20
    pixels and centred by mass in 28×28. It is printed as the network sees it.

    For a network that was trained on your own data, pictures are used whole and unchanged.

    An answer with a probability below 60% is marked as unsure.

    A picture that cannot be used, or on which nothing is written, is reported; the others are
    still classified, and the exit code is 3.
    """
    from mnist_cli.inference.classified import Answer, classify
    from mnist_cli.report import prediction
    from mnist_cli.report.console import note, print_json, report_error, warn

    contradictions.refuse(context, [Excludes(("as_json",), ("as_csv",))])
    refuse_others(pictures)
    opened = open_checkpoint(
        checkpoint,
        runs,
        model=model,
        device=device,
        precision=precision,
        normalise=normalise,
        quiet=quiet,
    )
    if opened.on_own_data and segment:
        raise UsageError(
            f"--segment finds digits, but {opened.path} was trained on your own data",
            "Omit --segment: each picture is then used whole, as in training.",
        )
    for text in (*opened.warnings, *_ignored_folders(pictures)):
        warn(text)
    if not (as_json or as_csv or quiet):
        unchanged = "; pictures are used whole and unchanged" if opened.on_own_data else ""
        note(f"{opened.path}: {opened.label}{unchanged}")
    if not quiet:
        note_foreign(opened)
    results = classify(opened, pictures, segment=segment)
    failures = [one for one in results if not isinstance(one, Answer)]
    for text in prediction.remarks(results):
        warn(text)
    for failure in failures:
        report_error(failure.error, as_json=False)
    if as_json:
        print_json([prediction.plain(one, opened.classes) for one in results])
    elif as_csv:
        prediction.print_csv(results, opened.classes)
    else:
        prediction.print_answers(results, opened.classes, pictures=not quiet)
    if failures:
        raise typer.Exit(DataError.code)


def _ignored_folders(pictures: Sequence[str]) -> list[str]:
    """A warning for each folder that has pictures and folders: only the pictures are used."""
    found = []
    for one in pictures:
        with contextlib.suppress(OSError):
            entries = sorted(Path(one).iterdir())
            inner = [path.name for path in entries if path.is_dir()]
            if 0 < len(inner) < len(entries):  # a folder of folders is an error
                found.append(f"{one}: subfolders are ignored: {', '.join(inner[:3])}")
    return found
