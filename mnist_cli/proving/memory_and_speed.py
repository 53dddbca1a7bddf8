"""Claims about a refused batch size, and about the speed of a preset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from mnist_cli.benchmark.measure import Recipe, measure
from mnist_cli.config.schema import compose, find_config, from_file
from mnist_cli.config.sources import Layer
from mnist_cli.proving.claims import Claims, Outcome, Subject
from mnist_cli.proving.programs import run_json

FIGURES = (
    "accuracy",
    "train_seconds",
    "images_per_second",
    "process_seconds",
    "peak_bytes",
    "peak_device_bytes",
)
TRIES = 3
TARGETS: Mapping[str, tuple[str, float]] = {"mnist": ("fast", 0.99), "digits": ("smoke", 0.85)}
"""The preset and the test accuracy for each data set.

``fast`` ends at 99.05% on average, with a standard deviation of 0.05 between seeds. Three seeds of
twenty end below 99%, so up to three are tried. ``smoke`` ends at 90 to 93% of the 382 test digits;
85% is at least three standard errors below.
"""


def claims(subject: Subject) -> Claims:
    """Claims about a refused batch size, and about speed: on CUDA with and without graphs."""
    memory = {"a batch too large is refused with one that fits": partial(check_memory, subject)}
    if subject.dataset not in TARGETS:
        unknown = Outcome(None, f"no target is known for {subject.dataset}")
        return {**memory, "speed": lambda: unknown}
    preset, target = TARGETS[subject.dataset]
    ways: dict[str, dict[str, bool]] = {"": {}}
    if subject.device.type == "cuda":
        graphs = {", with CUDA graphs": True, ", without CUDA graphs": False}
        ways = {way: {"cuda_graph": graph} for way, graph in graphs.items()}
    return memory | {
        f"{preset} to {target:.0%}{way}": partial(check_speed, subject, preset, target, settings)
        for way, settings in ways.items()
    }


def check_memory(subject: Subject) -> Outcome:
    """A batch that is too large is refused; the proposed size fits, and trains."""
    order = {
        "device": str(subject.device),
        "dataset": subject.dataset,
        "data_dir": str(subject.data_dir),
        "runs": str(subject.folder / "memory"),
    }
    found = run_json(
        json.dumps(order), module="mnist_cli.proving.memory_trial", folder=subject.folder
    )
    if found is None:
        return Outcome(None, "this system does not limit the memory of a process")
    if not found["refused"]:
        return Outcome(False, "no batch size was refused", found)
    return Outcome(
        passed=bool(found["proposed"]) and found["images"] > 0,
        figure=f"{found['refused']:,} images refused, {found['proposed'] or 'none'} proposed, "
        f"{found['images']:,} images trained on",
        values=found,
    )


def check_speed(
    subject: Subject, preset: str, target: float, settings: Mapping[str, bool]
) -> Outcome:
    """A preset reaches a test accuracy with one of the seeds 0, 1, … below :data:`TRIES`."""
    given = {"dataset": subject.dataset, "device": str(subject.device), **settings}
    config = compose([from_file(find_config(preset)), Layer(given, {})])
    recipe = Recipe(preset, config.to_plain(), TRIES, subject.worker)
    runs = []
    for one in measure([recipe], subject.data_dir, target, warm_up=False):
        runs.append(one)
        if one.seconds_to(target) is not None:
            break
    peak = f"{one.peak_bytes / 2**20:,.0f} MiB"
    if one.peak_device_bytes:
        peak += f", on the GPU {one.peak_device_bytes / 2**20:,.0f} MiB"
    return Outcome(
        passed=one.seconds_to(target) is not None,
        figure=f"{one.accuracy:.2%} in {one.train_seconds:.2f} s of training, "
        f"{one.images_per_second:,.0f} images/s, whole process {one.process_seconds:.1f} s, "
        f"peak memory {peak}, run {len(runs)} of up to {TRIES}",
        values={key: getattr(one, key) for key in FIGURES} | {"tries": len(runs)},
    )
