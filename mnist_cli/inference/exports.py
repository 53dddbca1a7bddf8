"""Exports a checkpoint's network as a file, and compares the file with the network before use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from mnist_cli.base.packages import explain_import
from mnist_cli.base.seeding import derive
from mnist_cli.data.split import Split
from mnist_cli.devices.memory import explained, is_out_of_memory
from mnist_cli.errors import ExportMismatch, MnistError
from mnist_cli.exporting import formats
from mnist_cli.exporting.classifier import IMAGE, Answer, Classifier
from mnist_cli.exporting.difference import Agreement, answers, compare
from mnist_cli.exporting.export_failures import not_exportable
from mnist_cli.inference.export_metadata import describe
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks.ensemble import vote

RANDOM_IMAGES = 64
NOTHING_WRITTEN = "Nothing was written. Is the network random in evaluation mode?"


@dataclass(frozen=True)
class Exported:
    """A file before it is written.

    Attributes:
        source: the network, in float32 on the CPU.
        format: of the file.
        taken: the images that its program takes.
        data: the file's bytes.
        metadata: the metadata in the file.
        answer: the program in the file, loaded.
        check: comparison with the network on random images.
    """

    source: OpenCheckpoint
    format: formats.Format
    taken: formats.Input
    data: bytes
    metadata: Mapping[str, str]
    answer: Answer
    check: Agreement


def make(
    source: OpenCheckpoint, chosen: formats.Format, taken: formats.Input | None = None
) -> Exported:
    """Encode the network, and compare the result with it on random images.

    If ``taken`` is None, the exported program takes uint8 images, any number.

    Raises:
        NotExportable: the exporter, or the reader that checks its result, does not support the
            network.
        ExportMismatch: the result computes other probabilities.
        NonFiniteError: the network's outputs are not finite.
        OutOfMemory: too little memory.
    """
    taken = taken or formats.Input()
    classifier = Classifier(source.checkpoint.build_model(), source.normalisation, taken)
    metadata = describe(source, chosen, taken)
    images = _random_images()
    with _explaining(source, chosen):
        data = formats.writer(chosen).encode(classifier, metadata)
        answer = formats.writer(chosen).load(data, classifier)
        predictions = answers(answer, images.images, taken, batch_size=source.batch_size)
    check = compare(predictions, _reference(source, images))
    if not check.close:
        raise ExportMismatch(
            f"the {chosen.title} file of {source.path} does not predict as the network does: a "
            f"probability differs by {check.largest_difference:.1e}",
            NOTHING_WRITTEN,
        )
    return Exported(source, chosen, taken, data, metadata, answer, check)


@contextlib.contextmanager
def _explaining(source: OpenCheckpoint, chosen: formats.Format) -> Iterator[None]:
    """Turn any failure of an exporter into an error with its cause."""
    try:
        yield
    except MnistError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            shortage = explained(error)
            shortage.hint = "Free some memory, or export it for fewer images at once."
            raise shortage from error
        if known := explain_import(error):
            raise known from error
        raise not_exportable(error, source.label, chosen) from error


def verify(exported: Exported, images: Split) -> Agreement:
    """Compare the answers to every test image.

    Raises:
        ExportMismatch: a prediction differs.
        NotExportable: the exported program fails on them.
        OutOfMemory: too little memory.
    """
    source = exported.source
    taken, size = exported.taken, source.batch_size
    with _explaining(source, exported.format):
        predictions = answers(exported.answer, images.images, taken, batch_size=size)
    agreement = compare(predictions, _reference(source, images), images.labels)
    if agreement.differing or not agreement.close:
        raise ExportMismatch(
            f"the {exported.format.title} file of {exported.source.path} predicts another class "
            f"than the network for {agreement.differing:,} of {agreement.images:,} test images; "
            f"the largest difference of a probability is {agreement.largest_difference:.1e}",
            NOTHING_WRITTEN,
        )
    return agreement


def _random_images() -> Split:
    """Grey noise: any images show whether two programs compute the same."""
    generator = torch.Generator().manual_seed(derive(0, "export"))
    shape = (RANDOM_IMAGES, *IMAGE)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    numbers = torch.arange(RANDOM_IMAGES)
    return Split("random", images, torch.zeros_like(numbers), numbers)


def _reference(source: OpenCheckpoint, images: Split) -> torch.Tensor:
    """The network's own probabilities (N, classes) as ``mnist eval`` computes them in fp32."""
    return vote(source.scorer.log_probabilities(images)).exp()
