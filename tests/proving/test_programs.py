"""Each proof of ``mnist doctor --prove`` that runs whole commands fails where its fault is injected.

What processors have in common, so the matrix does not repeat it. That the proofs pass is for
``tests/commands/test_doctor_prove.py``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from injected import failed, inject

from mnist_cli.data.load import LoadedData
from mnist_cli.errors import Interrupted, NumericsError
from mnist_cli.proving import memory_and_speed, programs
from mnist_cli.proving.claims import Outcome, Subject, prove


def test_one_wrong_bit_in_the_replay_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inject(
        *(monkeypatch, tmp_path, "mnist_cli.autograd.replaying"),
        """
        sound = _deliver
        def _deliver(state, position, edge, raw):
            import torch
            spoiled = raw
            if raw is not None and raw.numel() > 1000:
                spoiled = raw.contiguous().clone()
                flat = spoiled.view(-1)
                flat[7] = torch.nextafter(flat[7], torch.full_like(flat[7], 9e9))
            return sound(state, position, edge, spoiled)
        """,
    )
    assert "differ" in failed(programs.claims(subject), "replay of inspect-grad in fp32")[0].figure


def test_an_optimiser_that_is_not_restored_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inject(
        *(monkeypatch, tmp_path, "mnist_cli.training.snapshot"),
        """
        def _restore_optimizer(optimizer, saved):
            pass
        """,
    )
    assert "weights" in failed(programs.claims(subject), "resumed")[0].figure


def test_a_wrong_weight_of_two_processes_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inject(
        *(monkeypatch, tmp_path, "mnist_cli.training.distributed.group"),
        """
        Group.weigh = lambda self, loss, scores, total: loss * 1.1
        """,
    )
    (row,) = failed(programs.claims(subject), "two processes")
    assert row.values["relative_error"] > row.values["limit"] > row.values["of_one_process"]


def test_a_refusal_that_proposes_nothing_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inject(
        *(monkeypatch, tmp_path, "mnist_cli.devices.memory"),
        """
        def _largest(size, rehearse):
            return 0
        """,
    )
    outcome = memory_and_speed.check_memory(subject)
    if outcome.passed is None:
        pytest.skip(outcome.figure)
    assert not outcome.passed
    assert "none proposed" in outcome.figure


def test_a_limit_that_refuses_nothing_is_no_proof(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"refused": None, "proposed": None, "images": 0}
    for answer, passed in ((None, None), (nothing, False)):
        monkeypatch.setattr(memory_and_speed, "run_json", lambda *_, answer=answer, **__: answer)
        assert memory_and_speed.check_memory(subject).passed is passed


def test_a_network_that_learns_nothing_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory_and_speed, "TRIES", 1)
    inject(
        *(monkeypatch, tmp_path, "mnist_cli.training.optim"),
        """
        LearningRate.factor = lambda self, step: 0.0
        """,
    )
    (row,) = failed(memory_and_speed.claims(subject), "85%")
    assert row.values["accuracy"] < 0.5


def test_data_without_a_target_have_no_speed_row(subject: Subject, digits: LoadedData) -> None:
    data = dataclasses.replace(digits, spec=dataclasses.replace(digits.spec, name="kmnist"))
    check = memory_and_speed.claims(dataclasses.replace(subject, data=data))["speed"]
    assert check().passed is None


@pytest.mark.parametrize(
    ("words", "limit", "message"),
    [
        (["doctor", "--json"], 0.05, "mnist doctor hangs, or is too slow"),
        (["doctor"], 300, "mnist doctor ended with exit code 0"),
        (["doctor", "--device", "abacus", "--json"], 300, "exit code 2: .*abacus"),
    ],
)
def test_a_command_that_hangs_fails_or_prints_no_document_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], limit: float, message: str
) -> None:
    monkeypatch.setattr(programs, "LIMIT", limit)
    with pytest.raises(NumericsError, match=message):
        programs.run_json(*words, folder=tmp_path)


# --- the loop


def test_a_check_that_raises_is_a_failed_row_and_the_others_run() -> None:
    def broken() -> Outcome:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    rows = list(prove({"broken": broken, "sound": lambda: Outcome(True, "fine")}))
    assert [(row.claim, row.passed) for row in rows] == [("broken", False), ("sound", True)]
    assert rows[0].figure == "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_a_signal_ends_the_proofs() -> None:
    def stopped() -> Outcome:
        raise Interrupted("interrupted")

    with pytest.raises(Interrupted):
        list(prove({"stopped": stopped}))
