"""``mnist export``: a network as a file that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.base.files import atomic_write, check_writable
from mnist_cli.commands import options, provenance
from mnist_cli.errors import ExportMismatch, OutputError, UsageError
from mnist_cli.exporting import formats
from mnist_cli.report.export_result import Facts

if TYPE_CHECKING:
    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.commands.evaluate import Subject
    from mnist_cli.data.split import Split
    from mnist_cli.exporting.agreement import Agreement
    from mnist_cli.exporting.classifier import Answer

RANDOM_IMAGES = 64

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(formats.FORMATS),
        help="ONNX, a torch.export program, or only the weights. Default: by the suffix of "
        "--out, else onnx.",
        autocompletion=options.complete(list(formats.FORMATS)),
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="File to write. Default: beside the checkpoint, under its name.",
        rich_help_panel=options.OUTPUT,
    ),
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


def export(
    checkpoint: options.CheckpointArgument = None,
    format: FormatOption = None,
    verify: VerifyFlag = False,
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    out: OutOption = None,
    force: ForceFlag = False,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a network for other programs: as ONNX, for torch.export, or as safetensors.

    ONNX models and programs take grey images as they are, uint8 (N, 1, 28, 28) for any N, and
    normalise them; they return probabilities (N, classes), of an ensemble those of its vote.
    Safetensors hold the weights alone. All compute in float32, and hold the classes, the
    normalisation, the data set and the accuracy as metadata.

    What was made is run before it is written, against the network, on random images, with
    --verify on the test set too. A file that is there is replaced with --force alone.
    """
    from mnist_cli.report.console import note, print_json
    from mnist_cli.report.export_result import print_export

    _refuse_folder(out)
    chosen = formats.choose(format, out)
    if dataset is not None and not verify:
        raise UsageError("--dataset is for --verify alone", "Add --verify, or leave it out.")
    formats.check_installed(chosen)
    source = _open(checkpoint, runs, model)
    path = out or source.path.with_suffix(chosen.suffix)
    _check_target(path, force=force)
    if not as_json and not quiet:
        note(_describe(source))
    subject = _test_images(source, runs, model, dataset, data_dir) if verify else None
    exported = _make(source, chosen)
    verified = _verify(exported, subject) if subject is not None else None
    atomic_write(path, exported.data)
    if as_json:
        print_json(_document(exported, path, subject, verified))
    else:
        title = subject.data.spec.title if subject is not None else ""
        print_export(exported.facts(path), exported.check, verified, title)


@dataclass(frozen=True)
class Exported:
    """A file's bytes before they are written, what they say of themselves, and how they answer."""

    source: Checkpoint
    format: formats.Format
    data: bytes
    metadata: Mapping[str, str]
    answer: Answer
    check: Agreement

    def facts(self, path: Path) -> Facts:
        """What is told of the file."""
        return Facts(path, self.format.title, len(self.data), self.metadata)


def _open(target: Path | None, runs: Path, model: str | None) -> Checkpoint:
    return provenance.open_checkpoint(target, runs, model)


def _describe(source: Checkpoint) -> str:
    voting = f", {source.members} networks that vote" if source.members > 1 else ""
    return f"{source.path}: {source.model.label}{voting}"


def _refuse_folder(out: Path | None) -> None:
    if out is not None and out.is_dir():
        raise OutputError(
            f"--out {out} is a folder, and names no file",
            f"Name a file in it, as --out {out / 'best.onnx'}.",
        )


def _check_target(path: Path, *, force: bool) -> None:
    """Find out before anything is computed whether the file may be written.

    Raises:
        OutputError: it may not.
    """
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a file", "Name a file with --out.")
    if path.exists() and not force:
        raise OutputError(
            f"{path} is there already", "Replace it with --force, or name another with --out."
        )
    check_writable(path.parent)


