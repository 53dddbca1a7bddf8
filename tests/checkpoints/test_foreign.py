"""Other programs' files: which weights in them are used, under which keys, prefixes and types."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_cli.checkpoints import candidates
from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.checkpoints.contents import Contents, LeftOut
from mnist_cli.checkpoints.foreign import ForeignWeights, read_foreign
from mnist_cli.checkpoints.weight_check import LISTED
from mnist_cli.errors import CheckpointError
from mnist_cli.networks import registry as models

Weights = dict[str, Tensor]


def weights_of(name: str, classes: int = 10, seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    return dict(models.build(name, classes).state_dict())


W = weights_of("conv4", 47)
OTHER = weights_of("conv4", 47, seed=1)
SIMPLE = weights_of("notebook")


def under(prefix: str, weights: Weights = W) -> Weights:
    return {f"{prefix}{name}": one for name, one in weights.items()}


def read(contents: Any, model: str | None = None) -> ForeignWeights:
    return read_foreign(Path("a.pt"), Contents(contents), model)


def refused(contents: Any, model: str | None = None) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read(contents, model)
    assert "a.pt" in caught.value.message
    return caught.value


def optimiser_state() -> dict[str, Any]:
    moments = {number: {"exp_avg": torch.ones(2)} for number in range(3)}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1, 2]}]}


# --- where the weights are

KEYS = (
    *("model_state_dict", "state_dict", "model", "net", "network", "params", "weights", "state"),
    *("model_dict", "model_state", "net_state_dict", "ema", "generator", "cnn", "G", "parameters"),
    *("best_model_wts", "my_very_own_key"),
)
PREFIXES = (
    *("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "a.b.c."),
    *("module._orig_mod.", "_orig_mod.module.", "model.module.", "model.net."),
)
LIGHTNING = {
    "epoch": 4,
    "global_step": 2345,
    "pytorch-lightning_version": "2.4.0",
    "state_dict": OrderedDict(under("model.")),
    "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
    "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.ones(())}},
    "optimizer_states": [optimiser_state()],
    "lr_schedulers": [],
    "hparams_name": "kwargs",
    "hyper_parameters": {"lr": 1e-3},
}
SHAPES: dict[str, Any] = {
    "bare": W,
    "ordered": OrderedDict(W),
    "sorted": dict(sorted(W.items())),
    "parameters": {k: nn.Parameter(v, v.is_floating_point()) for k, v in W.items()},
    "beside other values": {"arch": "x", "state_dict": W, "best_acc1": 99.0, "args": {"lr": 0.1}},
    "beside an optimiser": {"epoch": 3, "model": W, "optimizer": optimiser_state(), "loss": 0.1},
    "beside none": {"model": W, "scheduler": None, "scaler": {}},
    "ImageNet's .pth.tar": {"epoch": 9, "arch": "x", "state_dict": under("module.")},
    "Lightning": LIGHTNING,
    "a Lightning module with a loss": {
        "state_dict": {**under("net."), "criterion.weight": W["fc.bias"]}
    },
    "timm, its average too": {"arch": "x", "state_dict": W, "state_dict_ema": OTHER, "version": 2},
    "an average too": {"model": W, "ema": OTHER, "epoch": 4},
    "an average before it": {"ema_model": OTHER, "model": W},
    "a copy beside an unusual key": {"shadow_params": OTHER, "snapshot": W},
    "a usual word beside an unusual one": {"snapshot": OTHER, "cnn_weights": W},
    "the best too": {"best_state_dict": OTHER, "net": W},
    "Polyak averages inside": {"state_dict": {**under("model."), **under("ema_model.", OTHER)}},
    "torch's AveragedModel": {"n_averaged": torch.tensor(3), **under("module.")},
    "two levels": {"checkpoint": {"epoch": 3, "model": W}},
    "three levels": {"a": {"b": {"c": W}}},
    "by layers": {
        layer: {k.split(".")[1]: v for k, v in W.items() if k.startswith(f"{layer}.")}
        for layer in dict.fromkeys(k.split(".")[0] for k in W)
    },
    "pairs": list(W.items()),
    "pairs under a key": {"params": [list(pair) for pair in W.items()]},
    "a list of one": [W],
    "a tuple with the epoch": (W, 3, {"loss": 0.1}),
    "defaultdict": defaultdict(dict, {"model": defaultdict(list, W)}),
    "spread among others": {**W, "epoch": torch.tensor(3), "accuracy": torch.tensor(0.9)},
    "thop's counters": {**W, "total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)},
    "without counters": {k: v for k, v in W.items() if "num_batches" not in k},
    "counters of another type": {k: v.to(torch.int32) if "num_" in k else v for k, v in W.items()},
    "counters with an axis": {k: v.reshape(1) if "num_" in k else v for k, v in W.items()},
    "counters that were averaged": {k: v.float() if "num_" in k else v for k, v in W.items()},
    "the same twice": {"first": W, "second": dict(W)},
    "a compiled part": {k.replace("conv1.", "conv1._orig_mod."): v for k, v in W.items()},
    "not contiguous": {k: v.mT.contiguous().mT if v.ndim > 1 else v for k, v in W.items()},
    "with gradients by name": {"grads": OTHER, "weights": W},
    "numbers as keys": {0: {"model": W}, 1: 2.0},
    **{f"under {key}": {"epoch": 3, key: W} for key in KEYS},
    **{f"prefix {prefix}": under(prefix) for prefix in PREFIXES},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("named", [False, True])
def test_what_other_programs_save_is_read(shape: str, named: bool) -> None:
    found = read(SHAPES[shape], "conv4" if named else None)
    assert (found.model, found.classes) == ("conv4", 47)
    assert found.weights.keys() == W.keys()
    assert all(torch.equal(found.weights[name], W[name]) for name in W)


NOTES = {
    "bare": "",
    "under my_very_own_key": "the weights are those under 'my_very_own_key'",
    "two levels": "the weights are those under ['checkpoint']['model']",
    "a tuple with the epoch": "the weights are those under [0]",
    "prefix model.net.": "the prefix 'model.net.' was removed from the names",
    "an average before it": "other weights that fit are not used: under 'ema_model'",
    "Polyak averages inside": "not used: under 'state_dict', with the prefix 'ema_model.'",
    "a Lightning module with a loss": "ignored: 'criterion.weight'",
    "thop's counters": "ignored: 'total_ops', 'conv1.total_params'",
    "spread among others": "ignored: 'epoch', 'accuracy'",
    "without counters": "4 missing counters 'num_batches_tracked' of batch norm were set to 0",
    "a compiled part": "prefixes of wrappers",
}


@pytest.mark.parametrize("shape", NOTES)
def test_what_was_found_and_ignored_is_said(shape: str) -> None:
    notes = read(SHAPES[shape]).notes
    assert any(NOTES[shape] in note for note in notes) if NOTES[shape] else notes == ()


def test_an_optimisers_tensors_are_no_remark() -> None:
    assert read(LIGHTNING).notes == (
        "the weights are those under 'state_dict'",
        "the prefix 'model.' was removed from the names",
    )


def test_a_file_of_two_networks_is_used_for_the_known_one() -> None:
    found = read({"decoder": {"0.weight": torch.ones(3, 4)}, "encoder": SIMPLE})
    assert found.model == "notebook"
    assert "other tensors are not used: 'decoder'" in found.notes


@pytest.mark.parametrize(
    ("contents", "places"),
    [
        ({"net_a": W, "net_b": OTHER}, ("under 'net_a' (conv4)", "under 'net_b' (conv4)")),
        ({"net_a": W, "net_b": SIMPLE}, ("under 'net_b' (notebook)", "under 'net_a' (conv4)")),
        ({**under("a."), **under("b.", OTHER)}, ("with the prefix 'a.'", "with the prefix 'b.'")),
        ([W, OTHER], ("under [0]", "under [1]")),
        ({"ema": W, "teacher": OTHER}, ("'ema'", "'teacher'")),
        ({1: {"model": W}, 2: {"model": OTHER}}, ("[1]['model']", "[2]['model']")),
    ],
    ids=["names alike", "two networks", "prefixes", "a list", "copies alone", "numbers"],
)
def test_several_that_fit_alike_are_named_and_not_chosen(
    contents: Any, places: tuple[str, ...]
) -> None:
    error = refused(contents)
    assert all(place in error.message for place in places), error.message
    assert "torch.load('a.pt', weights_only=True)" in error.hint


def test_the_way_out_of_two_that_fit_alike_works(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {**under("a."), **under("b.", OTHER)}}, "a.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(Path("a.pt"))
    command = caught.value.hint.split(": ", 1)[1]
    exec(command, {"torch": torch})
    assert torch.equal(checkpoints.read(Path("one.pt")).weights["fc.bias"], W["fc.bias"])


def test_a_part_of_a_larger_network_is_used_only_if_the_network_is_named() -> None:
    larger = {**under("features."), "head.weight": torch.ones(10, 47)}
    error = refused(larger)
    assert "with the prefix 'features.' fit 'conv4', but 'head.weight' are beside" in error.hint
    found = read(larger, "conv4")
    assert torch.equal(found.weights["fc.bias"], W["fc.bias"])
    assert "other tensors are not used: 'head.weight'" in found.notes


# --- what an exported file says of itself


@pytest.mark.parametrize("name", ["conv2x0.5", "example-2019", "conv4x1.25"])
def test_the_network_that_an_exported_file_names_is_used(name: str) -> None:
    contents = Contents(weights_of(name), "safetensors", {"model": name, "members": "1"})
    assert read_foreign(Path("a.safetensors"), contents, None).model == name


@pytest.mark.parametrize("name", ["net.py:Net", "/x/net.py:Net", "conv9", "", "oriented"])
def test_a_name_that_is_none_or_does_not_fit_is_ignored(name: str) -> None:
    contents = Contents(SIMPLE, "safetensors", {"model": name})
    assert read_foreign(Path("a.safetensors"), contents, None).model == "notebook"


def test_the_refusal_says_which_network_an_exported_file_names() -> None:
    contents = Contents({"a": torch.ones(2)}, "safetensors", {"model": "net.py:\x1bNet"})
    with pytest.raises(CheckpointError) as caught:
        read_foreign(Path("a.safetensors"), contents, None)
    assert "Its metadata name the network 'net.py:\\x1bNet'." in caught.value.hint


def test_an_exported_ensemble_votes() -> None:
    """As the network that was exported: names begin with the members' numbers."""
    members = [weights_of("conv2", seed=seed) for seed in range(3)]
    document = {f"{n}.{k}": v for n, one in enumerate(members) for k, v in one.items()}
    contents = Contents(document, "safetensors", {"model": "conv2", "members": "3"})
    found = read_foreign(Path("a.safetensors"), contents, None)
    assert (found.members, found.notes) == (3, ())
    for number, one in enumerate(members):
        assert all(torch.equal(found.weights[f"members.{k}"][number], v) for k, v in one.items())
    uneven = {**document, **under("2.", weights_of("conv2", 7))}
    metadata = {"model": "conv2", "members": "3"}
    with pytest.raises(CheckpointError, match="several state_dicts that fit"):
        read_foreign(Path("a.safetensors"), Contents(uneven, "safetensors", metadata), None)
    for metadata in ({}, {"members": "4"}, {"members": "x"}, {"members": "9" * 20}):
        with pytest.raises(CheckpointError, match="several state_dicts that fit") as caught:
            read_foreign(Path("a.safetensors"), Contents(document, "safetensors", metadata), None)
        assert "safetensors.torch.load_file('a.safetensors').items()" in caught.value.hint


