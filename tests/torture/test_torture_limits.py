"""Numbers that run away, memory that runs out, devices that are not there."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import pytest
import torch
from checkpoint_files import saved
from readers import COMMANDS, PICTURE, READERS, TRAIN, good
from tally import Tally
from victim import MEGABYTE, End, Victim

from mnist_cli.devices.memory import SPARE
from mnist_cli.networks import registry as models

STOPPED = re.compile(
    r"(the loss is (nan|inf|-inf)|norm is (nan|inf) \(the loss \S+\)) at step \d+; "
    r"the step was not applied"
)
MODULE = re.compile(
    r"the first module whose output is not finite is '\w[\w.]*'"
    r"|the outputs of all modules are finite, the (first gradient that is not|largest gradient) "
    r"(is that of|belongs to) '\w[\w.]*'"
)


LARGE = ["batch_size=1024", "val_size=0", "train_size=1024", "epochs=1"]


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def the_run(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


def test_divergence(tally: Tally, victim: Victim) -> None:
    """A learning rate that diverges: stopped before the step, the last good checkpoint kept."""
    networks = ["notebook", "conv2", "example", "conv4", "oriented"][: tally.times(1, 5)]
    optimizers = ["sgd", "adam", "adamw", "adadelta"][: tally.times(1, 4)]
    rates = ["1e30", "1e20", "1e12"][: tally.times(1, 3)]
    runs = victim.folder / "diverged"
    ended = 0
    for network, optimizer, rate in itertools.product(networks, optimizers, rates):
        chosen = [f"model={network}", f"optimizer={optimizer}", f"lr={rate}", "epochs=6"]
        (end,) = victim.run(
            [*TRAIN, *settings(*chosen, "schedule=constant"), "--runs", runs],
        )
        case = f"{network}, {optimizer}, {rate}: {end.code} {end.message[-300:]}"
        if end.code == 0:  # networks with normalisation layers can bear much
            tally.check("nan" not in end.out, case)
        else:
            (read,) = victim.run(["eval", the_run(runs) / "last.pt", "--json"])
            stopped = end.refused(6) and STOPPED.search(end.message)
            survived = stopped and MODULE.search(end.message) and read.code == 0
            tally.check(bool(survived), f"{case} {read.message[-200:]}")
            ended += 1
        shutil.rmtree(runs)
    assert ended, "none diverged"
    tally.note(f"{ended} diverged, each with step, loss and module named")


def hinted(message: str) -> list[str]:
    """The option that the message recommends, if it says that it has been tried."""
    found = re.search(r"Set (\w+|--batch-size) to (\d+), which fits\.", message)
    if found is None:
        return []
    return [found[1], found[2]] if found[1][0] == "-" else ["--set", f"{found[1]}={found[2]}"]


SMALLEST, LARGEST = 32, 8192
"""Megabytes between which a limit is looked for."""


def last_too_small(run: Callable[[int], End]) -> int:
    """A number of megabytes in which a command runs out of memory here, though not in twice as many.

    How much it needs depends on the processor, for which torch and oneDNN choose other methods.
    """
    end = run(SMALLEST)
    if end.code == 0:
        pytest.skip(f"nothing runs out of memory in {SMALLEST} MB here")
    assert end.code == 7, f"{SMALLEST} MB: {end.code} {end.message[-300:]}"
    megabytes = SMALLEST
    while (end := run(2 * megabytes)).code == 7:
        megabytes *= 2
        assert megabytes < LARGEST, f"it runs out in {megabytes} MB: {end.message[-300:]}"
    assert end.code == 0, f"{2 * megabytes} MB: {end.code} {end.message[-300:]}"
    return megabytes


def test_out_of_memory(tally: Tally, victim: Victim) -> None:
    """Out of memory in training: exit 7, a batch size that fits, a whole checkpoint."""
    networks = ["conv4", "example", "conv4-wide"][: tally.times(1, 3)]
    runs = victim.folder / "too_large"
    for network, part in itertools.product(networks, (1, 2)[: tally.times(1, 2)]):
        command = [*TRAIN, *settings(f"model={network}", *LARGE), "--runs", runs]

        def run(megabytes: int, command: list[object] = command) -> End:
            shutil.rmtree(runs, ignore_errors=True)
            return victim.run(command, allowed=megabytes * MEGABYTE)[0]

        # A trial of a size leaves SPARE, and has no more than what the failed work has left.
        megabytes = max(last_too_small(run) // part, 3 * SPARE // MEGABYTE)
        taken: list[str] = []
        while (end := run(megabytes)).code == 7:
            (read,) = victim.run(["eval", the_run(runs) / "last.pt", "--json"])
            hint = hinted(end.message)
            # Each size is named once: the first for training fits, and the one for evaluating.
            key = hint[1].partition("=")[0] if hint else ""
            fine = end.refused(7) and read.code == 0 and key not in ["", *taken]
            tally.check(fine, f"{network}: {taken} {end.message[-300:]} {read.message[-200:]}")
            if not fine:
                break
            taken.append(key)
            command += hint
        case = f"{network} in {megabytes} MB after {taken}: {end.code} {end.message[-300:]}"
        tally.check(end.code == 0 and bool(taken), case)
    tally.note("the first batch size that is named fits")


def test_out_of_memory_elsewhere(tally: Tally, victim: Victim) -> None:
    """Out of memory in other commands: exit 7; the size that mnist eval names fits."""
    network = models.build("conv4-wide" if tally.full else "conv4")
    (victim.folder / "wide.pt").write_bytes(saved(network.state_dict()))
    evaluate = ["eval", "wide.pt", "--dataset", "digits", "--json", "--batch-size", "382"]
    others = {
        "predict": ["predict", PICTURE, "--checkpoint", "wide.pt"],
        "plot": ["plot", "wide.pt", "--dataset", "digits", "--only", "confusion"],
        "inspect-grad": ["inspect-grad", "wide.pt", "--dataset", "digits", "--out", "out"],
        "saliency": ["plot", "wide.pt", "--dataset", "digits", "--only", "saliency"],
        "replay": ["inspect-grad", "wide.pt", "--dataset", "digits", "--out", "out", "--replay"],
    }
    codes = []
    limit = last_too_small(lambda room: victim.run(evaluate, allowed=room * MEGABYTE)[0])
    around = range(limit // 2, 2 * limit, max(limit // 20, 1))
    for megabytes in [limit, *around] if tally.full else [limit]:
        room = megabytes * MEGABYTE
        (end,) = victim.run(evaluate, allowed=room)
        if end.code == 7:
            named = hinted(end.message)
            (again,) = victim.run([*evaluate[:-2], *(named or ["--help"])], allowed=room)
            told = bool(named) or re.search("No smaller size fits now|MiB more are", end.message)
            survived = end.refused(7) and told and again.code == 0
            tally.check(bool(survived), f"{end.message} {again.message}")
        ends = victim.run(*others.values(), allowed=room) if tally.full else []
        for name, end in zip(others, ends, strict=False):
            unread = end.refused(4) and "more memory than is available" in end.message
            survived = end.code == 0 or end.refused(7) or unread
            tally.check(survived, f"{name} in {megabytes} MB: {end.code} {end.message[-300:]}")
        codes += [end.code for end in ends]
    tally.note(f"{codes.count(7)} of {len(codes)} ran out")


CHOICES = "auto, cpu, cuda, cuda:N, mps"
MISSING = {
    "cuda": r"device cuda is not available: \w",
    "cuda:7": r"device cuda:7 is not available: \w",
    "mps": r"device mps is not available: \w",
    **{
        name: rf"(?i)unknown device '{name}' .*{CHOICES}|device: should be {CHOICES}, not '{name}'"
        for name in ("tpu", "cuda:x", "CUDA:")
    },
}


def test_missing_devices(tally: Tally, victim: Victim) -> None:
    """Devices that are unavailable or do not exist: exit 2, with the reason."""
    path = good(victim)
    takers = {name for name, of in COMMANDS.items() if "device" in signature(of).parameters}
    commands = {name: make(path) for name, make in READERS.items() if name in takers}
    commands |= {"train": TRAIN, "bench": ["bench", "smoke:1"], "doctor": ["doctor"]}
    commands["sweep"] = ["sweep", *TRAIN[1:], "--seeds", "2"]
    assert commands.keys() == takers
    if not tally.full:
        del commands["bench"]  # lets a process of its own find out, for seconds each time
    there = {
        "cuda": torch.cuda.is_available(),
        "cuda:7": torch.cuda.device_count() > 7,
        "mps": torch.backends.mps.is_available(),
    }
    missing = [(device, words) for device, words in MISSING.items() if not there.get(device)]
    cases = list(itertools.product(commands.values(), missing[:: tally.times(3, 1)]))
    ends = victim.run(*([*command, "--device", device] for command, (device, _) in cases))
    for (command, (device, words)), end in zip(cases, ends, strict=True):
        survived = end.code == 2 and re.search(words, end.message) and "Traceback" not in end.err
        tally.check(bool(survived), f"{command[0]} {device}: {end.code} {end.message[-300:]}")
    tally.note("each with its reason")
