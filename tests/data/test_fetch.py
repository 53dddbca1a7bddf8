from __future__ import annotations

import os
import pickle
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from made_up import Made, make, md5
from servers import Handler, Route, Server, body, redirect, status

from mnist_cli.data import catalogue, download, fetch, mirrors, store
from mnist_cli.errors import DataError, OutputError, UsageError

Serve = Callable[..., Server]

# What a test waits for goes wrong at once or not at all; this only bounds a test that fails.
PATIENT = 60.0


def run(made: Made, root: Path, *urls: str, **options) -> fetch.FetchReport:
    """Fetch with short bounds; a keyword that is given wins."""
    bounds = {"connect_timeout": 1.0, "total_timeout": PATIENT, "slow_timeout": 1.0}
    return fetch.fetch(made.spec, root, mirrors=urls, **(bounds | options))


def files_in(root: Path) -> dict[str, bytes]:
    """Everything under ``root`` but the lock, by its path there."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name != fetch.LOCK)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def expected(made: Made) -> dict[str, bytes]:
    return {f"MNIST/raw/{name}": content for name, content in (made.raw | made.archives).items()}


# What a fetch leaves


def test_everything_is_there_as_torchvision_wants_it(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    server = serve().offer(made.archives)
    report = run(made, tmp_path, server.url)
    assert files_in(tmp_path) == expected(made)
    assert report.downloaded == sum(map(len, made.archives.values()))
    assert {file.source for file in report.files} == {server.url + name for name in made.archives}
    assert not report.failures
    theirs = tv.MNIST(tmp_path, train=False, download=False)
    ours = store.read(made.spec, "test", tmp_path)
    assert np.array_equal(ours.images, theirs.data.numpy())
    assert np.array_equal(ours.labels, theirs.targets.numpy())


def test_what_is_there_is_not_asked_for(made: Made, tmp_path: Path, serve: Serve) -> None:
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    server.asked.clear()
    report = run(made, tmp_path, server.url)
    assert not server.asked
    assert {file.source for file in report.files} == {"present"}
    assert report.downloaded == 0


def test_a_flat_folder_that_has_the_files_is_left_alone(made: Made, tmp_path: Path) -> None:
    for name, content in made.archives.items():
        (tmp_path / name).write_bytes(content)
    report = run(made, tmp_path, "https://mirror.invalid/")
    assert {file.path.parent for file in report.files} == {tmp_path}
    assert not (tmp_path / "MNIST").exists()


def test_archives_that_are_there_are_extracted(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in made.archives.items():
        (raw / name).write_bytes(content)
    report = run(made, tmp_path, "https://mirror.invalid/")
    assert files_in(tmp_path) == expected(made)
    assert {file.source for file in report.files} == {"extracted"}


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
@pytest.mark.parametrize("harm", ["tampered", "cut", "empty", "gone"])
def test_what_is_damaged_heals(made: Made, tmp_path: Path, serve: Serve, name, harm) -> None:
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    path = tmp_path / "MNIST" / "raw" / name
    good = bytearray(path.read_bytes())
    good[len(good) // 2] ^= 1
    path.write_bytes({"tampered": bytes(good), "cut": good[:-1]}.get(harm, b""))
    if harm == "gone":
        path.unlink()
    run(made, tmp_path, server.url)
    arrays = store.read(made.spec, "train", tmp_path)
    assert np.array_equal(arrays.images, made.arrays["train", "images"])


def test_checksums_that_the_catalogue_lacks_are_recorded(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    made = made.without_md5()
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    assert store.read(made.spec, "test", tmp_path).sources[0] == path
    assert store.read(made.spec, "test", tmp_path).verified
    path.write_bytes(make(seed=1).raw[path.name])
    with pytest.raises(DataError, match="is not the Made-up file"):
        store.read(made.spec, "test", tmp_path)
    server.asked.clear()
    run(made, tmp_path, server.url)
    assert path.read_bytes() == made.raw[path.name]
    assert not server.asked


def test_of_a_bundle_only_the_own_files_are_taken(made: Made, tmp_path: Path, serve: Serve) -> None:
    made, content = made.zipped()
    server = serve().offer({"gzip.zip": content})
    run(made, tmp_path, server.url)
    assert server.asked == ["/gzip.zip"]
    left = files_in(tmp_path)
    assert left.pop(f"MNIST/raw/{store.CHECKSUMS}")
    assert left == expected(made)
    assert store.read(made.spec, "train", tmp_path).verified
    server.asked.clear()
    run(made, tmp_path, server.url)
    assert not server.asked


def test_a_bundle_that_is_there_is_used_and_kept(made: Made, tmp_path: Path) -> None:
    made, content = made.zipped()
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "gzip.zip").write_bytes(content)
    run(made, tmp_path, "https://mirror.invalid/")
    assert (tmp_path / "MNIST" / "raw" / "gzip.zip").exists()
    assert store.read(made.spec, "train", tmp_path).verified


@pytest.mark.parametrize("kind", ["lacks", "bomb", "broken"])
def test_a_bundle_that_is_not_what_it_should_be(made: Made, tmp_path, serve: Serve, kind) -> None:
    archives = dict(made.archives)
    if kind == "lacks":
        del archives["t10k-labels-idx1-ubyte.gz"]
    if kind == "bomb":
        archives["t10k-labels-idx1-ubyte.gz"] = bytes(1 << 20)
    made, content = replace(made, archives=archives).zipped()
    if kind == "broken":
        content = content[: len(content) // 2]
        made = replace(
            made, spec=replace(made.spec, bundle=replace(made.spec.bundle, md5=md5(content)))
        )
    with pytest.raises(DataError, match=r"gzip\.zip"):
        run(made, tmp_path, serve().offer({"gzip.zip": content}).url)
    assert not list(tmp_path.rglob("*.part"))


def test_bundled_digits_need_nothing(tmp_path: Path) -> None:
    report = fetch.fetch(catalogue.get("digits"), tmp_path / "none")
    assert report.files == ()
    assert not (tmp_path / "none").exists()


def test_progress_is_told(made: Made, tmp_path: Path, serve: Serve) -> None:
    seen: list[fetch.Progress] = []
    run(made, tmp_path, serve().offer(made.archives).url, progress=seen.append)
    for name, content in made.archives.items():
        downloads = [p for p in seen if p.file == name]
        assert {p.stage for p in downloads} == {"downloading"}
        assert (downloads[0].done, downloads[-1].done) == (0, len(content))
        assert {p.total for p in downloads} == {len(content)}
    assert [p.file for p in seen if p.stage == "extracting" and p.done] == list(made.raw)


# Mirrors that fail: the next one is tried, the time is bounded, nothing wrong is left


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


def drip(content: bytes, seconds: float = 0.02) -> Route:
    """A byte now and then: each single read is quick enough."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for byte in content:
            handler.wfile.write(bytes([byte]))
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
    "silent": (lambda content: stall, "no answer within 1 s"),
    "stalls": (stall_within, "silent after|too slow"),
    "a byte now and then": (drip, "too slow"),
    "endless headers": (lambda content: drip_headers, "no answer within 1 s"),
    "cut off": (lambda content: body(content[:-9], len(content)), "cut off after"),
    "cut off unannounced": (lambda content: body(content[:-9]), "wrong bytes"),
    "403": (lambda content: status(403), "HTTP 403"),
    "500": (lambda content: status(500), "HTTP 500"),
    "web page": (lambda content: body(b"<!DOCTYPE html><p>Log in"), "web page"),
    "wrong bytes": (lambda content: body(content[:-1] + b"x"), "wrong bytes: md5"),
    "announces too much": (lambda content: body(content, 10**12), "where at most"),
    "sends too much": (lambda content: endless, "where at most"),
    "no HTTP": (lambda content: not_http, "220 ftp"),
    "redirects to itself": (lambda content: redirect("?"), "circle"),
    "redirects to http": (lambda content: redirect("http://192.0.2.1/x"), "which is not https"),
    "redirects to a file": (lambda content: redirect("file:///etc/passwd"), "is not allowed"),
    "redirects to ftp": (lambda content: redirect("ftp://127.0.0.1/x"), "which is not https"),
}


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
    assert download.REACH_SECONDS < 5


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
    monkeypatch.setattr(mirrors, "reach", partial(download.reach, timeout=0.2))
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
    assert download.reach(["https://mirror.invalid/"]) == {"https://mirror.invalid/": ""}


