"""``mnist doctor --prove``: check on this device each claim that training relies on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter

import typer

from mnist_cli.base.files import atomic_write, check_writable, is_folder
from mnist_cli.commands.bench import WORKER
from mnist_cli.errors import NumericsError, OutputError
from mnist_cli.proving import claims
from mnist_cli.proving.proof_document import all_claims, choose_subject, document, facts
from mnist_cli.report import proof as shown
from mnist_cli.report.console import note, print_json, warn


def prove(device: str, data_dir: Path, out: Path | None, *, as_json: bool) -> None:
    """Check the claims, show each row as it arrives, and end with exit code 6 if one fails.

    Args:
        device: as ``--device``.
        data_dir: the folder of MNIST; without MNIST the bundled digits are used.
        out: a file for the table in Markdown; None writes none.
        as_json: print one JSON document on stdout, and the rows on stderr.

    Raises:
        DeviceError: the device is not available.
        OutputError: ``out`` is a folder, or cannot be written.
        typer.Exit: a claim does not hold.
    """
    if out is not None:  # before the first row
        if not out.name or is_folder(out):
            raise OutputError(f"--out {out}: it is a folder, not a file", "Name a file: gpu.md.")
        check_writable(out.parent)
    started = perf_counter()
    with tempfile.TemporaryDirectory(prefix="mnist-prove-") as folder:
        subject = choose_subject(device, data_dir, Path(folder), WORKER, note=note, warn=warn)
        known = facts(subject)
        rows: list[claims.Row] = []
        with shown.progress(known, on_stderr=as_json) as report:
            for row in claims.prove(all_claims(subject)):
                rows.append(row)
                report(row)
    result = document(known, rows, perf_counter() - started)
    if out is not None:
        atomic_write(out, shown.markdown(result), parents=True)
    if as_json:
        print_json(result)
    else:
        shown.print_verdict(result)
    if not result["proven"]:
        raise typer.Exit(NumericsError.code)
