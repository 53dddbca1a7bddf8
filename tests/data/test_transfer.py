"""One file from one address: what httpx is given, and what is made of its answers."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fetching import PATIENT, Serve

from mnist_cli.data import transfer
from mnist_cli.data.transfer import DownloadError, Timeouts, allowed, receive

CONTENT = bytes(range(256)) * 1000
URL = "https://mirror.example/file.gz"
Handler = Callable[[httpx.Request], httpx.Response]
Answering = Callable[[Handler], None]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Let a function answer every request, without a network."""

    def answer(handler: Handler) -> None:
        transport = httpx.MockTransport(handler)
        monkeypatch.setattr(transfer, "client", lambda *_: httpx.Client(transport=transport))

    return answer


def fetched(url: str = URL, limit: int = len(CONTENT)) -> bytes:
    """Download ``url``, and check what the download reports."""
    sink, seen = io.BytesIO(), []
    timeouts = Timeouts(PATIENT, PATIENT, time.monotonic() + PATIENT)
    count, md5 = receive(url, sink, timeouts, limit, lambda *state: seen.append(state))
    content = sink.getvalue()
    assert (count, md5) == (len(content), hashlib.md5(content).hexdigest())
    assert (seen[0][0], seen[-1][0]) == (0, len(content))
    return content


def whole() -> httpx.Response:
    return httpx.Response(200, content=iter([CONTENT]))


def moved(to: str) -> httpx.Response:
    return httpx.Response(302, headers={"Location": to})


def test_a_file_of_the_largest_size_arrives_whole(answering: Answering) -> None:
    answering(lambda request: whole())
    assert fetched() == CONTENT
    with pytest.raises(DownloadError, match="256,000 bytes or more; the file has at most 255,999"):
        fetched(limit=len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(404), "HTTP 404 Not Found"),
        (httpx.Response(500), "HTTP 500"),
        (httpx.Response(200, content=iter([b" <!DOCTYPE html>Log in"])), "a web page instead"),
        (httpx.Response(200, headers={"Content-Length": "9" * 12}), "the file has at most"),
        (httpx.Response(200, content=iter([CONTENT, b"x"])), "256,001 bytes or more"),
        (moved("file:///etc/passwd"), "etc/passwd, which is not https"),
        (moved("ftp://127.0.0.1/x"), "which is not https"),
        (moved("http://mirror.example/x"), "which is not https"),
        (moved("http://127.0.0.1/x"), "which is not https"),
        (moved("?"), "it redirects in a loop"),
        (moved("https://[::1/"), "Invalid URL in location header"),
    ],
)
def test_a_bad_answer_is_refused(answering: Answering, answer: httpx.Response, words: str) -> None:
    answering(lambda request: answer)
    with pytest.raises(DownloadError) as caught:
        fetched()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "to"),
    [(URL, "https://other.example/x"), ("http://127.0.0.1/x", "http://localhost:8000/y")],
)
def test_redirects_are_followed(answering: Answering, url: str, to: str) -> None:
    answering(lambda request: moved(to) if request.url == url else whole())
    assert fetched(url) == CONTENT


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "http://192.0.2.1/", "ftp://127.0.0.1/", "file:///tmp/", "mnist",
     "https://", "http://localhost.example.org/", "http://[::1/"],
)  # fmt: skip
def test_only_https_and_this_machine_are_allowed(url: str) -> None:
    assert not allowed(url, plain_on_loopback=True)
    assert allowed("https://example.org/", plain_on_loopback=False)
    for host in ("localhost", "127.0.0.9:80", "[::1]"):
        assert allowed(f"http://{host}/", plain_on_loopback=True)
        assert not allowed(f"http://{host}/", plain_on_loopback=False)


# Proxies and certificates, with real sockets


def test_the_environments_proxy_is_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", serve().url)
    with pytest.raises(DownloadError, match=r"^the proxy 127[^ ]+: 501 Unsupported method"):
        fetched("https://mirror.invalid/file")
    there = serve().offer({"file": CONTENT})
    monkeypatch.setenv("http_proxy", "http://proxy.invalid/")
    assert fetched(f"{there.url}file") == CONTENT


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for 127.0.0.1, signed by itself."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out cert"
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", *options.split(), *extensions], cwd=folder, check=True, capture_output=True
    )
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


def test_only_a_trusted_certificate_is_accepted(
    serve: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(certificate).offer({"file": CONTENT})
    with pytest.raises(DownloadError, match="its certificate is not trusted"):
        fetched(f"{server.url}file")
    assert not server.asked
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetched(f"{server.url}file") == CONTENT
