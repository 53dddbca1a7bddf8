"""Web servers on loopback that behave well or badly."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

Handler = http.server.BaseHTTPRequestHandler
Route = Callable[[Handler], None]


class Server:
    """A web server on loopback whose answers are set path by path.

    ``closing`` is set when the test is over: routes that stall wait for it.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        server = self

        class Answer(Handler):
            def do_GET(self) -> None:  # noqa: N802
                server.asked.append(self.path)
                route = server.routes.get(self.path, status(404))
                try:
                    route(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Answer)
        self._server.closing = self.closing
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def offer(self, files: dict[str, bytes]) -> Server:
        """Serve these files at the top."""
        self.routes.update({f"/{name}": body(content) for name, content in files.items()})
        return self

    def always(self, names: Iterable[str], route: Route) -> Server:
        """Answer every one of these names in the same way."""
        self.routes.update({f"/{name}": route for name in names})
        return self

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def body(content: bytes, length: int | None = None) -> Route:
    """200 with ``content``; ``length`` is what is announced, if it is not the truth."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int) -> Route:
    def answer(handler: Handler) -> None:
        handler.send_error(code)

    return answer


def redirect(to: str) -> Route:
    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
