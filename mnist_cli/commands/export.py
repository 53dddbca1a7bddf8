"""``mnist export``: a network as a file for other programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from mnist_cli import options
from mnist_cli.base.files import atomic_write, check_writable
from mnist_cli.commands import early
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.exporting import formats
from mnist_cli.options import contradictions
from mnist_cli.options.contradictions import Needs

MOST_IMAGES = 4096  # the check computes as many, which takes up to 1 GB with the preset networks

FormatOption = Annotated[
    Literal["onnx", "torch", "safetensors"] | None,
    typer.Option(
        "--format",
        metavar="|".join(formats.FORMATS),
        case_sensitive=False,
        help="ONNX, a torch.export program, or only the weights. Default: by the suffix of "
        "--out, else onnx.",
    ),
]
InputDtypeOption = Annotated[
    Literal["uint8", "float32"],
    typer.Option(
        "--input-dtype",
        metavar="|".join(formats.DTYPES),
        case_sensitive=False,
        help="Data type of the input; its grey levels are 0 to 255 in both types. "
        "OpenCV's blobFromImage returns float32.",
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        min=1,
        max=MOST_IMAGES,
        help="Number of images that the exported program takes at once. Default: any.",
    ),
]
OutOption = Annotated[
    Path | None,
    options.out("FILE", "File to write. Default: beside the checkpoint, under its name."),
]
ForceFlag = Annotated[
    bool,
    typer.Option("--force", help="Replace an existing file.", rich_help_panel=options.OUTPUT),
]
VerifyFlag = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Compare with the network on the whole test set first and print the largest "
        "difference. If a prediction differs, write nothing and exit with code 6.",
    ),
]


PROGRAM = "--format onnx or torch"
RULES = (
    Needs(("dataset", "data_dir"), ("verify",)),
    Needs(("input_dtype", "batch_size"), (PROGRAM,)),
)


def export(
    context: typer.Context,
    checkpoint: options.CheckpointArgument = None,
    format: FormatOption = None,
    input_dtype: InputDtypeOption = "uint8",
    batch_size: BatchSizeOption = None,
    verify: VerifyFlag = False,
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    normalise: options.NormaliseOption = None,
    out: OutOption = None,
    force: ForceFlag = False,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Export a network as ONNX, as a torch.export program or as safetensors.

    ONNX models and torch.export programs take grey images (N, 1, 28, 28), levels 0 to 255, and
    normalise them. They return probabilities (N, classes), for an ensemble those of its vote.
    Safetensors hold only the weights. All formats use float32, and store the classes, the
    normalisation, the data set and the accuracy as metadata. Prints the Python code that reads
    the file; docs/export.md has the code for other programs.

    The result is compared with the network on random images before it is written, and with
    --verify on the test set too. An existing file is replaced only with --force.
    """
    early.check_choices(model=model)
    early.check_checkpoint(checkpoint, runs)
    early.check_choices(dataset=dataset if verify else None)
    from mnist_cli.inference import exports
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.report import export_result as report
    from mnist_cli.report.console import note, print_json, warn

    chosen = _choose_format(format, out)
    contradictions.refuse(context, RULES, **{PROGRAM: chosen.program})
    formats.check_installed(chosen)
    opened = open_checkpoint(
        checkpoint,
        runs,
        model=model,
        device="cpu",
        precision="fp32",
        normalise=normalise,
        quiet=quiet,
    )
    path = out or opened.path.with_suffix(chosen.suffix)
    _check_target(path, opened.path, force=force)
    if not as_json and not quiet:
        members = opened.checkpoint.members
        voting = f", {members} networks that vote" if members > 1 else ""
        note(f"{opened.path}: {opened.label}{voting}")
    tested = replace(opened, source=DataSource(data_dir, dataset, notify=note))
    images = tested.split("test") if verify else None
    used = tested if verify else opened
    for text in used.warnings:
        warn(text)
    if not as_json and not quiet:
        note_foreign(used)
    taken = formats.Input(input_dtype, batch_size)
    with _hinting(batch_size):
        exported = exports.make(used, chosen, taken)
        verified = exports.verify(exported, images) if images is not None else None
    atomic_write(path, exported.data, parents=True)
    data = tested.data.spec if verify else None
    if as_json:
        print_json(report.export_document(exported, path, verified, data))
        return
    report.print_export(exported, path, verified, data)
    if not quiet:
        report.print_reading(exported, path)


@contextlib.contextmanager
def _hinting(batch_size: int | None) -> Iterator[None]:
    """Add the options that may help to the error of an export that fails."""
    from mnist_cli.exporting.export_failures import NotExportable

    try:
        yield
    except NotExportable as error:
        others = [name for name in formats.FORMATS if name not in error.impossible]
        ways = [f"--format {' or '.join(others)} can hold it"] if others else []
        if error.any_batch and batch_size is None:
            ways.append("--batch-size N exports it for N images at once")
            ways.append(
                "write x.shape[0] for len(x), and batched operations for a loop over the images"
            )
        error.hint = "; ".join(ways) + "." if ways else "--debug shows the whole error."
        raise


def _choose_format(name: str | None, out: Path | None) -> formats.Format:
    """The format that --format names, or else the suffix of --out; ONNX by default.

    Raises:
        OutputError: --out is a folder.
        UsageError: the suffix is unknown, or contradicts --format.
    """
    if out is not None and out.is_dir():
        example = out / f"best{formats.FORMATS[name or 'onnx'].suffix}"
        raise OutputError(f"--out {out} is a folder, not a file", f"As in --out {example}.")
    implied = formats.by_suffix(out) if out is not None else formats.FORMATS[name or "onnx"]
    if name is None:
        if implied is not None:
            return implied
        suffixes = ", ".join(known.suffix for known in formats.FORMATS.values())
        raise UsageError(
            f"--out {out}: no format has this suffix",
            f"End it with {suffixes}, or give --format {'|'.join(formats.FORMATS)}.",
        )
    if implied is not None and implied.name != name:
        raise UsageError(
            f"--format {name} and --out {out} contradict each other",
            f"Omit one, or end the name with {formats.FORMATS[name].suffix}.",
        )
    return formats.FORMATS[name]


def _check_target(path: Path, checkpoint: Path, *, force: bool) -> None:
    """Find out before anything is computed whether the file can be written.

    Raises:
        OutputError: it cannot.
    """
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a file", "Name a file with --out.")
    if path.exists() and path.samefile(checkpoint):
        raise OutputError(f"{path} is the checkpoint itself", "Name another file with --out.")
    if path.exists() and not force:
        raise OutputError(
            f"{path} already exists", "Replace it with --force, or choose another with --out."
        )
    check_writable(path.parent)
