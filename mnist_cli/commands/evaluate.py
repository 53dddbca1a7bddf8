"""``mnist eval``: a checkpoint's figures on a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.base.packages import require
from mnist_cli.commands import options, provenance
from mnist_cli.config.names import label

if TYPE_CHECKING:
    import torch

    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.data.load import LoadedData
    from mnist_cli.data.split import Split
    from mnist_cli.training.scoring import Evaluation

DRAWN_MISTAKES = 32

SplitFlag = Annotated[
    str,
    typer.Option(
        "--split", metavar="test|val|train", help="Split to evaluate.", rich_help_panel=options.DATA
    ),
]
BatchSizeFlag = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="Images per batch.",
        rich_help_panel=options.COMPUTE,
    ),
]
PlotsFlag = Annotated[
    Path | None,
    typer.Option(
        "--plots",
        metavar="DIR",
        rich_help_panel=options.OUTPUT,
        help="Folder for confusion.png and mistakes.png.",
    ),
]


def evaluate(
    checkpoint: options.CheckpointArgument = None,
    split: SplitFlag = "test",
    model: options.ModelOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    batch_size: BatchSizeFlag = None,
    plots: PlotsFlag = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Evaluate a checkpoint: loss, accuracy, figures by class, confusion matrix, worst mistakes.

    Reads this program's checkpoints and run directories, and the state_dicts of other programs
    (bare, or under model_state_dict or state_dict); their network is recognised by its weights.
    """
    from mnist_cli.base.files import check_writable
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.report.console import note, print_json
    from mnist_cli.report.evaluation import print_evaluation

    # What is not available is said before any data are read.
    options.check_values(batch_size=batch_size)
    where = resolve_device(device or "auto")
    if plots is not None:
        require("matplotlib", "--plots")
        check_writable(plots)
    subject = open_subject(
        checkpoint, runs, model=model, dataset=dataset, data_dir=data_dir, split=split
    )
    if not as_json and not quiet:
        note(subject.describe())
    evaluation = _evaluate(subject, where, precision, batch_size)
    if plots is not None:
        _save_plots(subject, evaluation, plots)
    if as_json:
        print_json(_document(subject, evaluation))
    else:
        print_evaluation(evaluation, subject.classes, subject.files)


@dataclass(frozen=True)
class Subject:
    """A checkpoint, and the images to try it on, still on the CPU."""

    checkpoint: Checkpoint
    data: LoadedData
    split: Split

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        info = self.checkpoint.data
        return info.classes if info is not None else self.data.spec.classes

    @property
    def files(self) -> Sequence[str]:
        """By their numbers the files of the images; empty where they have none of their own."""
        return self.data.files.get("test" if self.split.name == "test" else "train", ())

    def describe(self) -> str:
        """Which checkpoint was taken, and on what it is tried."""
        origin = " (another program's weights)" if self.checkpoint.foreign else ""
        return (
            f"{self.checkpoint.path}: {_network(self.checkpoint)}{origin}, on the "
            f"{len(self.split):,} {self.split.name} images of {self.data.spec.title}"
        )


def _network(checkpoint: Checkpoint) -> str:
    members = checkpoint.members
    name = label(checkpoint.model)
    return name if members == 1 else f"{members} {name}, which vote"


def open_subject(
    target: Path | None,
    runs: Path,
    *,
    model: str | None,
    dataset: str | None,
    data_dir: Path,
    split: str,
) -> Subject:
    """Read a checkpoint, then the images; a split by name, ``val`` being the run's own.

    Raises:
        UsageError, CheckpointError, DataError: what was asked for is not available.
    """
    provenance.check_split(split)
    checkpoint = provenance.open_checkpoint(target, runs, model)
    data = _load(checkpoint, dataset, data_dir)
    return Subject(checkpoint, data, provenance.choose_split(split, checkpoint, data))


def _load(checkpoint: Checkpoint, dataset: str | None, data_dir: Path) -> LoadedData:
    from mnist_cli.data.load import load
    from mnist_cli.report.console import note, warn

    trained_on = checkpoint.data.name if checkpoint.data is not None else "auto"
    data = load(dataset or trained_on, data_dir, say=note, whole=False)
    if data.fallback:
        warn(f"MNIST is not available; these are scikit-learn's bundled digits ({data.fallback})")
    provenance.check_classes(checkpoint, data)
    if other := provenance.elsewhere(checkpoint, data):
        warn(other)
    return data


def _evaluate(
    subject: Subject, device: torch.device, precision_name: str | None, batch_size: int | None
) -> Evaluation:
    """By default in the precision and batches of the training run: the same figures to the bit."""
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.devices.device import compute_settings, resolve_precision
    from mnist_cli.training.scoring import evaluate as judge
    from mnist_cli.training.scoring import predict_members

    checkpoint = subject.checkpoint
    config = checkpoint.config
    name = provenance.precision_name(precision_name, checkpoint, device)
    precision = resolve_precision(name, device)
    size = batch_size or (config or TrainConfig()).eval_batch_size
    with compute_settings(device):
        log_probabilities = predict_members(
            checkpoint.build_model().to(device),
            subject.split.to(device),
            provenance.normalisation(checkpoint, subject.data),
            batch_size=size,
            precision=precision,
            option="--batch-size",
        )
    provenance.require_finite(log_probabilities, checkpoint)
    return judge(log_probabilities, subject.split, subject.classes)


def _document(subject: Subject, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "checkpoint": str(subject.checkpoint.path),
        "model": subject.checkpoint.model,
        "dataset": subject.data.spec.name,
        "split": subject.split.name,
        **evaluation.score.to_plain(),
        **_members(evaluation),
        "calibration_error": evaluation.calibration_error,
        "per_class": [vars(row) for row in evaluation.per_class],
        "confusion": [list(row) for row in evaluation.confusion],
        "mistakes": [
            {**vars(row), **({"path": subject.files[row.index]} if subject.files else {})}
            for row in evaluation.mistakes
        ],
    }


def _members(evaluation: Evaluation) -> dict[str, Any]:
    """Of an ensemble: each member's score, and the mean of their accuracies."""
    if not evaluation.members:
        return {}
    return {
        "members": [member.to_plain() for member in evaluation.members],
        "mean_member_accuracy": evaluation.mean_member_accuracy,
    }


def _save_plots(subject: Subject, evaluation: Evaluation, folder: Path) -> None:
    import torch

    from mnist_cli.report.console import note
    from mnist_cli.report.figures import save_confusion, save_mistakes

    name = provenance.title_name(subject.checkpoint.path)
    save_confusion(evaluation, subject.classes, folder / "confusion.png", name=name)
    worst = evaluation.mistakes[:DRAWN_MISTAKES]
    where = {int(index): row for row, index in enumerate(subject.split.indices.tolist())}
    rows = torch.tensor([where[mistake.index] for mistake in worst], dtype=torch.int64)
    images = subject.split.images.index_select(0, rows).squeeze(1).numpy()
    save_mistakes(
        worst,
        images,
        subject.classes,
        folder / "mistakes.png",
        name=name,
        own=subject.data.spec.own,
    )
    note(f"wrote {folder / 'confusion.png'} and {folder / 'mistakes.png'}")
