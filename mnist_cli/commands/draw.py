"""``mnist draw``: a page on which one draws a digit and watches the network read it."""

from __future__ import annotations

import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_cli.commands import options, provenance
from mnist_cli.config.names import label
from mnist_cli.errors import Terminated
from mnist_cli.training.expected_errors import expected

if TYPE_CHECKING:
    from mnist_cli.checkpoints.checkpoint import Checkpoint
    from mnist_cli.commands.digit_reader import Reader
    from mnist_cli.commands.drawing_answers import Looker
    from mnist_cli.web.server import PageServer

PortOption = Annotated[
    int,
    typer.Option(
        "--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 chooses a free one."
    ),
]
OpenFlag = Annotated[bool, typer.Option("--open", help="Open the page in your browser.")]

NAP = 0.2
"""Seconds after which a waiting server looks whether it was asked to stop."""


def draw(
    checkpoint: options.CheckpointArgument = None,
    port: PortOption = 0,
    open_page: OpenFlag = False,
    model: options.ModelOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Draw digits on a page and watch the network read them, stroke by stroke.

    The page shows what the network sees, its probabilities, the answers of its first layers and
    the pixels that its answer hangs on. Draw with mouse, pen, finger or the arrow keys.

    For a network that was trained on your own data the drawing is taken as those were: whole, and
    on light or dark ground, whichever most of their pixels are.

    It is served to this machine alone. Ctrl-C stops it, which is its normal end: exit code 0.
    """
    from mnist_cli.base.signals import stop_on_signals
    from mnist_cli.commands.digit_reader import Reader
    from mnist_cli.commands.drawing_answers import SIDE, Looker
    from mnist_cli.devices.device import compute_settings, resolve_device
    from mnist_cli.web.server import PageServer

    where = resolve_device(device or "auto")
    reader = Reader(provenance.open_checkpoint(checkpoint, runs, model), where, precision)
    looker = Looker(reader)
    with compute_settings(where):
        looker.rehearse()
        answer = partial(_answer, looker)
        server = PageServer(port, looker.about(), answer, question_size=SIDE**2)
        with stop_on_signals() as stop:
            _announce(server, reader, as_json=as_json, quiet=quiet)
            if open_page:
                threading.Thread(target=_open, args=[server.url], daemon=True).start()
            server.timeout = NAP
            while not stop:
                server.handle_request()
            server.close()
    if stop.signal == signal.SIGTERM:
        # Not as an error, of which --json would print a second document.
        raise typer.Exit(Terminated.code)


def _answer(looker: Looker, drawing: bytes) -> dict[str, Any]:
    """What a drawing is answered; a network of the user's own may fail only now.

    Raises:
        MnistError: it cannot be answered, in words for the page.
    """
    try:
        return looker.look(drawing)
    except Exception as error:
        if known := expected(error):
            raise known from error
        raise


def _announce(server: PageServer, reader: Reader, *, as_json: bool, quiet: bool) -> None:
    """Say where the page is, at once: whoever reads it may be waiting for it."""
    import sys

    from mnist_cli.report.console import note, print_json, stdout

    found = reader.checkpoint
    if as_json:
        where = {"url": server.url, "port": server.port}
        print_json({**where, "checkpoint": str(found.path), "model": found.model})
    else:
        if not quiet:
            note(f"{found.path}: {label(found.model)}{_taken(found)}")
        stdout().print(server.url)
    sys.stdout.flush()
    if not (as_json or quiet):
        note("Draw there; Ctrl-C stops it.")


def _taken(checkpoint: Checkpoint) -> str:
    """How drawings come to a network that was trained on the user's own data; else empty."""
    ground = provenance.own_ground(checkpoint)
    return f"; drawings are taken whole, on {ground} ground as its images" if ground else ""


def _open(url: str) -> None:
    """Open the page; a browser of the terminal's keeps this thread until it is left."""
    import webbrowser

    from mnist_cli.report.console import warn

    if not webbrowser.open(url):
        warn(f"no browser could be opened; open {url} in yours")
