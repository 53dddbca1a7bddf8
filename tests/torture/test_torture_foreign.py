"""Checkpoints of something else: the difference is named, and nothing is loaded in part."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from readers import READERS, document, feed, replaced, saved
from tally import Tally
from torch import Tensor
from victim import Victim

from mnist_cli.networks import registry as models

Weights = dict[str, Tensor]


def changed(original: dict[str, Any], change: Callable[[Weights], object]) -> dict[str, Any]:
    document = copy.deepcopy(original)
    change(document["model"]["weights"])
    return document


def foreign(plain: dict[str, Any]) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Files by what is foreign about them, each with words that name the difference."""

    def weights(change: Callable[[Weights], object]) -> bytes:
        return saved(changed(plain, change))

    def value(place: str, new: Any) -> bytes:
        return saved(replaced(plain, place, new))

    wide = models.build("notebook", 26).state_dict()
    other = models.build("conv4").state_dict()
    nan, infinite = float("nan"), float("inf")
    return {
        "another network's weights": (
            value("model/weights", other),
            ("does not fit the network 'notebook'", "fc1.bias is missing", "is not part of it"),
        ),
        "another network's name": (value("model/name", "conv4"), ("does not fit", "is missing")),
        "an unknown network": (value("model/name", "resnet50"), ("unknown model 'resnet50'",)),
        "another number of classes": (
            value("model/weights", wide),
            ("fc2.weight has (26, 50)", "not (10, 50)", "fc2.bias"),
        ),
        "names of more classes": (value("data/classes", list("abcdefghijk")), ("not (11, 50)",)),
        "a later format": (value("version", 2), ("format version 2", "reads version 1")),
        "no version": (value("version", None), ("format version None",)),
        "another format": (
            value("format", "mnist-cli/grad-graph"),
            ("not a mnist-cli/checkpoint",),
        ),
        "a key missing": (
            weights(lambda w: w.pop("conv2.bias")),
            ("conv2.bias is missing",),
        ),
        "a key too many": (
            weights(lambda w: w.update(more=torch.ones(1))),
            ("more is not part of it",),
        ),
        "a key renamed": (
            weights(lambda w: w.update({"fc.weight": w.pop("fc1.weight")})),
            ("fc1.weight is missing", "fc.weight is not part of it"),
        ),
        "another dtype": (
            weights(lambda w: w.update({"fc1.bias": w["fc1.bias"].double()})),
            ("fc1.bias has (50,) float64, not (50,) float32",),
        ),
        "another shape": (
            weights(lambda w: w.update({"fc1.bias": torch.ones(49)})),
            ("fc1.bias has (49,) float32, not (50,) float32",),
        ),
        "NaN": (weights(lambda w: w["fc1.weight"][7, 7].fill_(nan)), ("'fc1.weight' holds NaN",)),
        "infinity": (
            weights(lambda w: w["conv1.bias"][0].fill_(infinite)),
            ("'conv1.bias' holds NaN or infinity",),
        ),
        "an unknown setting": (value("config/bogus", 1), ("bogus",)),
        "a list": (saved([1, 2]), ("holds a list",)),
        "no weights": (saved({"epoch": 3}), ("neither a checkpoint of mnist_cli",)),
        "an unknown state_dict": (
            saved(torch.nn.Linear(7, 3).state_dict()),
            ("no known network", "weight (3, 7)"),
        ),
    }


def unfit_to_resume(plain: dict[str, Any]) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Files that can be evaluated, and not gone on from."""

    def value(place: str, new: Any) -> bytes:
        return saved(replaced(plain, place, new))

    nan, momentum = float("nan"), {"momentum_buffer": torch.ones(3)}
    return {
        "other data": (
            value("data/fingerprint", "sha256:" + "0" * 64),
            ("trained on other data",),
        ),
        "another optimiser's state": (
            value("optimizers/0/state", {0: momentum}),
            ("momentum_buffer has (3,)",),
        ),
        "NaN in the momentum": (
            value("optimizers/0/state", {0: {"momentum_buffer": torch.full((10, 1, 5, 5), nan)}}),
            ("momentum_buffer holds NaN",),
        ),
        "no optimiser": (value("optimizers", []), ("cannot be resumed",)),
        "no generators": (value("generators", {}), ("cannot be resumed",)),
        "a position before its metrics": (value("position/epoch", 0), ("position",)),
        "another program's state_dict": (
            saved(plain["model"]["weights"]),
            ("another program's state_dict",),
        ),
    }


def left_behind(victim: Victim) -> list[str]:
    """Checkpoints in the folder where runs are resumed."""
    return [str(path) for path in (victim.folder / "resumed").rglob("*.pt")]


def test_foreign(tally: Tally, victim: Victim) -> None:
    """Checkpoints of another network, format, type or number of classes, or with NaN."""
    cases = foreign(document(victim))
    before = left_behind(victim)
    answers = feed(victim, [data for data, _ in cases.values()])
    for (name, (_, words)), ends in zip(cases.items(), answers, strict=True):
        for reader, end in zip(READERS, ends, strict=True):
            named = all(word in end.message for word in words)
            tally.check(end.refused(4) and named, f"{name}: {reader}: {end.code} {end.message}")
    assert left_behind(victim) == before
    tally.note("each difference named")


def test_a_network_in_a_file(tally: Tally, victim: Victim) -> None:
    """Checkpoints that name a Python file as their network: it is asked for, and never run."""
    plain, proof = document(victim), victim.folder / "proof"
    evil = victim.folder / "evil.py"
    evil.write_text(f"open({str(proof)!r}, 'w').close()\nfrom torch import nn\n")
    name = f"{evil}:Net"
    named = [
        replaced(plain, "model/name", name),
        replaced(plain, "config/model", name),
        replaced(replaced(plain, "model/name", name), "config/model", name),
        replaced(
            plain, "model", {**plain["model"], "name": "evil.py:Net", "source": {"path": [1]}}
        ),
        replaced(plain, "model", {**plain["model"], "name": name, "source": 7}),
    ]
    for number, ends in enumerate(feed(victim, map(saved, named))):
        for reader, end in zip(READERS, ends, strict=True):
            asked = end.refused(4) and "--model path/to/net.py:Net" in end.message
            tally.check(asked, f"{number}: {reader}: {end.code} {end.seen} {end.message}")
    assert not proof.exists()
    tally.note("asked for, not run")


def test_unfit_to_resume(tally: Tally, victim: Victim) -> None:
    """Checkpoints that cannot be resumed: nothing is loaded in part, no run is begun."""
    cases = unfit_to_resume(document(victim))
    before = left_behind(victim)
    answers = feed(victim, [data for data, _ in cases.values()], ["train", "eval"])
    for (name, (_, words)), (resumed, evaluated) in zip(cases.items(), answers, strict=True):
        named = resumed.refused(4) and all(word in resumed.message for word in words)
        tally.check(named, f"{name}: {resumed.code} {resumed.message}")
        tally.check(evaluated.code == 0, f"{name}: eval: {evaluated.code} {evaluated.message}")
    assert left_behind(victim) == before
    tally.note("still evaluated")
