"""The table of a module, against sums of numel, published formulas and hooks written by hand."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_cli.autograd import Summary, UsageError, summary
from mnist_cli.autograd.graph import TensorMeta
from mnist_cli.autograd.summary_table import HEADER, MAX_ROWS


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def flops(model: nn.Module, *inputs: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops()


def sequence(*sizes: int) -> Tensor:
    return torch.randn(*sizes)


E, L, N = 8, 5, 2
"""Width, length and number of the sequences."""

COSTS: dict[str, tuple[nn.Module, tuple[Any, ...], int]] = {
    "linear": (nn.Linear(4, 8), (sequence(3, 4),), 3 * 4 * 8),
    "linear on a sequence": (nn.Linear(4, 8), (sequence(3, 5, 4),), 3 * 5 * 4 * 8),
    "linear on one row": (nn.Linear(4, 8), (sequence(4),), 4 * 8),
    "convolution": (nn.Conv2d(3, 6, 3, groups=3), (sequence(2, 3, 8, 8),), 2 * 6 * 6 * 6 * 9),
    "transposed": (nn.ConvTranspose2d(4, 8, 3), (sequence(2, 4, 5, 5),), 2 * 25 * 4 * 8 * 9),
    "embedding": (nn.Embedding(10, 3), (torch.arange(5),), 0),
    "batch norm": (nn.BatchNorm2d(4), (sequence(2, 4, 5, 5),), 0),
    "RNN": (nn.RNN(3, 7), (sequence(L, N, 3),), N * L * (7 * 3 + 7 * 7)),
    "GRU": (nn.GRU(3, 7, batch_first=True), (sequence(N, L, 3),), N * L * 3 * (7 * 3 + 7 * 7)),
    "LSTM": (
        nn.LSTM(3, 7, 2, bidirectional=True),
        (sequence(L, N, 3),),
        N * L * 2 * 4 * (7 * 3 + 7 * 7) + N * L * 2 * 4 * (7 * 14 + 7 * 7),
    ),
    "attention": (
        nn.MultiheadAttention(E, 2, batch_first=True),
        (sequence(N, L, E),) * 3,
        N * L * 4 * E * E + 2 * N * L * L * E,
    ),
    "transformer": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, 16, batch_first=True), 2),
        (sequence(N, L, E),),
        2 * (N * L * 4 * E * E + 2 * N * L * L * E + 2 * N * L * E * 16),
    ),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", COSTS)
def test_multiply_adds_are_those_of_the_formula(name: str, frozen: bool) -> None:
    """A frozen module in evaluation mode may take other kernels, with the same products."""
    model, inputs, expected = COSTS[name]
    found = summary(copy.deepcopy(model).train(not frozen).requires_grad_(not frozen), *inputs)
    assert found.multiply_adds == expected
    assert found.total_parameters == sum(one.numel() for one in model.parameters())
    assert found.trainable_parameters == (0 if frozen else found.total_parameters)
    assert sum(row.parameters for row in found.rows) == found.total_parameters


class Block(nn.Module):
    """Layers that are shared, in place, never called and used as plain tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.again = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.again.weight
        self.never = nn.ModuleDict({"deep": nn.Linear(2, 2)})
        self.scale = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: Tensor, *, twice: bool = False) -> dict[str, Any]:
        x = self.body(x).mean((2, 3)) * self.scale
        x = self.again(x)
        return {"scores": self.tied(self.again(x) if twice else x), "features": [x]}


def test_rows_have_the_calls_and_the_modules_that_are_never_called() -> None:
    found = summary(Block(), torch.randn(2, 1, 8, 8), twice=True)
    rows = [(row.module, row.kind, row.call, row.depth) for row in found.rows]
    assert rows == [
        ("", "Block", 0, 0),
        ("never.deep", "Linear", None, 1),
        ("body", "Sequential", 0, 1),
        ("body.0", "Conv2d", 0, 2),
        ("body.1", "BatchNorm2d", 0, 2),
        ("body.2", "ReLU", 0, 2),
        ("again", "Linear", 0, 1),
        ("again", "Linear", 1, 1),
        ("tied", "Linear", 0, 1),
    ]
    at = {(row.module, row.call): row for row in found.rows}
    assert (at["", 0].parameters, at["", 0].trainable) == (4, 0)
    assert at["again", 0].parameters == 4 * 4 + 4
    assert at["again", 1].parameters == 0
    assert at["tied", 0].parameters == 4  # the weight counts at the layer before
    assert at["again", 1].multiply_adds == 2 * 4 * 4
    assert at["body.0", 0].outputs == (TensorMeta((2, 4, 6, 6), "float32"),)
    assert at["body.2", 0].activation is not None
    assert at["body.2", 0].activation.min == 0
    assert found.total_parameters == sum(one.numel() for one in Block().parameters())
    assert found.total_buffers == 4 + 4 + 1


def test_networks_of_torchvision_agree_with_torchinfos_formula() -> None:
    """It takes the entries of weights and biases times the pixels: here without the biases."""
    models = pytest.importorskip("torchvision.models")
    model, images = models.resnet18(weights=None).eval(), torch.randn(2, 3, 32, 32)
    by_hand = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal by_hand
        if isinstance(module, nn.Conv2d | nn.Linear):
            by_hand += len(output) * module.weight.numel() * output[0, 0].numel()

    handles = [one.register_forward_hook(count) for one in model.modules()]
    model(images)
    for handle in handles:
        handle.remove()
    found = summary(model, images)
    assert found.multiply_adds == by_hand
    assert 2 * found.multiply_adds == flops(model, images)
    assert found.total_parameters == 11_689_512


