"""Servers that fail, each in its own way, and words of the reason that is given."""

from __future__ import annotations

from collections.abc import Callable

from servers import Handler, Route, body, redirect, status


def stall(handler: Handler) -> None:
    """Take the request and never answer."""
    handler.server.closing.wait()


def stall_within(content: bytes) -> Route:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        handler.server.closing.wait()

    return answer


def drip(content: bytes, seconds: float = 0.02, size: int = 1) -> Route:
    """``size`` bytes now and then: each single read is quick enough."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for start in range(0, len(content), size):
            handler.wfile.write(content[start : start + size])
            handler.wfile.flush()
            if handler.server.closing.wait(seconds):
                return

    return answer


def drip_headers(handler: Handler) -> None:
    """A header that never ends, a byte now and then."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Endless: ")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(1 << 16))


def not_http(handler: Handler) -> None:
    handler.wfile.write(b"220 ftp.example.org ready\r\n")


BAD: dict[str, tuple[Callable[[bytes], Route], str]] = {
    "silent": (lambda content: stall, "no answer within 2 s"),
    "stalls": (stall_within, "silent after|too slow"),
    "a byte now and then": (drip, "too slow"),
    "endless headers": (lambda content: drip_headers, "no answer within 2 s"),
    "cut off": (lambda content: body(content[:-9], len(content)), "cut off after"),
    "403": (lambda content: status(403), "HTTP 403"),
    "wrong bytes": (lambda content: body(content[:-1] + b"x"), "wrong bytes: md5"),
    "sends too much": (lambda content: endless, "the file has at most"),
    "no HTTP": (lambda content: not_http, "Server disconnected"),
    "redirects to http": (lambda content: redirect("http://192.0.2.1/x"), "which is not https"),
}
