"""The way to an address: which may be asked, how it is reached, and what its errors mean in words.

https alone, and plain http on this very machine where that is wanted; a redirect leads nowhere
else. Knows proxies and certificates, but not what is asked for.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

# Long enough for three SYN packets (0, 1 and 3 s), short enough to answer within five seconds.
REACH_SECONDS = 4.0

_MAX_REDIRECTS = 5


class DownloadError(Exception):
    """Why an address did not give the file, in a few words."""


def allowed(url: str, *, plain_on_loopback: bool = False) -> bool:
    """Whether ``url`` may be asked: https, or http on this very machine where that is wanted."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return plain_on_loopback and parts.scheme == "http" and is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reach(urls: Sequence[str], timeout: float = REACH_SECONDS) -> dict[str, str]:
    """Ask all hosts at once whether they answer at all.

    Returns:
        For each address "" if a connection was made, else why not. Ends as soon as the first
        address is known to answer; those of which nothing is known by then count as silent.
    """
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    for url in dict.fromkeys(urls):
        threading.Thread(target=_knock, args=(url, timeout, answers), daemon=True).start()
    known: dict[str, str] = {}
    deadline = time.monotonic() + timeout
    with suppress(queue.Empty):
        while len(known) < len(set(urls)) and known.get(urls[0]) != "":
            url, why = answers.get(timeout=max(deadline - time.monotonic(), 0))
            known[url] = why
    return {url: known.get(url, f"no answer within {timeout:g} s") for url in urls}


def _knock(url: str, timeout: float, answers: queue.Queue[tuple[str, str]]) -> None:
    """Connect to the host of ``url``, or to the proxy in front of it, and hang up."""
    try:
        socket.create_connection(_endpoint(url), timeout=timeout).close()
        answers.put((url, ""))
    except Exception as error:
        answers.put((url, explain(error)))


def _endpoint(url: str) -> tuple[str, int]:
    """Where a request for ``url`` connects to."""
    parts = urllib.parse.urlsplit(url)
    proxy = _proxies(url).get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _proxies(url: str) -> dict[str, str]:
    """The environment's proxies, but none for this machine itself."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return {} if is_loopback(host) else urllib.request.getproxies()


def opener(url: str, plain: bool) -> urllib.request.OpenerDirector:
    """An opener for http and https alone: no files, no ftp, no data addresses."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(_proxies(url)),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(plain),
        urllib.request.UnknownHandler(),
    ):
        made.add_handler(handler)
    return made


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, none of them away from https."""

    max_redirections = _MAX_REDIRECTS

    def __init__(self, plain: bool) -> None:
        self._plain = plain

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to follow with, if ``newurl`` is one that may be asked."""
        if not allowed(newurl, plain_on_loopback=self._plain):
            fp.close()
            raise DownloadError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def explain(error: BaseException, count: int = 0) -> str:
    """An exception of the network, after ``count`` bytes, as a few words."""
    if isinstance(error, urllib.error.HTTPError):
        circle = "infinite loop" in str(error.reason)
        return "it redirects in a circle" if circle else f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return explain(error.reason, count)
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return f"silent after {count:,} bytes"
    if isinstance(error, http.client.IncompleteRead):
        return f"cut off after {count:,} bytes"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
