"""The server of one page: bound to loopback, it hands out its own files and answers questions.

It speaks HTTP/1.0, with one request per connection. Attacks of another site's page fail. If the
page reaches the port by its own name (DNS rebinding), the Host header shows it. If it posts across
sites, Origin shows it, and no browser sends this content type from a plain form. The content
security policy forbids putting this page into a frame.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from mnist_cli.errors import DataError, MnistError, OutputError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""The names by which a browser on this machine may address it."""

BINARY, JSON = "application/octet-stream", "application/json"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PATIENCE = 60.0
"""Seconds for which a connection may be silent."""
LINGER, MOST_IGNORED = 2.0, 1 << 23
"""Seconds, and bytes, for which the rest of a refused request is read: see ``_drain``."""

Answer = Callable[[bytes], Mapping[str, Any]]


class PageServer(http.server.ThreadingHTTPServer):
    """Serves the page at ``/``, its facts at ``/about``, and answers at ``/ask``.

    Each connection has a thread; questions are answered one at a time.
    """

    # On Windows, reuse would let two programs listen on one port.
    allow_reuse_address = os.name == "posix"
    request_queue_size = 128

    def __init__(
        self, port: int, about: Mapping[str, Any], answer: Answer, question_size: int
    ) -> None:
        """Listen from now on; requests wait until :meth:`handle_request` takes them.

        Args:
            port: 0 chooses a free one.
            about: facts that the page gets at its start.
            answer: maps a question's bytes to its answer; raises a DataError for a bad question.
            question_size: the most bytes of a question.

        Raises:
            OutputError: the port is in use, or reserved.
        """
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise _explained(port, error) from error
        self.port: int = self.server_address[1]
        self.documents = {"/about": (JSON, _encode(about)), **_page()}
        self.question_size = question_size
        self._answer = answer
        self._turn = threading.Lock()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.port}/"

    def ask(self, question: bytes) -> bytes:
        """The answer as JSON, when it is this question's turn."""
        with self._turn:
            return _encode(self._answer(question))

    def close(self) -> None:
        """Stop listening, and wait for the answer under way; later questions get none."""
        self.server_close()
        self._turn.acquire()

    def is_own(self, host: str) -> bool:
        """Whether a Host header, or the end of an Origin, names this server."""
        return host in {f"{name}:{self.port}" for name in NAMES}

    def server_bind(self) -> None:
        """Bind, without the standard library's look-up of the machine's own name."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that have gone; anything else is a bug, with its traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _explained(port: int, error: OSError) -> OutputError:
    if error.errno == errno.EADDRINUSE:
        return OutputError(
            f"port {port} is in use by another program",
            "Choose another one; port 0 chooses a free one.",
        )
    if error.errno == errno.EACCES:
        return OutputError(f"port {port} is reserved for the system", "Choose one above 1023.")
    return OutputError(
        f"cannot listen on {HOST}, port {port}: {error.strerror or error}", "Choose another port."
    )


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def _page() -> dict[str, tuple[str, bytes]]:
    """Type and content of the page's own files, by path; the server reads nothing else."""
    found = {}
    for file in files(__package__).joinpath("page").iterdir():
        ending = os.path.splitext(file.name)[1]  # noqa: PTH122 - no path, maybe in a zip
        if ending in KINDS:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            found[path] = (KINDS[ending], file.read_bytes())
    return found


class _Refusal(Exception):
    """A request that gets no answer, and why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version = "mnist"
    sys_version = ""
    timeout = PATIENCE
    server: PageServer

    def do_GET(self) -> None:
        """Hand out a file of the page."""
        self._reply(self._file)

    def do_HEAD(self) -> None:
        """Send the headers of a file of the page."""
        self._reply(self._file)

    def do_POST(self) -> None:
        """Answer a question."""
        self._reply(self._answer)

    def _reply(self, content_of: Callable[[], tuple[str, bytes]]) -> None:
        try:
            self._check_sender()
            kind, content = content_of()
        except _Refusal as refusal:
            self.send_error(refusal.status, refusal.message)
        except DataError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, error.message)
        except MnistError as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except Exception:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected failure")
            raise
        else:
            self._send(HTTPStatus.OK, kind, content)

    def _check_sender(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.is_own(hosts[0].lower()):
            raise _Refusal(HTTPStatus.FORBIDDEN, "unknown Host header")
        for origin in self.headers.get_all("Origin") or []:
            scheme, _, host = origin.lower().partition("://")
            if scheme != "http" or not self.server.is_own(host):
                raise _Refusal(HTTPStatus.FORBIDDEN, "cross-origin requests are not allowed")

    def _file(self) -> tuple[str, bytes]:
        found = self.server.documents.get(self.path.partition("?")[0])
        if found is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "there is no such file")
        return found

    def _answer(self) -> tuple[str, bytes]:
        if self.path != "/ask":
            raise _Refusal(HTTPStatus.NOT_FOUND, "POST requests go to /ask")
        if self.headers.get("Content-Type") != BINARY:
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the Content-Type must be {BINARY}")
        return JSON, self.server.ask(self._question())

    def _question(self) -> bytes:
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise _Refusal(
                HTTPStatus.LENGTH_REQUIRED, "the request needs exactly one Content-Length"
            )
        length, most = int(lengths[0]), self.server.question_size
        if length > most:
            raise _Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request body may have at most {most:,} bytes",
            )
        question = self.rfile.read(length)
        if len(question) < length:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the request body is incomplete")
        return question

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send an error as JSON, and read the rest of its request."""
        text = message or HTTPStatus(code).phrase
        self._send(HTTPStatus(code), JSON, _encode({"error": text}))
        self._drain()

    def _drain(self) -> None:
        """Read on for a while: if a connection ends with bytes unread, the answer may be lost."""
        until, left = time.monotonic() + LINGER, MOST_IGNORED
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while left > 0 and time.monotonic() < until and (piece := self.rfile.read1(1 << 16)):
                left -= len(piece)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: a drawing sends twenty requests per second."""