# --- types

CASTS = {
    "float16": (torch.float16, "{n} tensors were cast from float16 to float32"),
    "bfloat16": (torch.bfloat16, "{n} tensors were cast from bfloat16 to float32"),
    "float64": (torch.float64, "{n} tensors were cast from float64 to float32"),
}


@pytest.mark.parametrize("case", CASTS)
@pytest.mark.parametrize("named", [False, True])
def test_other_floating_types_are_cast_and_said(case: str, named: bool) -> None:
    dtype, words = CASTS[case]
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in W.items()}
    found = read({"model": under("module.", cast)}, "conv4" if named else None)
    for name, one in found.weights.items():
        assert torch.equal(one, W[name].to(dtype).to(W[name].dtype))
        assert one.dtype == W[name].dtype
    count = sum(one.is_floating_point() for one in W.values())
    assert words.format(n=count) in found.notes


def test_one_cast_tensor_is_counted_alone() -> None:
    found = read({**SIMPLE, "fc2.bias": SIMPLE["fc2.bias"].double()})
    assert found.notes == ("1 tensor was cast from float64 to float32",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((10,), 1e39, dtype=torch.float64), "float64 and holds values that float32"),
        (torch.full((10,), float("inf"), dtype=torch.float64), "'fc2.bias' holds NaN or infinity"),
        (torch.full((10,), float("nan"), dtype=torch.float16), "'fc2.bias' holds NaN or infinity"),
        (torch.ones(10, dtype=torch.int8), "fc2.bias has (10,) int8, not (10,) float32"),
        (torch.ones(10, dtype=torch.uint8), "fc2.bias has (10,) uint8, not (10,) float32"),
        (torch.ones(10, dtype=torch.bool), "fc2.bias has (10,) bool, not (10,) float32"),
        (torch.ones(10, dtype=torch.complex64), "complex64, not (10,) float32"),
        (torch.ones(10).to(torch.float8_e4m3fn), "float8_e4m3fn, not (10,) float32"),
        (torch.ones(10).to_sparse(), "fc2.bias is a tensor without plain memory"),
        (torch.empty(10, device="meta"), "fc2.bias is a tensor without plain memory"),
    ],
    ids=["too large", "inf", "nan", "int8", "uint8", "bool", "complex", "float8", "sparse", "meta"],
)
@pytest.mark.parametrize("named", [False, True])
def test_values_that_are_no_float32_weights_are_refused(
    value: Tensor, words: str, named: bool
) -> None:
    error = refused({**SIMPLE, "fc2.bias": value}, "notebook" if named else None)
    assert words in error.message


