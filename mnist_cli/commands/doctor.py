"""``mnist doctor``: what this machine has, and why a device cannot be used."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from mnist_cli.commands import options


def doctor(
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="Exit 2 and say why, if this device is not available.",
        ),
    ] = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Say whether the GPU works and what to do if not, then versions, CPU, memory and data."""
    from mnist_cli.report.console import print_json
    from mnist_cli.report.doctor import print_diagnosis
    from mnist_cli.training.device import resolve_device
    from mnist_cli.training.diagnosis import diagnose

    if device is not None:
        resolve_device(device)
    diagnosis = diagnose(data_dir, runs)
    if as_json:
        print_json(dataclasses.asdict(diagnosis))
    else:
        print_diagnosis(diagnosis)
