"""Checkpoints of another kind: the difference is named, and nothing is loaded in part."""

from __future__ import annotations

import copy
from typing import Any

import torch
from checkpoint_files import replaced, saved
from readers import READERS, document, feed
from tally import Tally
from victim import Victim

from mnist_cli.networks import registry as models


def foreign(plain: dict[str, Any]) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """A file of each kind, with words that name the difference; unit tests have the table."""
    weights = copy.deepcopy(plain["model"]["weights"])
    weights["fc1.weight"][7, 7] = float("nan")
    return {
        "another network's weights": (
            saved(replaced(plain, "model/weights", models.build("conv4").state_dict())),
            ("does not fit the network 'notebook'", "fc1.bias is missing", "is not part of it"),
        ),
        "names of more classes": (
            saved(replaced(plain, "data/classes", list("abcdefghijk"))),
            ("not (11, 50)",),
        ),
        "a later format": (
            saved(replaced(plain, "version", 2)),
            ("format version 2", "reads version 1"),
        ),
        "NaN": (saved(replaced(plain, "model/weights", weights)), ("'fc1.weight' holds NaN",)),
        "an unknown state_dict": (
            saved(torch.nn.Linear(7, 3).state_dict()),
            ("no known network", "weight (3, 7)"),
        ),
    }


def unfit_to_resume(plain: dict[str, Any]) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Files that can be evaluated but not resumed; unit tests have the table."""
    state = {0: {"momentum_buffer": torch.full((10, 1, 5, 5), float("nan"))}}
    fingerprint = "sha256:" + "0" * 64
    return {
        "other data": (
            saved(replaced(plain, "data/fingerprint", fingerprint)),
            ("trained on different data",),
        ),
        "NaN in the momentum": (
            saved(replaced(plain, "optimizers/0/state", state)),
            ("momentum_buffer holds NaN",),
        ),
        "another program's state_dict": (
            saved(plain["model"]["weights"]),
            ("another program's state_dict",),
        ),
    }


def left_behind(victim: Victim) -> list[str]:
    """Checkpoints in the folder where runs are resumed."""
    return [str(path) for path in (victim.folder / "resumed").rglob("*.pt")]


def test_foreign(tally: Tally, victim: Victim) -> None:
    """Checkpoints of another network, format or number of classes, or with NaN."""
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
    """Checkpoints that name a Python file as their network: the file is never run."""
    plain, proof = document(victim), victim.folder / "proof"
    evil = victim.folder / "evil.py"
    evil.write_text(f"open({str(proof)!r}, 'w').close()\nfrom torch import nn\n")
    name = f"{evil}:Net"
    named = [
        replaced(plain, "config/model", name),
        replaced(plain, "model", {**plain["model"], "name": name, "source": 7}),
    ]
    for number, ends in enumerate(feed(victim, map(saved, named))):
        for reader, end in zip(READERS, ends, strict=True):
            asked = end.refused(4) and "path/to/net.py:Net" in end.message
            tally.check(asked, f"{number}: {reader}: {end.code} {end.seen} {end.message}")
    assert not proof.exists()
    tally.note("asked for, not run")


def test_unfit_to_resume(tally: Tally, victim: Victim) -> None:
    """Checkpoints that cannot be resumed: nothing is loaded in part, no run starts."""
    cases = unfit_to_resume(document(victim))
    before = left_behind(victim)
    answers = feed(victim, [data for data, _ in cases.values()], ["train", "eval"])
    for (name, (_, words)), (resumed, evaluated) in zip(cases.items(), answers, strict=True):
        named = resumed.refused(4) and all(word in resumed.message for word in words)
        tally.check(named, f"{name}: {resumed.code} {resumed.message}")
        tally.check(evaluated.code == 0, f"{name}: eval: {evaluated.code} {evaluated.message}")
    assert left_behind(victim) == before
    tally.note("still evaluated")
