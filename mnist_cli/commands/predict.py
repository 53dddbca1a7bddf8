"""``mnist predict``: what a network makes of pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.commands import options, provenance
from mnist_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mnist_cli.commands.digit_reader import Reader
    from mnist_cli.report.prediction import Answer
    from mnist_cli.vision.digits import Digit, Failure

PicturesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Pictures (PNG, JPEG, GIF, BMP, TIFF, WebP, PNM), folders of them, or - for stdin.",
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
    typer.Option("--segment", help="Find several digits in each picture, in reading order."),
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
    pictures: PicturesArgument,
    checkpoint: CheckpointOption = None,
    segment: SegmentFlag = False,
    model: options.ModelOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    as_csv: CsvFlag = False,
    quiet: options.QuietOption = False,
) -> None:
    """Say which digit a picture shows, with the three likeliest classes and their probabilities.

    A picture is brought into MNIST's form first: grey, light on dark whichever way it came, the
    digit scaled to 20 pixels and centred by mass in 28. It is shown as the network sees it.

    For a network that was trained on your own data it is taken as those were: whole and as it is.

    A picture that cannot be used is named and the others are still done; the exit code is then 3.
    """
    from mnist_cli.commands.digit_reader import Reader
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.report import prediction
    from mnist_cli.report.console import note, print_json, report_error
    from mnist_cli.vision.digits import Failure, prepare

    if as_json and as_csv:
        raise UsageError("--json and --csv contradict each other", "Give one of them.")
    where = resolve_device(device or "auto")
    found = provenance.open_checkpoint(checkpoint, runs, model)
    as_it_is = provenance.trained_on_own_data(found)
    if as_it_is and segment:
        raise UsageError(
            f"--segment finds digits, and {found.path} was trained on your own data",
            "Leave it out: each picture is then taken whole, as those were.",
        )
    if not (as_json or as_csv or quiet):
        whole = "; pictures are taken whole and as they are" if as_it_is else ""
        note(f"{found.path}: {found.model.label}{whole}")
    _tell_of_folders(pictures)
    results = prepare(pictures, segment=segment, as_it_is=as_it_is)
    failures = [one for one in results if isinstance(one, Failure)]
    for failure in failures:
        report_error(_hinted(failure, runs), as_json=False)
    reader = Reader(found, where, precision)
    answers = _answer(reader, results)
    if as_json:
        print_json([_plain(one, reader.classes) for one in answers])
    elif as_csv:
        prediction.print_csv(answers, reader.classes)
    else:
        prediction.print_answers(answers, reader.classes, pictures=not quiet)
    if failures:
        raise typer.Exit(DataError.code)


def _tell_of_folders(pictures: Sequence[str]) -> None:
    """Say which folders lie in those that are named, since they are not looked into."""
    from mnist_cli.report.console import warn

    for one in pictures:
        with contextlib.suppress(OSError):
            entries = sorted(Path(one).iterdir())
            within = [path.name for path in entries if path.is_dir()]
            if 0 < len(within) < len(entries):  # a folder of folders is an error that says so
                warn(f"{one}: folders in it are not looked into: {', '.join(within[:3])}")


def _hinted(failure: Failure, runs: Path) -> DataError:
    """Why a picture cannot be used; where it would be a run, how that is named."""
    path, error = failure.path, failure.error
    with contextlib.suppress(OSError):  # the error itself names it
        a_run = path.isdecimal() or (runs / path).is_dir()
        if a_run and not Path(path).exists():
            return DataError(error.message, f"If the run {path} is meant: --checkpoint {path}.")
    return error


def _answer(reader: Reader, results: list[Digit | Failure]) -> list[Answer | Failure]:
    """The results in their order, each digit with its probabilities."""
    import numpy as np

    from mnist_cli.devices.device import compute_settings
    from mnist_cli.report.prediction import Answer
    from mnist_cli.vision.digits import Digit

    forms = [one.form for one in results if isinstance(one, Digit)]
    with compute_settings(reader.device):
        rows = iter(reader.probabilities(np.stack(forms)).tolist() if forms else [])
    return [Answer(one, tuple(next(rows))) if isinstance(one, Digit) else one for one in results]


def _plain(one: Answer | Failure, classes: Sequence[str]) -> dict[str, Any]:
    from mnist_cli.vision.digits import Failure

    if isinstance(one, Failure):
        error = one.error
        return {
            "path": one.path,
            "error": {"code": error.code, "kind": error.kind, "message": error.message},
        }
    return {
        "path": one.digit.path,
        "digit": one.best[0],
        "class": classes[one.best[0]],
        "probabilities": list(one.probabilities),
        "box": vars(one.digit.box),
    }
