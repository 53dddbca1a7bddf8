"""Mirrors that fail: the next one is tried, the time is bounded, nothing wrong is left."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from bad_mirrors import BAD, drip
from fetching import PATIENT, Serve, expected, files_in, run
from made_up import Made, lay
from servers import body

from mnist_cli.data import mirrors
from mnist_cli.errors import DataError


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mirror_is_named_and_nothing_is_left(
    made: Made, tmp_path: Path, serve: Serve, name: str
) -> None:
    route, words = BAD[name]
    bad, web_page = serve(), serve().always(made.archives, body(b"<html>"))
    bad.routes = {f"/{file}": route(content) for file, content in made.archives.items()}
    with pytest.raises(DataError) as caught:
        run(made, tmp_path, bad.url, web_page.url)
    first = next(iter(made.archives))
    assert re.search(rf"{bad.url}{first}: .*({words})", caught.value.message)
    assert f"{web_page.url}{first}: it answers" in caught.value.message
    assert "the data set digits" in caught.value.hint
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize("name", BAD)
def test_the_next_mirror_is_tried_and_preferred(
    made: Made, tmp_path: Path, serve: Serve, name: str
) -> None:
    bad, good = serve(), serve().offer(made.archives)
    bad.routes = {f"/{file}": BAD[name][0](content) for file, content in made.archives.items()}
    report = run(made, tmp_path, bad.url, good.url)
    assert files_in(tmp_path) == expected(made)
    assert set(report.files.values()) == {good.url + file for file in made.archives}
    assert len(bad.asked) == 1


def test_the_total_time_ends_a_download_that_is_fast_enough(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    servers = [serve(), serve()]
    for server in servers:
        server.routes = {f"/{name}": drip(content) for name, content in made.archives.items()}
    with pytest.raises(DataError, match="timed out after"):
        run(made, tmp_path, *(s.url for s in servers), total_timeout=0.6, slow_timeout=PATIENT)
    assert not servers[1].asked
    assert files_in(tmp_path) == {}


def test_a_mirror_without_a_slash_is_a_folder(made: Made, tmp_path: Path, serve: Serve) -> None:
    server = serve()
    server.routes = {f"/mnist/{name}": body(content) for name, content in made.archives.items()}
    assert run(made, tmp_path, f"{server.url}mnist").files


# No network


def test_names_that_do_not_resolve(made: Made, tmp_path: Path, monkeypatch) -> None:
    def fails(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(DataError) as caught:
        run(made, tmp_path, "https://one.invalid/", "https://two.invalid/")
    assert "no mirror can be reached" in caught.value.message
    assert "one.invalid: its name does not resolve" in caught.value.message
    assert "two.invalid: its name does not resolve" in caught.value.message
    assert "MNIST_DATA_DIR" in caught.value.hint


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A resolver without an answer, and less patience than people have."""
    over = threading.Event()

    def hangs(*_, **__):
        over.wait(PATIENT)
        raise socket.gaierror(socket.EAI_AGAIN, "over")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr(mirrors, "reach", partial(mirrors.reach, timeout=0.2))
    yield
    over.set()


@pytest.mark.timeout(PATIENT / 2)
@pytest.mark.usefixtures("hanging_resolver")
def test_a_resolver_that_hangs(made: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no answer within 0\.2 s"):
        run(made, tmp_path, "https://one.invalid/", "https://two.invalid/")
    assert files_in(tmp_path) == {}
    lay(tmp_path, made.raw)
    assert run(made, tmp_path, "https://one.invalid/").downloaded == 0


def test_a_dead_mirror_does_not_hide_a_living_one(made: Made, tmp_path, serve: Serve) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        run(made, tmp_path, dead, serve().offer(made.archives).url)
    assert files_in(tmp_path) == expected(made)


def test_the_proxy_is_connected_to_in_the_hosts_stead(serve: Serve, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", serve().url)
    assert mirrors.reach(["https://mirror.invalid/"]) == {"https://mirror.invalid/": ""}


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://me:secret@{where}")
        reasons = mirrors.reach(["https://mirror.invalid/"])
    assert reasons == {"https://mirror.invalid/": f"the proxy {where}: Connection refused"}
