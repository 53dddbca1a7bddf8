"""Signals as requests."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading

import pytest

from mnist_cli.base.signals import NUMBERS, StoppedWaiting, StopRequest, stop_on_signals
from mnist_cli.errors import Interrupted, Stopped, Terminated


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (one, *((Interrupted, 130) if one == signal.SIGINT else (Terminated, 143)))
        for one in NUMBERS
    ],
)
def test_a_signal_becomes_a_request_and_handlers_go_back(
    number: signal.Signals, kind: type[Stopped], code: int
) -> None:
    before = [signal.getsignal(n) for n in NUMBERS]
    with contextlib.suppress(KeyError), stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        error = stop.error("stopped", "go on")
        raise KeyError
    assert [signal.getsignal(n) for n in NUMBERS] == before
    assert type(error) is kind
    assert (error.code, error.message, error.hint) == (code, "stopped", "go on")


@pytest.mark.parametrize("number", NUMBERS)
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


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_insists(first: signal.Signals) -> None:
    insisted: list[bool] = []
    with stop_on_signals(lambda: insisted.append(True)):
        signal.raise_signal(first)
        assert not insisted
        signal.raise_signal(signal.SIGINT)
    assert insisted == [True]


def test_a_signal_ends_a_wait_and_only_that() -> None:
    with stop_on_signals() as stop:
        with stop.waiting():
            pass
        with pytest.raises(StoppedWaiting), stop.waiting():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # outside of a wait it raises nothing
        with pytest.raises(StoppedWaiting), stop.waiting():
            pytest.fail("a wait began after the signal")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_in_a_callback_that_ignores_exceptions_is_not_lost(name: str) -> None:
    code = f"""
import signal, time, weakref
from mnist_cli.base.signals import heard, hear_endings
hear_endings()
try:
    reference = weakref.ref(held := set(), lambda _: signal.raise_signal(signal.{name}))
    del held
    time.sleep(20)
except KeyboardInterrupt as stop:
    print(*stop.args, heard == 2 * [signal.{name}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    number = [] if name == "SIGINT" else [str(int(signal.SIGTERM))]
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [*number, "True"], "")


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
