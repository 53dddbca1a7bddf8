"""``mnist draw``: a page to draw digits on, and to watch the network classify them."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli import options
from mnist_cli.base.process import command_line
from mnist_cli.commands import browser, early
from mnist_cli.commands.opening import note_foreign, open_checkpoint
from mnist_cli.errors import Terminated
from mnist_cli.training.expected_errors import expected

if TYPE_CHECKING:
    from mnist_cli.inference.opened import OpenCheckpoint
    from mnist_cli.web.server import PageServer

PortOption = Annotated[
    int,
    typer.Option(
        "--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 chooses a free one."
    ),
]

NAP = 0.2
"""Seconds between the server's checks whether to stop."""


def draw(
    checkpoint: options.CheckpointArgument = None,
    port: PortOption = 0,
    open_page: browser.OpenFlag = False,
    model: options.ModelOption = None,
    normalise: options.NormaliseOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Serve a page to draw digits on, and classify them stroke by stroke.

    The page shows what the network sees, the probabilities, the outputs of the first layers and
    the pixels that matter most. Draw with mouse, pen, finger or the arrow keys.

    If the network was trained on your own images, and these are not in MNIST's form, the drawing
    is not cropped. The paper is then light or dark as in those images.

    Only this machine can open the page. Ctrl-C stops the server; the exit code is then 0.
    """
    early.check_choices(device, model, precision)
    early.check_checkpoint(checkpoint, runs)
    from mnist_cli.base.signals import stop_on_signals
    from mnist_cli.devices.device import compute_settings
    from mnist_cli.inference import drawings
    from mnist_cli.report.console import warn
    from mnist_cli.web.server import PageServer

    opened = open_checkpoint(
        checkpoint,
        runs,
        model=model,
        device=device,
        precision=precision,
        normalise=normalise,
        quiet=quiet,
    )
    for text in opened.warnings:
        warn(text)
    with compute_settings(opened.device):
        for reason in drawings.rehearse(opened):
            warn(f"left out of the page: {reason}")
        answer = partial(_answer, opened)
        server = PageServer(port, drawings.about(opened), answer, question_size=drawings.SIDE**2)
        with stop_on_signals() as stop:
            _announce(server, opened, as_json=as_json, quiet=quiet)
            if open_page:
                threading.Thread(target=browser.open_url, args=[server.url], daemon=True).start()
            server.timeout = NAP
            while not stop:
                server.handle_request()
            server.close()
    if stop.signal != signal.SIGINT:
        # Not as an error, for which --json would print a second document.
        raise typer.Exit(Terminated.code)


def _answer(opened: OpenCheckpoint, drawing: bytes) -> dict[str, Any]:
    """The answer to a drawing; a network of the user's own may fail only now.

    Raises:
        MnistError: it cannot be answered, in words for the page.
    """
    from mnist_cli.inference import drawings

    try:
        return drawings.answer(opened, drawing)
    except Exception as error:
        if known := expected(error):
            raise known from error
        raise


def _announce(server: PageServer, opened: OpenCheckpoint, *, as_json: bool, quiet: bool) -> None:
    """Print the page's address, and flush it, since a script may be waiting for it."""
    from mnist_cli.report.console import note, print_json, stdout

    if as_json:
        where = {"url": server.url, "port": server.port}
        network = {"checkpoint": str(opened.path), "model": opened.checkpoint.model}
        print_json(where | {"normalisation": opened.scale.to_plain()} | network)
    else:
        if not quiet:
            paper = (
                f"; drawings are not cropped; the paper is {opened.ground}" if opened.ground else ""
            )
            note(f"{opened.path}: {opened.label}{paper}")
            note_foreign(opened)
        stdout().print(server.url)
    sys.stdout.flush()
    if not (as_json or quiet):
        note("Draw there; Ctrl-C stops the server.")
        if tunnel := _tunnel(server.port, os.environ.get("SSH_CONNECTION", "")):
            note(f"To open it on your local machine, run this command there: {tunnel}")


def _tunnel(port: int, connection: str) -> str:
    """The command that brings a port of this machine to the other end of an ssh connection.

    Args:
        port: of the page.
        connection: what ssh sets: the client's address and port, this machine's address and port.
            Empty without ssh.
    """
    if not connection:
        return ""
    words = connection.split()
    host, door = words[2:] if len(words) == 4 else ("HOST", "22")
    with contextlib.suppress(Exception):  # a user without a name
        host = f"{getpass.getuser()}@{host}"
    words = ["ssh", "-N", "-L", f"{port}:127.0.0.1:{port}", *([] if door == "22" else ["-p", door])]
    return command_line([*words, host])