def _test_images(
    source: Checkpoint, runs: Path, model: str | None, dataset: str | None, data_dir: Path
) -> Subject:
    from mnist_cli.commands.evaluate import open_subject

    return open_subject(
        source.path, runs, model=model, dataset=dataset, data_dir=data_dir, split="test"
    )


def _make(source: Checkpoint, chosen: formats.Format) -> Exported:
    """Encode the network, and try what came of it on random images.

    Raises:
        UsageError: the exporter cannot follow the network.
        ExportMismatch: what came of it computes something else.
    """
    from mnist_cli.commands.export_metadata import describe
    from mnist_cli.exporting.classifier import Classifier

    normalisation = provenance.own_normalisation(source)
    classifier = Classifier(source.build_model(), normalisation)
    metadata = describe(source, chosen)
    try:
        data = formats.writer(chosen).encode(classifier, metadata)
    except Exception as error:  # exporters raise whatever stops them
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UsageError(
            f"the network '{source.model.label}' cannot be exported as {chosen.title}: {reason:.200}",
            "--debug shows where; --format safetensors holds the weights of any network.",
        ) from error
    answer = formats.writer(chosen).load(data, classifier)
    check = _compare(source, answer, _random_images())
    if not check.close:
        raise ExportMismatch(
            f"the {chosen.title} file of {source.path} answers otherwise than the network: a "
            f"probability differs by {check.largest_difference:.1e}",
            "Nothing was written.",
        )
    return Exported(source, chosen, data, metadata, answer, check)


def _random_images() -> Split:
    """Grey noise: what it shows does not matter to whether two programs compute the same."""
    import torch

    from mnist_cli.base.seeding import derive
    from mnist_cli.data.split import Split
    from mnist_cli.exporting.classifier import IMAGE

    generator = torch.Generator().manual_seed(derive(0, "export"))
    shape = (RANDOM_IMAGES, *IMAGE)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    numbers = torch.arange(RANDOM_IMAGES)
    return Split("random", images, torch.zeros_like(numbers), numbers)


def _compare(source: Checkpoint, answer: Answer, images: Split) -> Agreement:
    """The exported answers beside those of the network as `mnist eval` computes them in fp32.

    Raises:
        NonFiniteError: the network's own are not finite.
    """
    import torch

    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.devices.device import resolve_precision
    from mnist_cli.exporting.agreement import answers, compare
    from mnist_cli.training.scoring import predict

    size = (source.config or TrainConfig()).eval_batch_size
    reference = predict(
        source.build_model(),
        images,
        provenance.own_normalisation(source),
        batch_size=size,
        precision=resolve_precision("fp32", torch.device("cpu")),
    )
    provenance.require_finite(reference, source)
    exported = answers(answer, images.images, batch_size=size)
    return compare(exported, reference.exp(), images.labels)


def _verify(exported: Exported, subject: Subject) -> Agreement:
    """Compare the answers to every test image.

    Raises:
        ExportMismatch: a prediction is another.
    """
    agreement = _compare(exported.source, exported.answer, subject.split)
    if agreement.differing or not agreement.close:
        raise ExportMismatch(
            f"the {exported.format.title} file of {exported.source.path} predicts otherwise than "
            f"the network for {agreement.differing:,} of {agreement.images:,} test images; the "
            f"largest difference of a probability is {agreement.largest_difference:.1e}",
            "Nothing was written.",
        )
    return agreement


def _document(
    exported: Exported, path: Path, subject: Subject | None, verified: Agreement | None
) -> dict[str, Any]:
    check = exported.check
    document: dict[str, Any] = {
        "checkpoint": str(exported.source.path),
        "file": str(path),
        "format": exported.format.name,
        "bytes": len(exported.data),
        "metadata": dict(exported.metadata),
        "check": {"images": check.images, "largest_difference": check.largest_difference},
        "verify": None,
    }
    if subject is not None and verified is not None:
        document["verify"] = {"dataset": subject.data.spec.name, "split": "test", **vars(verified)}
    return document