# --- what is refused


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({}, "it is an empty dict"),
        ({"epoch": 3, "loss": 0.1}, "no named tensors are under its keys 'epoch', 'loss'"),
        ({"state_dict": {}}, "'state_dict'"),
        ({"model_state_dict": {"a": 1}}, "'model_state_dict'"),
        ({"a": [torch.ones(1)]}, "'a'"),
        ([torch.ones(1), torch.ones(2)], "its 2 tensors have no names"),
        ([1], "it is a list"),
        ({"state": {0: {"step": torch.ones(())}}, "param_groups": []}, "the state of an optimiser"),
        ({"optimizer": {"conv1.weight": torch.ones(1)}}, "'optimizer'"),
        ({f"k{n}": n for n in range(11)}, "'k7', … and 3 more"),
    ],
)
def test_an_object_without_weights_is_refused(contents: Any, words: str) -> None:
    message = refused(contents).message
    assert "neither a checkpoint of mnist_cli nor a state_dict" in message
    assert words in message


def test_an_unknown_network_lists_what_was_found() -> None:
    error = refused({"epoch": torch.tensor(3), "model": nn.Linear(7, 3).state_dict()})
    assert "weight (3, 7), bias (3,)" in error.message
    assert "conv4" in error.hint


@pytest.mark.parametrize("model", [None, "notebook"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("fc1.weight_mask", "prune.remove(layer, 'weight')"),
        ("fc1.weight_g", "remove_weight_norm(layer)"),
        ("fc1.weight_u", "remove_spectral_norm(layer)"),
        ("fc1.parametrizations.weight.original0", "remove_parametrizations(layer, 'weight')"),
    ],
)
def test_the_hint_for_weights_computed_from_several_tensors(
    name: str, call: str, model: str | None
) -> None:
    assert call in refused({"model": {**SIMPLE, name: torch.ones(1)}}, model).hint
    assert "several tensors" not in refused({"model": {"fc1.bias": torch.ones(1)}}, model).hint