# The disk


def test_a_folder_that_cannot_be_made(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        run(made, tmp_path / "file", "https://mirror.invalid/")
    assert str(tmp_path / "file") in caught.value.message
    assert "bytes were needed" in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(made: Made, tmp_path: Path, serve: Serve) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        run(made, tmp_path, serve().offer(made.archives).url)
    tmp_path.chmod(0o700)


def test_a_full_disk_leaves_nothing(made: Made, tmp_path: Path, serve: Serve) -> None:
    """RLIMIT_FSIZE stands in for a full disk: a write fails in the middle of a file."""
    process = child(made, tmp_path, serve().offer(made.archives).url, limit=20_000)
    _, errors = process.communicate(timeout=PATIENT)
    assert process.returncode == 5, errors
    assert "bytes were needed" in errors
    assert files_in(tmp_path) == {}


# Other processes, and ends in the middle

CHILD = """
import pickle, sys
from pathlib import Path
from mnist_cli.data.fetch import fetch
from mnist_cli.errors import MnistError

made, root, url = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    report = fetch(made, root, mirrors=[url])
except MnistError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
print(report.downloaded)
"""


def child(made: Made, root: Path, url: str, limit: int | None = None) -> subprocess.Popen[str]:
    """Fetch in a process of its own, whose files may have ``limit`` bytes."""
    task = root.parent / f"{root.name}.task"
    task.write_bytes(pickle.dumps((made.spec, root, url)))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit and partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
    )


