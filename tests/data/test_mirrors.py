"""Mirrors that fail: the next one is tried, the time is bounded, nothing wrong is left."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from bad_mirrors import BAD, drip
from fetching import PATIENT, Serve, expected, files_in, run
from made_up import Made
from servers import Server, body, redirect, status

from mnist_cli.data import mirrors, web
from mnist_cli.errors import DataError, UsageError


@pytest.fixture(params=BAD, ids=[name.replace(" ", "-") for name in BAD])
def bad(request, made: Made, serve: Serve) -> tuple[Server, str]:
    """A server that fails in one of these ways, and words of the reason."""
    route, words = BAD[request.param]
    server = serve()
    for name, content in made.archives.items():
        server.routes[f"/{name}"] = server.routes[f"/{name}?"] = route(content)
    return server, words


def test_the_next_mirror_is_tried(made: Made, tmp_path: Path, serve: Serve, bad) -> None:
    server, words = bad
    good = serve().offer(made.archives)
    report = run(made, tmp_path, server.url, good.url)
    assert files_in(tmp_path) == expected(made)
    assert {file.source for file in report.files} == {good.url + name for name in made.archives}
    # The good one is asked first once it has proved good, so the bad one is asked once.
    assert [failure.url for failure in report.failures] == [server.url + next(iter(made.archives))]
    assert re.search(words, report.failures[0].reason)


def test_where_no_mirror_is_good_nothing_is_left(made: Made, tmp_path: Path, bad) -> None:
    server, words = bad
    with pytest.raises(DataError) as caught:
        run(made, tmp_path, server.url)
    assert re.search(words, caught.value.message)
    assert server.url in caught.value.message
    assert "--dataset digits" in caught.value.hint
    assert files_in(tmp_path) == {}


def test_every_mirror_is_named_with_its_failure(made: Made, tmp_path, serve: Serve) -> None:
    first = serve().always(made.archives, status(403))
    second = serve().always(made.archives, body(b"<html>"))
    with pytest.raises(DataError) as caught:
        run(made, tmp_path, first.url, second.url)
    assert f"{first.url}train-images-idx3-ubyte.gz: HTTP 403" in caught.value.message
    assert f"{second.url}train-images-idx3-ubyte.gz: it answers" in caught.value.message


def test_the_total_time_ends_a_download_that_is_fast_enough(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    servers = [serve(), serve()]
    for server in servers:
        for name, content in made.archives.items():
            server.routes[f"/{name}"] = drip(content)
    with pytest.raises(DataError, match="the time ran out"):
        run(made, tmp_path, *(s.url for s in servers), total_timeout=0.6, slow_timeout=PATIENT)
    assert not servers[1].asked
    assert files_in(tmp_path) == {}


def test_redirects_are_followed(made: Made, tmp_path: Path, serve: Serve) -> None:
    good = serve().offer(made.archives)
    server = serve()
    for name in made.archives:
        server.routes[f"/{name}"] = redirect(good.url + name)
    assert not run(made, tmp_path, server.url).failures
    assert files_in(tmp_path) == expected(made)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "http://192.0.2.1/", "ftp://127.0.0.1/", "file:///tmp/", "mnist",
     "https://", "http://localhost.example.org/", "http://[::1/"],
)  # fmt: skip
def test_a_mirror_must_be_https_or_this_machine(made: Made, tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(made, tmp_path, url)
    assert url in caught.value.message
    assert files_in(tmp_path) == {}


def test_a_mirror_without_a_slash_is_a_folder(made: Made, tmp_path: Path, serve: Serve) -> None:
    server = serve()
    server.routes = {f"/mnist/{name}": body(content) for name, content in made.archives.items()}
    assert run(made, tmp_path, f"{server.url}mnist").files


# Certificates


@pytest.fixture
def certificate(tmp_path_factory) -> Path:
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


def test_an_unknown_certificate_is_refused(made, tmp_path, serve: Serve, certificate) -> None:
    server = serve(certificate).offer(made.archives)
    with pytest.raises(DataError, match="its certificate is not trusted"):
        run(made, tmp_path, server.url, connect_timeout=PATIENT)
    assert not server.asked


def test_https_works_and_never_leads_to_http(
    made: Made, tmp_path: Path, serve: Serve, certificate: Path, monkeypatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    plain = serve().offer(made.archives)
    server = serve(certificate)
    for name in made.archives:
        server.routes[f"/{name}"] = redirect(plain.url.replace("127.0.0.1", "127.0.0.2") + name)
    monkeypatch.setattr(mirrors, "is_loopback", lambda host: False)
    with pytest.raises(DataError, match="which is not https"):
        run(made, tmp_path, server.url, connect_timeout=PATIENT)
    server.offer(made.archives)
    run(made, tmp_path, server.url, connect_timeout=PATIENT)
    assert files_in(tmp_path) == expected(made)
    assert not plain.asked


# No network


def test_no_network_is_told_before_five_seconds_are_over() -> None:
    assert web.REACH_SECONDS < 5


def test_names_that_do_not_resolve(made: Made, tmp_path: Path, monkeypatch) -> None:
    def fails(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(DataError) as caught:
        run(made, tmp_path, "https://one.invalid/", "https://two.invalid/")
    assert "no mirror can be reached" in caught.value.message
    assert "one.invalid: its name does not resolve" in caught.value.message
    assert "two.invalid: its name does not resolve" in caught.value.message
    assert "--data-dir" in caught.value.hint


@pytest.fixture
def hanging_resolver(monkeypatch) -> Iterator[None]:
    """A resolver without an answer, and less patience than people have."""
    over = threading.Event()

    def hangs(*_, **__):
        over.wait(PATIENT)
        raise socket.gaierror(socket.EAI_AGAIN, "over")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr(mirrors, "reach", partial(web.reach, timeout=0.2))
    yield
    over.set()


@pytest.mark.timeout(PATIENT / 2)
def test_a_resolver_that_hangs(made: Made, tmp_path: Path, hanging_resolver) -> None:
    with pytest.raises(DataError, match=r"no answer within 0\.2 s"):
        run(made, tmp_path, "https://one.invalid/", "https://two.invalid/")
    assert files_in(tmp_path) == {}


@pytest.mark.timeout(PATIENT / 2)
def test_a_resolver_that_hangs_while_the_files_are_there(
    made: Made, tmp_path: Path, hanging_resolver
) -> None:
    for name, content in made.raw.items():
        (tmp_path / name).write_bytes(content)
    assert run(made, tmp_path, "https://one.invalid/").downloaded == 0


def test_a_dead_mirror_does_not_hide_a_living_one(made: Made, tmp_path, serve: Serve) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        report = run(made, tmp_path, dead, serve().offer(made.archives).url)
    assert not report.failures
    assert files_in(tmp_path) == expected(made)


def test_a_proxy_is_asked_in_the_hosts_stead(serve: Serve, monkeypatch) -> None:
    proxy = serve()
    monkeypatch.setenv("https_proxy", proxy.url)
    assert web.reach(["https://mirror.invalid/"]) == {"https://mirror.invalid/": ""}
