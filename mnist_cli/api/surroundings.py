"""Lets calls from a program or notebook compute as commands do, and change no settings there.

A command has its own process. A call finds torch's settings as the caller left them: perhaps
another default dtype or device, no gradients, an autocast around it, or seeds that matter.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from mnist_cli.base.process import check_working_directory
from mnist_cli.base.spinning import spinning_briefly
from mnist_cli.errors import MnistError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

_ONE_AT_A_TIME = threading.RLock()
"""Runs draw from torch's global generators, so two threads would change each other's numbers."""


def _free_in_forks() -> None:
    """Replace the lock in a forked process: the thread that holds it does not exist there."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_forks)


def briefly(function: Callable[P, T]) -> Callable[P, T]:
    """Raise expected errors without this program's own frames, which would fill a notebook."""

    @functools.wraps(function)
    def call(*values: P.args, **named: P.kwargs) -> T:
        try:
            return function(*values, **named)
        except MnistError as error:
            raise error.with_traceback(None)  # noqa: B904

    return call


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Compute with torch's usual settings, and put back the caller's and all random generators.

    Threads wait for each other here. An unexpected lack of memory, and a failure in the user's
    own network, become the errors that the commands report.
    """
    if not _process:
        check_working_directory()
    if "torch" not in sys.modules:
        with spinning_briefly():
            import torch  # noqa: F401
    _refuse_forks()
    with (
        _ONE_AT_A_TIME,
        _known_errors(),
        _generators_kept(),
        _usual_settings(),
        _outermost() as outermost,
    ):
        if outermost:  # a run keeps the code that it began with
            _renew_networks()
        yield


_process = 0
"""The process that has computed here; a fork of it is another."""


def _refuse_forks() -> None:
    """Refuse to compute where torch's first parallel loop would wait for ever.

    Raises:
        UsageError: this process was forked from one that has computed, and has none of its threads.
    """
    global _process
    import torch

    if _process not in (0, os.getpid()) and torch.get_num_threads() > 1:
        raise UsageError(
            "this process was forked from one that has computed with torch, without torch's threads",
            "Start it with multiprocessing.get_context('spawn'), or call torch.set_num_threads(1) "
            "in it first.",
        )
    _process = os.getpid()


_calls = 0


@contextlib.contextmanager
def _outermost() -> Iterator[bool]:
    """Whether no other call is active; in a callback, for example, the run's call is active."""
    global _calls
    _calls += 1
    try:
        yield _calls == 1
    finally:
        _calls -= 1


def _renew_networks() -> None:
    """Run a file of the user's again if it was edited in the meantime."""
    if "mnist_cli.networks.own_network" in sys.modules:
        from mnist_cli.checkpoints.network_fits import weight_names
        from mnist_cli.networks.own_network import renew

        renew()
        weight_names.cache_clear()


@contextlib.contextmanager
def _usual_settings() -> Iterator[None]:
    import torch

    from mnist_cli.devices import float32

    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as settings:
        if torch.are_deterministic_algorithms_enabled():  # to set the switch takes a second
            mild = torch.is_deterministic_algorithms_warn_only_enabled()
            settings.callback(torch.use_deterministic_algorithms, True, warn_only=mild)
            torch.use_deterministic_algorithms(False)
        settings.callback(torch.set_default_dtype, dtype)
        settings.callback(float32.Products.now().apply)
        torch.set_default_dtype(torch.float32)
        float32.USUAL.apply()
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        settings.enter_context(torch.autograd.set_detect_anomaly(False))
        settings.enter_context(_outside_of_autocast())
        if not _makes_tensors_on_the_cpu():  # a mode that would slow every function
            settings.enter_context(torch.device("cpu"))
        yield


def _makes_tensors_on_the_cpu() -> bool:
    import torch

    try:
        return torch.get_default_device().type == "cpu"
    except RuntimeError:  # the caller has set one that this machine does not have
        return False


@contextlib.contextmanager
def _outside_of_autocast() -> Iterator[None]:
    """Leave the caller's autocast for a while.

    Inside another autocast, even if it is disabled, the weights of the first step would stay in
    autocast's cache and be used in all later steps.
    """
    import torch

    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    cached = torch.is_autocast_cache_enabled()
    levels = torch.autocast_increment_nesting() - 1
    for _ in range(levels + 1):
        torch.autocast_decrement_nesting()
    for kind in kinds:
        torch.set_autocast_enabled(kind, False)
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(True)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)
        for kind in kinds:
            torch.set_autocast_enabled(kind, True)
        for _ in range(levels):
            torch.autocast_increment_nesting()


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Put back the states of the generators of Python, NumPy and torch, on all devices."""
    import torch

    from mnist_cli.networks.global_state import others_kept

    seed = torch.initial_seed()
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    began = torch.cuda.is_initialized()
    gpus = list(range(torch.cuda.device_count())) if began else []
    try:
        with others_kept(), torch.random.fork_rng(devices=gpus):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)
        if torch.cuda.is_initialized() and not began:  # the caller has drawn nothing from it yet
            torch.cuda.manual_seed_all(seed)


@contextlib.contextmanager
def _known_errors() -> Iterator[None]:
    """Raise the error that the program has for a failure that it knows."""
    try:
        yield
    except (MnistError, OSError, ImportError):
        raise
    except Exception as error:
        from mnist_cli.training.expected_errors import expected

        known = expected(error)
        if known is None:
            raise
        raise known from error
