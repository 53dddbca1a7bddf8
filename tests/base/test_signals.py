"""SIGINT and SIGTERM as requests."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from systems import needs_posix

from mnist_cli.base.signals import StopRequest, stop_on_signals
from mnist_cli.errors import Interrupted, Stopped, Terminated


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, Terminated, 143)],
)
def test_a_signal_becomes_a_request_and_handlers_go_back(
    number: signal.Signals, kind: type[Stopped], code: int
) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        error = stop.error("stopped", "go on")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert type(error) is kind
    assert (error.code, error.message, error.hint) == (code, "stopped", "go on")


def test_handlers_go_back_after_a_failure() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), stop_on_signals():
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(number)
            assert not stop
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_sigterm_after_sigint_ends_with_sigterms_code() -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert isinstance(stop.error("x"), Terminated)


WAITS = """
import sys, time
from mnist_cli.base.signals import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop:
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep({seconds})
    print("finished", flush=True)
"""


def wait_in_child(seconds: float) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITS.format(seconds=seconds)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@needs_posix
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_leaves_at_once_with_130(first: signal.Signals) -> None:
    with wait_in_child(60) as child:
        child.send_signal(first)
        assert child.stdout is not None
        assert child.stdout.readline() == "asked\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30)[0] == ""
        assert child.returncode == 130


@needs_posix
def test_one_ctrl_c_lets_the_work_finish() -> None:
    with wait_in_child(0.1) as child:
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30)[0] == "asked\nfinished\n"
        assert child.returncode == 0


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before, seen = signal.getsignal(signal.SIGINT), list[object]()

    def work() -> None:
        with stop_on_signals() as stop:
            seen.extend(
                [isinstance(stop, StopRequest), bool(stop), signal.getsignal(signal.SIGINT)]
            )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, False, before]
