"""``mnist predict``: classify pictures."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli import options
from mnist_cli.api.picture_names import refuse_others
from mnist_cli.commands import early
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.errors import DataError, UsageError
from mnist_cli.options import completing, contradictions
from mnist_cli.options.contradictions import Excludes

if TYPE_CHECKING:
    from mnist_cli.inference.classified import Answer
    from mnist_cli.inference.opened import OpenCheckpoint
    from mnist_cli.vision.digits import Failure

PicturesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Pictures (PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, PNM; HEIC with pillow-heif), folders "
        "of pictures, or - for stdin. Or one data file (CSV, npz, Parquet, IDX images).",
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        "-k",
        metavar="CHECKPOINT",
        readable=False,
        help="A checkpoint, or a run: its folder, number or name. Default: the newest run under "
        "--runs.",
        autocompletion=completing.complete_runs,
    ),
]
SegmentFlag = Annotated[
    bool,
    typer.Option(
        "--segment",
        help="Find several digits in each picture, in reading order. Lines, specks and other ink "
        "that is not a digit are left out and listed.",
    ),
]
CsvFlag = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Print one CSV line per digit, and everything else on stderr. For a data file: "
        "ImageId,Label, as in a Kaggle submission.",
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

    If the network was trained on your own data and they are not in MNIST's form, pictures are
    neither cropped nor inverted. Kaggle's train.csv is in MNIST's form. The rows of a data file,
    such as Kaggle's test.csv, are never changed.

    An answer with a probability below 60% is marked as unsure.

    A picture that cannot be used, or on which nothing is written, is reported; the others are
    still classified, and the exit code is 3.
    """
    from mnist_cli.inference.classified import Answer, classify, reasons_missing
    from mnist_cli.inference.rows import holds_rows
    from mnist_cli.report import prediction
    from mnist_cli.report.console import note, print_json, report_error, warn

    contradictions.refuse(context, [Excludes(("as_json",), ("as_csv",))])
    refuse_others(pictures, _with_option, runs)
    early.check_choices(device, model, precision)
    early.check_checkpoint(checkpoint, runs)
    if not (as_json or as_csv) and (missing := reasons_missing(pictures)):
        for error in missing:
            report_error(error, as_json=False)
        raise typer.Exit(DataError.code)
    opened = open_checkpoint(
        checkpoint,
        runs,
        model=model,
        device=device,
        precision=precision,
        normalise=normalise,
        quiet=quiet,
    )
    if opened.whole_pictures and segment:
        raise UsageError(
            f"--segment finds digits, but {opened.path} was trained on your own data, which are not "
            "in MNIST's form",
            "Omit --segment: pictures are then not cropped, as in training.",
        )
    for text in (*opened.warnings, *_ignored_folders(pictures)):
        warn(text)
    if any(map(holds_rows, pictures)):
        _predict_rows(opened, pictures, segment, as_json=as_json, as_csv=as_csv, quiet=quiet)
        return
    if not (as_json or as_csv or quiet):
        unchanged = "; pictures are not cropped or inverted" if opened.whole_pictures else ""
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
        used = {"normalisation": opened.scale.to_plain()} if opened.checkpoint.foreign else {}
        print_json([_plain(one, opened.classes) | used for one in results])
    elif as_csv:
        prediction.print_csv(results, opened.classes)
    else:
        prediction.print_answers(results, opened.classes, pictures=not quiet)
    if failures:
        raise typer.Exit(DataError.code)


def _with_option(picture: str, run: Path) -> str:
    return (
        "Name the pictures, and the checkpoint with -k: "
        f"mnist predict {shlex.quote(picture)} -k {shlex.quote(str(run))}"
    )


def _plain(one: Answer | Failure, classes: tuple[str, ...]) -> dict[str, Any]:
    """What ``--json`` prints for a digit or a failure."""
    from mnist_cli.api.predicting import Prediction
    from mnist_cli.vision.digits import Failure

    if isinstance(one, Failure):
        error = one.error
        reason = {"code": error.code, "kind": error.kind, "message": error.message}
        return {"path": one.path, "error": reason}
    return Prediction.of(one.digit, one.probabilities, classes).to_plain()


def _predict_rows(
    opened: OpenCheckpoint,
    paths: Sequence[str],
    segment: bool,
    *,
    as_json: bool,
    as_csv: bool,
    quiet: bool,
) -> None:
    """Classify the rows of a data file, which is named alone."""
    from mnist_cli.inference.rows import classify_rows
    from mnist_cli.report.console import note
    from mnist_cli.report.row_answers import print_rows

    if len(paths) > 1:
        raise UsageError("a data file cannot be combined with other files", "Name it alone.")
    if segment:
        raise UsageError(
            f"--segment finds digits, but each row of {paths[0]} is one digit", "Omit it."
        )
    answers = classify_rows(opened, paths[0])
    if not (as_json or as_csv or quiet):
        note(f"{opened.path}: {opened.label}; rows are used unchanged")
    for remark in answers.remarks:
        note(remark)
    if answers.labelled:
        note(f"the labels in {paths[0]} are not used; mnist eval compares with them")
    print_rows(answers, opened.classes, as_json=as_json, as_csv=as_csv)


def _ignored_folders(pictures: Sequence[str]) -> list[str]:
    """A warning for each folder that has pictures and folders: only the pictures are used."""
    found = []
    for one in pictures:
        with contextlib.suppress(OSError):
            entries = sorted(Path(one).iterdir())
            inner = [path.name for path in entries if path.is_dir()]
            if 0 < len(inner) < len(entries):  # a folder of folders is an error
                inner[3:] = ["…"] if len(inner) > 3 else []
                found.append(f"{one}: subfolders are ignored: {', '.join(inner)}")
    return found