class Gate:
    """Serves half a file and waits to be opened before it serves the rest."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        half = len(self.content) // 2
        handler.wfile.write(self.content[:half])
        handler.wfile.flush()
        self.reached.set()
        self.opened.wait(PATIENT)
        handler.wfile.write(self.content[half:])


@pytest.fixture
def gated(made: Made, serve: Serve) -> Iterator[tuple[Server, Gate]]:
    """A good server that waits in the middle of the first file."""
    server = serve().offer(made.archives)
    name, content = next(iter(made.archives.items()))
    gate = Gate(content)
    server.routes[f"/{name}"] = gate
    yield server, gate
    gate.opened.set()


def wait_for_part(root: Path) -> Path:
    """The temporary file of a download under way."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        if parts := list(root.rglob(".*.part")):
            return parts[0]
        time.sleep(0.01)
    raise AssertionError("no download began")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle_and_run_again_heals(made, tmp_path, gated, number) -> None:
    server, gate = gated
    root = tmp_path / "data"
    process = child(made, root, server.url)
    assert gate.reached.wait(PATIENT)
    wait_for_part(root)
    process.send_signal(number)
    process.communicate(timeout=PATIENT)
    assert process.returncode != 0
    left = [name for name in files_in(root) if not name.endswith(".part")]
    assert left == []
    if number == signal.SIGINT:
        assert files_in(root) == {}
    gate.opened.set()
    run(made, root, server.url)
    assert files_in(root) == expected(made)


def test_an_interrupt_is_not_swallowed(made: Made, tmp_path: Path, serve: Serve) -> None:
    def interrupt(progress: fetch.Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path, serve().offer(made.archives).url, progress=interrupt)
    assert files_in(tmp_path) == {}


def test_eight_at_once_of_which_one_is_killed(made: Made, tmp_path: Path, gated) -> None:
    server, gate = gated
    root = tmp_path / "data"
    processes = [child(made, root, server.url) for _ in range(8)]
    assert gate.reached.wait(PATIENT)
    pid = int(wait_for_part(root).name.split(".")[-2])
    killed = next(process for process in processes if process.pid == pid)
    killed.kill()
    gate.opened.set()
    outputs = {process.pid: process.communicate(timeout=PATIENT) for process in processes}
    assert killed.returncode == -signal.SIGKILL
    others = [process for process in processes if process is not killed]
    assert [process.returncode for process in others] == [0] * 7, outputs
    assert files_in(root) == expected(made)
    # One of the others downloaded everything, the rest nothing.
    volumes = sorted(int(outputs[process.pid][0]) for process in others)
    assert volumes == [0] * 6 + [sum(map(len, made.archives.values()))]


def test_a_process_that_waits_too_long_says_for_what(made: Made, tmp_path: Path, gated) -> None:
    server, gate = gated
    root = tmp_path / "data"
    process = child(made, root, server.url)
    assert gate.reached.wait(PATIENT)
    seen: list[fetch.Progress] = []
    with pytest.raises(OutputError, match="another process has been fetching Made-up"):
        run(made, root, server.url, total_timeout=0.2, progress=seen.append)
    assert [progress.stage for progress in seen] == ["waiting"]
    gate.opened.set()
    process.communicate(timeout=PATIENT)
    assert process.returncode == 0


# The real thing


@pytest.mark.mnist
def test_mnist_from_a_true_mirror(mnist_dir: Path, tmp_path: Path, serve: Serve) -> None:
    files = {path.name: path.read_bytes() for path in mnist_dir.glob("*.gz")}
    server = serve().offer(files)
    fetch.fetch(catalogue.get("mnist"), tmp_path, mirrors=[server.url])
    theirs = tv.MNIST(tmp_path, train=False, download=False)
    ours = store.read(catalogue.get("mnist"), "test", tmp_path)
    assert ours.verified
    assert np.array_equal(ours.images, theirs.data.numpy())
    assert {report.checksum for report in store.verify(catalogue.get("mnist"), tmp_path)} == {"ok"}
