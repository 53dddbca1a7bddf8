"""The page's server over real sockets: what it hands out, what it refuses, and that it survives."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import pytest

from mnist_cli.errors import DataError, NonFiniteError, OutputError
from mnist_cli.web.server import PageServer

SIZE = 64
BINARY = {"Content-Type": "application/octet-stream"}


def measure(question: bytes) -> dict[str, Any]:
    """An answer to try the server with."""
    if question == b"rubbish":
        raise DataError("these are no pixels")
    if question == b"infinite":
        raise NonFiniteError("not finite", "Try another.")
    if question == b"bug":
        raise ZeroDivisionError("nobody expected this")
    return {"bytes": len(question)}


@contextlib.contextmanager
def running(answer: Any = measure) -> Iterator[PageServer]:
    server = PageServer(0, {"model": "none"}, answer, question_size=SIZE)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.close()


@pytest.fixture
def server() -> Iterator[PageServer]:
    with running() as one:
        yield one


Reply = tuple[int, Mapping[str, str], bytes]


def request(
    server: PageServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def ask(server: PageServer, question: bytes, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, body = request(server, "POST", "/ask", question, {**BINARY, **named})
    return status, json.loads(body)


def raw(server: PageServer, data: bytes) -> bytes:
    """What comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                pieces.append(piece)
    return b"".join(pieces)


def is_well(server: PageServer) -> bool:
    return ask(server, b"12345") == (200, {"bytes": 5})


