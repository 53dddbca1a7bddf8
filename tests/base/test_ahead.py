"""Work in another thread while the first imports modules."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mnist_cli.base.ahead import begin


def test_another_thread_does_it() -> None:
    assert begin(threading.get_ident).result(timeout=60) != threading.get_ident()


def test_an_error_is_raised_where_the_result_is_wanted() -> None:
    begun = begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        begun.result(timeout=60)


def test_without_a_thread_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert begin(threading.get_ident).result(timeout=0) == threading.get_ident()
