"""``mnist doctor --prove``: check on this device each claim that training relies on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.commands.bench_flags import WORKER
from mnist_cli.errors import DependencyError, NumericsError, OutputError

if TYPE_CHECKING:
    import torch

    from mnist_cli.proving.claims import Row, Subject


def prove(device: str, data_dir: Path, out: Path | None, *, as_json: bool) -> None:
    """Run the proofs, show each row as it arrives, and end with exit code 6 if one fails.

    Args:
        device: as ``--device``.
        data_dir: where MNIST is; without it the bundled digits are used.
        out: a file for the table in Markdown; None writes none.
        as_json: print one JSON document on stdout, and the rows on stderr.

    Raises:
        DeviceError: the device is not available.
        OutputError: ``out`` is a folder, or cannot be written.
        typer.Exit: a claim does not hold.
    """
    from mnist_cli.base.files import atomic_write
    from mnist_cli.proving.claims import prove
    from mnist_cli.proving.proofs import all_claims
    from mnist_cli.report import proof as shown
    from mnist_cli.report.console import print_json

    if out is not None:
        _check_file(out)
    started = perf_counter()
    with tempfile.TemporaryDirectory(prefix="mnist-prove-") as folder:
        subject = _subject(device, data_dir, Path(folder))
        facts = _facts(subject)
        rows: list[Row] = []
        with shown.progress(facts, on_stderr=as_json) as report:
            for row in prove(all_claims(subject)):
                rows.append(row)
                report(row)
    document = _document(facts, rows, perf_counter() - started)
    if out is not None:
        atomic_write(out, shown.markdown(document))
    if as_json:
        print_json(document)
    else:
        shown.print_verdict(document)
    if not document["proven"]:
        raise typer.Exit(NumericsError.code)


def _check_file(out: Path) -> None:
    """Find out before the first row whether the table can be written."""
    from mnist_cli.base.files import check_writable, is_folder

    if not out.name or is_folder(out):
        raise OutputError(f"--out {out}: it is a folder, not a file", "Name a file: gpu.md.")
    check_writable(out.parent)


def _subject(device: str, data_dir: Path, folder: Path) -> Subject:
    """The device and the data to prove on: MNIST where its files are, else the bundled digits."""
    from mnist_cli import catalogue
    from mnist_cli.data import store
    from mnist_cli.data.load import load
    from mnist_cli.devices.device import resolve_device
    from mnist_cli.proving.claims import Subject
    from mnist_cli.report.console import note, warn

    chosen = resolve_device(device)
    located = store.locate(catalogue.get("mnist"), data_dir)
    there = located.complete
    if not there:
        say = note if len(located.missing) == len(located.spec.files) else warn
        names = ", ".join(file.name for file in located.missing)
        say(f"using the bundled digits: MNIST is not complete under {data_dir} ({names} missing)")
    try:
        data = load("mnist" if there else "digits", data_dir)
    except DependencyError as error:
        error.hint += f", or name the folder with MNIST's files: --data-dir (now {data_dir})"
        raise
    return Subject(chosen, data, data_dir, folder, WORKER)


def _facts(subject: Subject) -> dict[str, Any]:
    """What the rows depend on."""
    import platform
    from datetime import UTC, datetime

    import torch

    from mnist_cli import __version__
    from mnist_cli.devices.device import describe

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": subject.device_name,
        "device_name": describe(subject.device),
        "dataset": subject.dataset,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        **_gpu_facts(subject.device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "mnist_cli": __version__,
    }


def _gpu_facts(device: torch.device) -> dict[str, Any]:
    """The GPU's memory in bytes and its driver's version; None on other devices."""
    if device.type != "cuda":
        return {"device_memory": None, "driver": None}
    import torch

    from mnist_cli.gpu.nvidia import module_version

    memory = torch.cuda.get_device_properties(device).total_memory
    return {"device_memory": memory, "driver": module_version() or None}


def _document(facts: dict[str, Any], rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    return {
        **facts,
        "proven": all(row.passed is not False for row in rows),
        "seconds": seconds,
        "rows": [
            {
                "claim": row.claim,
                "passed": row.passed,
                "figure": row.figure,
                "values": dict(row.values),
                "seconds": row.seconds,
            }
            for row in rows
        ],
    }
