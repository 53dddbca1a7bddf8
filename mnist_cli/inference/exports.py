"""A checkpoint's network as a file for other programs, compared with the network before use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mnist_cli.base.seeding import derive
from mnist_cli.data.split import Split
from mnist_cli.errors import ExportMismatch, UsageError
from mnist_cli.exporting import formats
from mnist_cli.exporting.classifier import IMAGE, Answer, Classifier
from mnist_cli.exporting.difference import Agreement, answers, compare
from mnist_cli.inference.export_metadata import describe
from mnist_cli.inference.opened import OpenCheckpoint
from mnist_cli.networks.ensemble import vote

RANDOM_IMAGES = 64


@dataclass(frozen=True)
class Exported:
    """A file before it is written.

    Attributes:
        source: the network, in float32 on the CPU.
        format: of the file.
        data: the file's bytes.
        metadata: what the file says about itself.
        answer: the program in the file, loaded.
        check: comparison with the network on random images.
    """

    source: OpenCheckpoint
    format: formats.Format
    data: bytes
    metadata: Mapping[str, str]
    answer: Answer
    check: Agreement


def make(source: OpenCheckpoint, chosen: formats.Format) -> Exported:
    """Encode the network, and compare the result with it on random images.

    Raises:
        UsageError: the exporter does not support the network.
        ExportMismatch: the result computes something else.
        NonFiniteError: the network's outputs are not finite.
    """
    classifier = Classifier(source.checkpoint.build_model(), source.normalisation)
    metadata = describe(source, chosen)
    try:
        data = formats.writer(chosen).encode(classifier, metadata)
    except Exception as error:  # exporters raise whatever stops them
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UsageError(
            f"the network '{source.label}' cannot be exported as {chosen.title}: {reason:.200}",
            "The format safetensors holds the weights of any network.",
        ) from error
    answer = formats.writer(chosen).load(data, classifier)
    check = _compare(source, answer, _random_images())
    if not check.close:
        raise ExportMismatch(
            f"the {chosen.title} file of {source.path} does not predict as the network does: a "
            f"probability differs by {check.largest_difference:.1e}",
            "Nothing was written.",
        )
    return Exported(source, chosen, data, metadata, answer, check)


def verify(exported: Exported, images: Split) -> Agreement:
    """Compare the answers to every test image.

    Raises:
        ExportMismatch: a prediction differs.
    """
    agreement = _compare(exported.source, exported.answer, images)
    if agreement.differing or not agreement.close:
        raise ExportMismatch(
            f"the {exported.format.title} file of {exported.source.path} predicts another class "
            f"than the network for {agreement.differing:,} of {agreement.images:,} test images; "
            f"the largest difference of a probability is {agreement.largest_difference:.1e}",
            "Nothing was written.",
        )
    return agreement


def _random_images() -> Split:
    """Grey noise: what it shows does not matter to whether two programs compute the same."""
    generator = torch.Generator().manual_seed(derive(0, "export"))
    shape = (RANDOM_IMAGES, *IMAGE)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    numbers = torch.arange(RANDOM_IMAGES)
    return Split("random", images, torch.zeros_like(numbers), numbers)


def _compare(source: OpenCheckpoint, answer: Answer, images: Split) -> Agreement:
    """The file's answers beside those of the network as ``mnist eval`` computes them in fp32."""
    reference = vote(source.log_probabilities(images))
    exported = answers(answer, images.images, batch_size=source.batch_size)
    return compare(exported, reference.exp(), images.labels)
