"""What is exported computes what the network does, written out by hand."""

from __future__ import annotations

import copy
import io
import json

import onnx
import onnxruntime
import pytest
import torch
from rounding import assert_as_accurate
from safetensors import safe_open
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from mnist_cli.data.split import Normalisation
from mnist_cli.exporting import difference, formats
from mnist_cli.exporting.classifier import Classifier
from mnist_cli.networks import registry as models
from mnist_cli.networks.ensemble import join

MEAN, STD = 0.1307, 0.3081
METADATA = {"model": "a network", "classes": '["0", "ä"]'}
CASES = [("oriented", 1), ("conv4", 1), ("notebook", 1), ("conv2x0.25", 3)]
"""A fixed bank and slices; batch norm; a log-softmax and dropout; an ensemble."""


def networks(name: str, count: int) -> list[nn.Module]:
    """Networks with seeded weights, and where they have a batch norm with figures that matter."""
    torch.manual_seed(11)
    made = [models.build(name).to(memory_format=torch.channels_last) for _ in range(count)]
    for network in made:
        for key, buffer in network.named_buffers():
            if key.endswith("running_mean"):
                buffer.uniform_(-0.5, 0.5)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return made


def pixels(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def by_hand(made: list[nn.Module], images: Tensor) -> Tensor:
    """Probabilities as torchvision normalises and as one would vote, in the networks' type."""
    kind = next(made[0].parameters()).dtype
    x = normalize(images.to(kind) / 255, [MEAN], [STD])
    return sum((net.eval()(x).softmax(1) for net in made), torch.zeros(())) / len(made)


def assert_right(answer: Tensor, made: list[nn.Module], images: Tensor) -> None:
    exact = [copy.deepcopy(network).double() for network in made]
    assert_as_accurate(answer, by_hand(made, images), by_hand(exact, images))


def exported(format_name: str, made: list[nn.Module]) -> tuple[bytes, Classifier]:
    classifier = Classifier(join(made), Normalisation(MEAN, STD))
    return formats.writer(formats.FORMATS[format_name]).encode(classifier, METADATA), classifier


@pytest.mark.parametrize(("name", "count"), CASES)
def test_onnx_answers_as_the_network_for_any_number_of_raw_images(name: str, count: int) -> None:
    made = networks(name, count)
    data, _ = exported("onnx", made)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", 1, 28, 28],
    )
    assert (given.name, given.type, given.shape) == (
        "probabilities",
        "tensor(float)",
        ["batch", 10],
    )
    assert session.get_modelmeta().custom_metadata_map == METADATA
    for batch in (1, 2, 65):
        images = pixels(batch)
        (answer,) = session.run(None, {"images": images.numpy()})
        assert_right(torch.from_numpy(answer), made, images)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.10's own loader
@pytest.mark.parametrize(("name", "count"), CASES)
def test_a_program_of_torch_answers_as_the_network(name: str, count: int) -> None:
    made = networks(name, count)
    data, classifier = exported("torch", made)
    files = {"metadata.json": ""}
    torch.export.load(io.BytesIO(data), extra_files=files)
    assert json.loads(files["metadata.json"]) == METADATA
    answer = formats.writer(formats.FORMATS["torch"]).load(data, classifier)
    for batch in (1, 2, 65):
        images = pixels(batch)
        with torch.no_grad():
            assert_right(answer(images), made, images)


@pytest.mark.parametrize(("name", "count"), CASES)
def test_safetensors_hold_every_weight_and_the_metadata(
    name: str, count: int, tmp_path: object
) -> None:
    made = networks(name, count)
    data, classifier = exported("safetensors", made)
    path = f"{tmp_path}/weights.safetensors"
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)
    expected = {
        f"{number}.{key}" if count > 1 else key: tensor
        for number, network in enumerate(made)
        for key, tensor in network.state_dict().items()
    }
    with safe_open(path, "pt") as opened:
        assert opened.metadata() == METADATA
        assert set(opened.keys()) == set(expected)
        for key, tensor in expected.items():
            assert torch.equal(opened.get_tensor(key), tensor)
    others = Classifier(join([models.build(name) for _ in made]), Normalisation(MEAN, STD))
    answer = formats.writer(formats.FORMATS["safetensors"]).load(data, others)
    assert_right(answer(pixels(3)), made, pixels(3))
    assert (others(pixels(3)) - by_hand(made, pixels(3))).abs().max() > 1e-5
    assert classifier is not others


@pytest.mark.parametrize("format_name", list(formats.FORMATS))
def test_a_file_is_the_same_each_time_and_names_no_folder_of_this_machine(format_name: str) -> None:
    made = networks("conv2x0.25", 1)
    one, two = (exported(format_name, made)[0] for _ in range(2))
    assert one == two
    for part in (b"site-packages", b"models.py", b"classifier.py"):
        assert part not in one


def test_an_onnx_model_is_of_an_opset_that_older_programs_read() -> None:
    model = onnx.load_from_string(exported("onnx", networks("conv2x0.25", 1))[0])
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_agreement_counts_other_predictions_and_finds_the_largest_gap() -> None:
    ours = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    theirs = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    found = difference.compare(theirs, ours, torch.tensor([0, 0, 0]))
    assert (found.images, found.largest_difference, found.differing) == (3, 0.25, 2)
    assert found.accuracy == pytest.approx(2 / 3)
    assert not found.close
    assert difference.compare(ours, ours).close
    broken = torch.full_like(ours, torch.nan)
    assert difference.compare(broken, ours).largest_difference == torch.inf