def test_a_long_list_of_names_says_how_many_more_there_are() -> None:
    names = {f"layers.{number}.weight": torch.ones(1) for number in range(LISTED + 5)}
    assert refused(names).message.endswith(", … and 5 more")


CHANGES: dict[str, Callable[[Weights], Weights]] = {
    "one more": lambda w: {**w, "bn1.weight": torch.ones(20)},
    "one more layer by layer": lambda w: {**w, "stn.0.weight": torch.ones(3)},
    "a scale": lambda w: {**w, "scale": torch.tensor(1.0)},
    "one missing": lambda w: {k: v for k, v in w.items() if k != "fc1.bias"},
    "a shape": lambda w: {**w, "conv2.weight": torch.ones(21, 10, 5, 5)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_differs_in_part_is_not_taken_for_a_known_one(change: str) -> None:
    changed = CHANGES[change](SIMPLE)
    assert "no known network" in refused({"model": under("net.", changed)}).message
    beside = {"other.weight": torch.ones(1)}
    message = refused({"model": under("net.", changed) | beside}, "notebook").message
    assert message.startswith("a.pt does not fit the network 'notebook'")
    assert message.count(";") == 0, "only that difference is listed"


def test_a_network_named_in_vain_lists_the_differences() -> None:
    message = refused(nn.Linear(7, 3).state_dict(), "conv2").message
    assert "conv1.weight is missing" in message
    assert "… and 2 more" in message
    assert "unknown model" in refused(weights_of("conv2"), "resnet").message


def test_differences_are_those_after_the_prefix_and_the_cast() -> None:
    half = {name: one.half() for name, one in SIMPLE.items()}
    half["fc2.bias"] = half["fc2.bias"][:7]
    message = refused({"model": under("module.", half)}, "notebook").message
    assert message.endswith("fc2.weight has (10, 50) float32, not (7, 50) float32")


@pytest.mark.parametrize(
    ("contents", "left_out", "words"),
    [
        ({"net": None}, LeftOut("net", "__main__.Net", True), "a whole pickled network"),
        ({"a": W["fc.bias"]}, LeftOut("b", "x.Y"), "a (47,); not read: b (x.Y)"),
        ({"a": 1}, LeftOut("b", "x.Y"), "its keys 'a'; not read: b (x.Y)"),
    ],
    ids=["a module", "a tensor of a class", "nothing"],
)
def test_a_refusal_names_what_was_not_read(contents: Any, left_out: LeftOut, words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_foreign(Path("a.pt"), Contents(contents, left_out=(left_out,)), None)
    assert words in caught.value.message


def test_an_optimiser_saved_whole_is_left_out(tmp_path: Path) -> None:
    """Its state is a dict whose keys are the parameters."""
    network = nn.Linear(2, 2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    torch.save({"model": dict(W), "optimiser": optimiser}, tmp_path / "a.pt")
    notes = checkpoints.read(tmp_path / "a.pt").notes
    assert "not read: optimiser (torch.optim.sgd.SGD)" in notes


def test_what_was_not_read_beside_the_weights_is_said() -> None:
    contents = Contents({"model": W}, left_out=(LeftOut("args", "argparse.Namespace"),))
    notes = read_foreign(Path("a.pt"), contents, None).notes
    assert "not read: args (argparse.Namespace)" in notes


@pytest.mark.parametrize("value", [torch.ones(()).int(), "pytorch", 3, {"version": 1}])
def test_a_key_called_format_says_nothing(tmp_path: Path, value: object) -> None:
    torch.save({"format": value, "version": 2, "state_dict": dict(W)}, tmp_path / "a.pt")
    assert checkpoints.read(tmp_path / "a.pt").foreign


# --- hostile


def test_names_that_a_terminal_would_obey_are_spelled_out() -> None:
    key = "\x1b[31mmodel"
    assert "\x1b" not in "".join(read({key: W}).notes)
    assert "\x1b" not in str(refused({key: {"\x1b[2J": torch.ones(1)}}))
    assert "\x1b" not in str(
        refused({f"{key}{n}": {**W, "fc.bias": W["fc.bias"] + n} for n in (1, 2)})
    )


def test_more_tensors_than_a_network_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_TENSORS", 50)
    one = torch.ones(1)
    assert "more tensors" in refused({f"a{n}": one for n in range(52)} | {"b": {}}).message


def test_containers_that_hold_each_other_many_times_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "MAX_CONTAINERS", 5000)
    row: list[Any] = []
    for _ in range(6):
        row = [row] * 20
    assert "more tensors" in refused({"a": row}).message


def test_a_thousand_networks_in_one_file_are_refused_as_several() -> None:
    """Each comparison takes milliseconds, so their number is bounded."""
    many = {f"net{n}": {**SIMPLE, "fc2.bias": SIMPLE["fc2.bias"] + n} for n in range(1000)}
    assert "… and 92 more" in refused(many).message


def test_the_file_holds_what_the_checkpoint_says(tmp_path: Path) -> None:
    """Through a file: the weights, the notes and a network that computes with them."""
    path = tmp_path / "a.pt"
    torch.save({"net": under("module.", {k: v.half() for k, v in SIMPLE.items()})}, path)
    checkpoint = checkpoints.read(path)
    assert (checkpoint.model, checkpoint.foreign, len(checkpoint.notes)) == ("notebook", True, 3)
    built = checkpoint.build_model().state_dict()
    assert all(torch.equal(built[key], one.half().float()) for key, one in SIMPLE.items())