def test_the_page_and_all_that_it_names(server: PageServer) -> None:
    status, headers, page = request(server, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    todo, seen = re.findall(r'(?:src|href)="([^"]+)"', page.decode()), set()
    assert {"main.js", "page.css", "icon.svg"} <= set(todo)
    while todo:
        name = todo.pop()
        status, headers, content = request(server, "GET", f"/{name}")
        assert status == 200, name
        seen.add(name)
        if name.endswith(".js"):
            assert headers["Content-Type"].startswith("text/javascript")
            todo += set(re.findall(r"from '\./([^']+)'", content.decode())) - seen
    there = {one.name for one in files("mnist_cli.web").joinpath("page").iterdir()}
    assert seen | {"index.html"} == there


@pytest.mark.parametrize("path", ["/", "/none"])
def test_a_head_is_a_get_without_its_content(server: PageServer, path: str) -> None:
    def described(method: str) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = request(server, method, path)
        return status, {k: v for k, v in headers.items() if k != "Date"}, content

    status, headers, content = described("GET")
    assert described("HEAD") == (status, headers, b"")
    assert int(headers["Content-Length"]) == len(content) > 0


@pytest.mark.parametrize("headers", [BINARY, {"Host": "evil.example"}, {}])
def test_a_question_that_is_too_large_gets_its_error(
    server: PageServer, headers: Mapping[str, str]
) -> None:
    """It is larger than the sockets' buffers, and is read: a client that is cut off sees no error."""
    status, _, body = request(server, "POST", "/ask", bytes(6_000_000), headers)
    expected = 413 if headers is BINARY else 403 if headers else 415
    assert (status, b"error" in body) == (expected, True)
    assert is_well(server)


def test_an_endless_question_is_cut_off(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cli.web.server.MOST_IGNORED", 1 << 20)
    head = HEAD.format(port=server.port) + "Content-Length: 999999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode())
        with pytest.raises(ConnectionError):  # noqa: PT012 - which of them fails is the system's
            for _ in range(10_000):
                connection.sendall(bytes(1 << 16))
    assert is_well(server)


def test_no_file_of_the_page_names_another_site() -> None:
    for one in files("mnist_cli.web").joinpath("page").iterdir():
        addresses = set(re.findall(r"https?://[^\s\"'<]+", one.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, one.name


@pytest.mark.parametrize(
    "path",
    ["/server.py", "/../server.py", "/page/index.html", "/%2e%2e/server.py", "/index.html",
     "/ask", "/etc/passwd", "/main.js/", "*"],
)  # fmt: skip
def test_nothing_else_is_handed_out(server: PageServer, path: str) -> None:
    assert request(server, "GET", path)[0] == 404


def test_every_reply_has_a_strict_content_security_policy(server: PageServer) -> None:
    for method, path in [("GET", "/"), ("GET", "/main.js"), ("GET", "/none"), ("POST", "/ask")]:
        _, headers, _ = request(server, method, path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil", ""],
)
def test_another_name_is_refused(server: PageServer, host: str) -> None:
    """As a page does whose own name suddenly leads to this machine (DNS rebinding)."""
    named = {"Host": host.format(port=server.port)}
    assert request(server, "GET", "/", headers=named)[0] == 403
    assert request(server, "POST", "/ask", b"1", {**BINARY, **named})[0] == 403


def test_its_own_names_are_not(server: PageServer) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        name = f"{host}:{server.port}"
        assert ask(server, b"1", Host=name, Origin=f"http://{name}")[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "file://"],
)
def test_pages_of_other_sites_may_not_ask(server: PageServer, origin: str) -> None:
    assert ask(server, b"1", Origin=origin.format(port=server.port))[0] == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "/"])
def test_the_content_types_of_a_plain_form_are_refused(server: PageServer, kind: str) -> None:
    assert ask(server, b"1", Content_Type=kind)[0] == 415


def test_expected_errors_are_answered(server: PageServer) -> None:
    assert ask(server, b"rubbish") == (400, {"error": "these are no pixels"})
    assert ask(server, b"infinite") == (500, {"error": "not finite\nTry another."})
    assert is_well(server)


def test_a_bug_ends_one_connection_only(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.StringIO()  # capfd loses what is written while it is read
    monkeypatch.setattr(sys, "stderr", told)
    assert ask(server, b"bug") == (500, {"error": "an unexpected failure"})
    assert is_well(server)
    deadline = time.monotonic() + 60
    while "nobody expected this" not in told.getvalue() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert "ZeroDivisionError: nobody expected this" in told.getvalue()


HEAD = "POST /ask HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + "\r\n", 411),
        (HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
        (HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 411),
        (HEAD + "Content-Length: -1\r\n\r\n", 411),
        (HEAD + "Content-Length: +5\r\n\r\nhello", 411),
        (HEAD + "Content-Length: ٥\r\n\r\nhello", 411),
        (HEAD + f"Content-Length: {SIZE + 1}\r\n\r\n", 413),
        (HEAD + "Content-Length: 9999999999999999999999\r\n\r\n", 411),
        (HEAD + "Content-Length: 5\r\n\r\nhel", 400),
        (HEAD + "Host: evil.example\r\nContent-Length: 0\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\n\r\n", 403),
        ("GET /\r\n\r\n", None),
        ("PUT / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", 501),
    ],
)
def test_malformed_requests_are_refused_and_survived(
    server: PageServer, data: str, status: int | None
) -> None:
    """Without a version that is known it is HTTP/0.9, whose answers have no status."""
    answer = raw(server, data.replace("{port}", str(server.port)).encode())
    if status is not None:
        assert answer.startswith(f"HTTP/1.0 {status} ".encode()), answer[:100]
    assert b'{"error":' in answer
    assert is_well(server)


def test_one_who_is_silent_keeps_nobody_waiting(server: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"POST /ask HTTP/1.1\r\n")
        assert is_well(server)


def test_questions_at_once_are_answered_one_by_one() -> None:
    inside, most = 0, 0

    def answer(question: bytes) -> dict[str, Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)
        inside -= 1
        return {"bytes": len(question)}

    with running(answer) as server:
        answers: dict[int, Any] = {}

        def one(count: int) -> None:
            answers[count] = ask(server, bytes(count))

        threads = [threading.Thread(target=one, args=[count]) for count in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {count: (200, {"bytes": count}) for count in range(30)}
    assert most == 1


def test_closing_waits_for_the_answer_that_is_under_way() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def answer(_: bytes) -> dict[str, Any]:
        begun.set()
        go_on.wait(60)
        done.set()
        return {}

    server = PageServer(0, {}, answer, question_size=SIZE)
    thread = threading.Thread(target=lambda: server.handle_request(), daemon=True)
    thread.start()
    asking = threading.Thread(target=lambda: ask(server, b"1"), daemon=True)
    asking.start()
    assert begun.wait(60)
    closing = threading.Thread(target=server.close)
    closing.start()
    assert not done.is_set()
    go_on.set()
    closing.join(60)
    assert done.is_set()
    asking.join(60)


def test_it_listens_on_loopback_only(server: PageServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/"


def test_a_port_in_use_is_said_to_be(server: PageServer) -> None:
    with pytest.raises(OutputError, match=f"port {server.port} is in use"):
        PageServer(server.port, {}, measure, question_size=SIZE)
