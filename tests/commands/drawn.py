"""A running ``mnist draw`` to ask, and digits to draw."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from program import finish, start
from systems import skip_without_posix

from mnist_cli.inference.drawings import SIDE

Point = tuple[float, float]
DIGITS: dict[str, list[list[Point]]] = {
    "3": [[(0.3, 0.2), (0.5, 0.12), (0.68, 0.22), (0.66, 0.38), (0.48, 0.48), (0.66, 0.56),
           (0.72, 0.72), (0.55, 0.86), (0.3, 0.8)]],
    "7": [[(0.25, 0.18), (0.75, 0.18), (0.6, 0.45), (0.45, 0.85)]],
    "0": [[(0.5, 0.12), (0.3, 0.25), (0.25, 0.5), (0.3, 0.75), (0.5, 0.88), (0.7, 0.75),
           (0.75, 0.5), (0.7, 0.25), (0.5, 0.12)]],
    "4": [[(0.45, 0.15), (0.25, 0.55), (0.75, 0.55)], [(0.62, 0.3), (0.6, 0.85)]],
}  # fmt: skip
"""Strokes, in shares of the drawing's side."""


class Address:
    """Where a running ``mnist draw`` is, and the process."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self.process, self.said = process, said
        self.url = next(word.strip('",') for word in said.split() if "http://" in word)
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def ask(self, drawing: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/octet-stream"}
            connection.request("POST", "/ask", drawing, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())


@contextlib.contextmanager
def drawing(*arguments: object) -> Iterator[Address]:
    """The command, from the moment that it says where it is."""
    skip_without_posix()  # it is ended by a signal
    process = start("draw", *arguments)
    try:
        said = ""
        while "http://" not in said or (said.startswith("{") and not said.endswith("}\n")):
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, finish(process).err
            said += line
        yield Address(process, said)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def rasterised(strokes: list[list[Point]], width: int = 24) -> bytes:
    """Strokes as Pillow draws them, on a drawing of the page's size."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIDE, SIDE))
    for stroke in strokes:
        points = [(SIDE * x, SIDE * y) for x, y in stroke]
        ImageDraw.Draw(image).line(points, fill=255, width=width, joint="curve")
    return image.tobytes()