class Draws(nn.Module):
    """Everything that a forward pass may change."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = self.mean * 0.9 + random.random()
        return self.net.eval()(self.net.train()(x)) + torch.rand(3)


def test_the_module_the_random_state_and_the_mode_are_as_they_were() -> None:
    model, x = Draws(), torch.randn(4, 3)
    model.net[2].eval()
    before = copy.deepcopy(model.state_dict())
    modes, buffers = [one.training for one in model.modules()], list(model.buffers())
    states = torch.get_rng_state(), random.getstate()
    assert summary(model, x).training
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert [one.training for one in model.modules()] == modes
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


def test_a_lazy_module_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d())
    found = summary(model, torch.randn(4, 3))
    assert found.total_parameters == 3 * 5 + 5 + 10
    assert [type(one) for one in model] == [nn.LazyLinear, nn.LazyBatchNorm1d]


def test_inputs_that_ask_for_a_gradient_get_no_hook() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    assert summary(nn.Linear(3, 2), x).saved_bytes == 4 * 3 * 4
    assert not x._backward_hooks


def test_without_a_gradient_nothing_is_kept() -> None:
    with torch.no_grad():
        assert summary(nn.Linear(3, 2), torch.randn(4, 3)).saved_bytes == 4 * 3 * 4
    assert summary(nn.Linear(3, 2).requires_grad_(False), torch.randn(4, 3)).saved_bytes == 0


def test_a_model_on_meta_needs_no_memory() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(100_000, 100_000), torch.empty(7, 100_000)
    found = summary(model, x)
    assert found.multiply_adds == 7 * 100_000**2
    assert found.parameter_bytes == 4 * (100_000**2 + 100_000)


def test_a_module_compiled_as_a_whole_is_one_row() -> None:
    model = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), backend="eager")
    found = summary(model, torch.randn(2, 3))
    assert [row.parameters for row in found.rows] == [16]
    assert found.multiply_adds == 2 * 3 * 4


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_program_without_calls_is_refused() -> None:
    with pytest.raises(UsageError, match="no call of this"):
        summary(torch.jit.script(nn.Linear(3, 2)), torch.randn(2, 3))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a module, not a function"):
        summary(flops, torch.randn(2, 3))  # type: ignore[arg-type]


def test_the_text_is_a_table_with_the_totals() -> None:
    text = str(summary(Block().eval(), torch.randn(2, 1, 8, 8)))
    lines = text.splitlines()
    assert lines[0].split() == list(HEADER)
    assert "[2, 1, 8, 8]" in lines[2]
    assert any(line.startswith("    0 ") and "Conv2d" in line for line in lines)
    assert "never.deep" not in text
    assert any("deep (not called)" in line for line in lines)
    assert lines[-1].startswith("in evaluation mode: ")


def hostile() -> Summary:
    model = nn.Sequential()
    model.add_module("\x1b[31m<script>‮", nn.Linear(3, 2))
    return summary(model, torch.randn(2, 3))


def test_names_with_control_characters_and_tags_are_escaped() -> None:
    found = hostile()
    assert "\x1b" not in str(found)
    assert "\\x1b[31m<script>\\u202e" in str(found)
    assert "<script>" not in found._repr_html_()


def test_a_long_table_ends_and_says_how_many_rows_are_left() -> None:
    model = nn.Sequential(*(nn.Identity() for _ in range(MAX_ROWS + 49)))
    found = summary(model, torch.randn(2, 3))
    assert len(found.rows) == MAX_ROWS + 50
    assert len(str(found).splitlines()) == MAX_ROWS + 6
    assert "… and 50 more in .rows" in str(found)
    assert "… and 50 more in .rows" in found._repr_html_()
    assert repr(found) == str(found)


class OnNested(nn.Module):
    """torch's counter fails on nested tensors; the module does not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        nested = torch.nested.as_nested_tensor([x, x[:1]])
        scores: Tensor = self.layer(nested)
        return scores


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_what_torchs_counter_cannot_count_is_said_and_the_rest_is_shown() -> None:
    found = summary(OnNested(), torch.randn(4, 3))
    assert [row.module for row in found.rows] == ["", "layer"]
    assert found.rows[1].saved_bytes == (4 + 1) * 3 * 4
    assert found.multiply_adds == 0
    assert "multiply-adds are not counted" in str(found)


def test_an_error_of_the_module_is_its_own_and_leaves_it_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(4, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        summary(model, torch.randn(5, 3))
    assert model[0].num_batches_tracked == 0
    assert not any(one._forward_hooks for one in model.modules())


def test_rows_of_a_packed_sequence_are_those_that_run() -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 3, 5), [4, 2, 1])
    assert summary(nn.LSTM(5, 7), packed).multiply_adds == (4 + 2 + 1) * 4 * 7 * (5 + 7)


def test_memory_of_a_result_that_holds_no_tensor_is_said_to_be_unknown() -> None:
    class Policy(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return torch.distributions.Categorical(logits=super().forward(x))

    shown = str(summary(Policy(3, 2), torch.randn(4, 3)))
    assert "the memory kept for backward is not known: no tensor is found in a Categorical" in shown
    assert summary(nn.Linear(3, 2), torch.randn(4, 3)).notes == ()


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_in_forward_mode_differentiation_the_memory_is_the_same() -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert summary(model, dual).saved_bytes == summary(model, x).saved_bytes
