"""What is exported computes what the network does, written out by hand."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from rounding import assert_as_accurate
from safetensors import safe_open
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from mnist_cli.data.split import Normalisation
from mnist_cli.exporting import difference, formats, onnx_model
from mnist_cli.exporting.classifier import Answer, Classifier
from mnist_cli.exporting.formats import Input
from mnist_cli.exporting.onnx_model import drop_allowzero
from mnist_cli.exporting.reading import Network, reading_lines
from mnist_cli.exporting.weights import second_names
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


def exported(
    format_name: str, made: list[nn.Module], taken: Input | None = None
) -> tuple[bytes, Classifier]:
    classifier = Classifier(join(made), Normalisation(MEAN, STD), taken)
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
    graph = onnx.load_from_string(data).graph
    # onnx2torch has neither of these.
    assert "allowzero" not in {one.name for node in graph.node for one in node.attribute}
    assert "ReduceMean" not in {node.op_type for node in graph.node}
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


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
@pytest.mark.parametrize(
    ("format_name", "dtype"), [("onnx", "float32"), ("torch", "uint8"), ("torch", "float32")]
)
def test_a_program_takes_the_type_and_number_of_images_that_it_was_made_for(
    format_name: str, dtype: str
) -> None:
    made, taken = networks("conv4", 1), Input(dtype, 4)
    data, classifier = exported(format_name, made, taken)
    if format_name == "onnx":
        graph = onnx.load_from_string(data).graph
        (given,) = graph.input
        assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [4, 1, 28, 28]
        assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    answer = formats.writer(formats.FORMATS[format_name]).load(data, classifier)
    images = pixels(4).to(getattr(torch, dtype))
    with torch.no_grad():
        assert_right(answer(images), made, images)
    images = pixels(10)
    found = difference.answers(answer, images, taken, batch_size=3)
    assert len(found) == 10
    assert_right(found, made, images)


def test_any_number_of_images_is_checked_in_batches_of_the_programs_type() -> None:
    sizes = []

    def answer(images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        sizes.append(len(images))
        return images.flatten(1)[:, :10]

    images = pixels(7)
    found = difference.answers(answer, images, Input("float32"), batch_size=3)
    assert torch.equal(found, images.flatten(1)[:, :10].float())
    assert sizes == [3, 3, 1]


def reshape(sizes: list[int] | None) -> onnx.NodeProto:
    """A Reshape with allowzero, to constant sizes or to computed ones, after it was tidied."""
    node = onnx.helper.make_node("Reshape", ["x", "sizes"], ["y"], allowzero=1)
    constants = [] if sizes is None else [onnx.numpy_helper.from_array(np.array(sizes), "sizes")]
    graph = onnx.helper.make_graph([node], "g", [], [], constants)
    drop_allowzero(graph)
    return graph.node[0]


@pytest.mark.parametrize(
    ("sizes", "kept"), [([-1, 800], False), ([2, 3], False), ([2, 0], True), (None, True)]
)
def test_allowzero_is_dropped_where_no_size_is_0(sizes: list[int] | None, kept: bool) -> None:
    assert [one.name for one in reshape(sizes).attribute] == ["allowzero"] * kept


class Shared(nn.Module):
    """A part with two names, a weight with two names, and two buffers that are views of one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(784, 8))
        self.net = nn.Sequential(self.features, nn.Linear(8, 10))
        self.other = nn.Linear(8, 10)
        self.other.weight = self.net[1].weight
        both = torch.arange(12.0)
        self.register_buffer("low", both[:8])
        self.register_buffer("high", both[4:])

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.features(images)
        out: Tensor = self.net(images) + self.other(hidden * self.low + self.high)
        return out


def test_safetensors_hold_a_weight_with_two_names_under_each() -> None:
    torch.manual_seed(2)
    network, fresh = Shared(), Shared()
    data, classifier = exported("safetensors", [network])
    fresh.load_state_dict(safetensors.torch.load(data))
    images = pixels(5)
    assert torch.equal(fresh(images.float()), network(images.float()))
    assert fresh.other.weight is fresh.net[1].weight
    answer: Answer = formats.writer(formats.FORMATS["safetensors"]).load(data, classifier)
    assert_right(answer(images), [network], images)
    assert second_names(network) == {
        "net.0.1.weight": "features.1.weight",
        "net.0.1.bias": "features.1.bias",
        "other.weight": "net.1.weight",
    }
    assert second_names(networks("conv4", 1)[0]) == {}


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
@pytest.mark.parametrize(
    ("format_name", "count", "taken"),
    [
        ("onnx", 1, Input("float32", 3)),
        ("torch", 1, Input()),
        ("torch", 1, Input("float32", 3)),
        ("safetensors", 1, Input()),
        ("safetensors", 2, Input()),
    ],
)
def test_the_printed_lines_read_the_file(
    format_name: str, count: int, taken: Input, tmp_path: Path
) -> None:
    made, chosen = networks("conv2x0.25", count), formats.FORMATS[format_name]
    path = tmp_path / f"a 'quoted' name{chosen.suffix}"
    path.write_bytes(exported(format_name, made, taken)[0])
    lines = reading_lines(path, chosen, taken, Network("conv2x0.25", 10, count, MEAN, STD))
    names: dict[str, Any] = {}
    with torch.no_grad():
        exec("\n".join(lines), names)
    black = torch.zeros(taken.batch or 1, 1, 28, 28)
    assert torch.as_tensor(names["images"]).shape == black.shape
    assert_right(torch.as_tensor(names["probabilities"]), made, black)


def test_telemetry_is_off_unless_the_user_has_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    onnx_model.keep_private()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    onnx_model.keep_private()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


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
