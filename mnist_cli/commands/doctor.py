"""``mnist doctor``: what this machine has, and why a device cannot be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from mnist_cli import options
from mnist_cli.commands import early
from mnist_cli.config.choices import DEVICES
from mnist_cli.errors import DeviceError
from mnist_cli.options import completing, contradictions
from mnist_cli.options.contradictions import Excludes, Needs

RULES = (
    Excludes(("prove",), ("runs",), "Omit --runs: no run is kept."),
    Needs(("out",), ("prove",), "Add --prove, or redirect the output."),
)


def doctor(
    context: typer.Context,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            parser=str.lower,
            autocompletion=completing.complete(DEVICES),
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="Check this device and exit with code 2 if it is not usable. With --prove: the "
            "device to test (default: auto).",
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="Check that training on the device is correct; exit 6 if a claim fails.",
        ),
    ] = False,
    data_dir: options.DataDirOption = options.DATA_DIR,
    runs: options.RunsOption = options.RUNS,
    out: Annotated[
        Path | None,
        options.out("FILE", "With --prove: also write the table to this file, as Markdown."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Report whether the GPU works, or how to fix it; list versions, CPU, memory and data.

    With --prove, check claims on the device, in about a minute: arithmetic and gradients against
    float64, CUDA graphs, replay, resuming, two processes, memory and speed. It uses MNIST if
    --data-dir has it, else the bundled digits, and leaves no files behind.
    """
    contradictions.refuse(context, RULES)
    early.check_choices(device)
    if prove:
        from mnist_cli.commands import doctor_prove

        doctor_prove.prove(device or "auto", data_dir, out, as_json=as_json)
        return
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.proving.diagnosis import diagnose
    from mnist_cli.report.console import print_json
    from mnist_cli.report.doctor_findings import print_diagnosis

    chosen = None if device is None else resolve_device(device)
    named = None if device == "auto" else chosen
    diagnosis = diagnose(data_dir, runs, named)
    if as_json:
        print_json(dataclasses.asdict(diagnosis))
    else:
        print_diagnosis(diagnosis)
    if named is not None and not diagnosis.usable(named):
        raise typer.Exit(DeviceError.code)
