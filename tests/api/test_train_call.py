"""``mnist.train``: the command's run, from somebody's program or notebook, which stays as it was."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import signal
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipe import TINY, bits, train
from systems import needs_posix
from torch import nn

import mnist_cli as mnist
from mnist_cli import Callback, Caution, MnistError, Run, errors
from mnist_cli.devices import float32
from mnist_cli.report.training import LearningCurves

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))

    def forward(self, images):
        return self.layers(images)
"""


@pytest.fixture(autouse=True)
def _without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """To draw them takes longer than all else here."""
    monkeypatch.setattr(LearningCurves, "finished", lambda *_: None)


@contextlib.contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def products(precision: str) -> Iterator[None]:
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Everything at once that leaves functions their meaning."""
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.set_detect_anomaly(True),
        default_dtype(),
        products("medium"),
    ):
        yield


@contextlib.contextmanager
def newer_products() -> Iterator[None]:
    """With torch's newer interface, after which the older one raises errors."""
    before = float32.Products.now()
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "bf16"  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        before.apply()


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = True


SURROUNDINGS = {
    "settings": settings,
    "exact convolutions": exact_convolutions,
    "newer products": newer_products,
    "inference_mode": torch.inference_mode,
    "default device": lambda: torch.device("meta"),
}


def state() -> dict[str, Any]:
    """What a call must leave as it was."""
    return {
        "python": random.getstate(),
        "numpy": tuple(map(str, np.random.get_state())),
        "torch": torch.random.get_rng_state().tolist() if not on_meta() else None,
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "products": float32.Products.now(),
        "filters": list(warnings.filters),
        "handlers": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "path": list(sys.path),
    }


def on_meta() -> bool:
    return torch.get_default_device().type == "meta"


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_callers_settings_change_no_bit_and_stay(name: str, run: Run) -> None:
    random.seed(name)
    np.random.seed(len(name))
    torch.manual_seed(len(name))
    with SURROUNDINGS[name]():
        before = state()
        other = train()
        assert mnist.evaluate(other).to_plain()["loss"] == run.test.loss  # type: ignore[union-attr]
        assert mnist.predict(np.zeros((28, 28), np.uint8), mnist.load(other))[0].probabilities
        assert state() == before
    assert bits(other) == bits(run)


@pytest.mark.parametrize("cached", [True, False])
def test_bf16_inside_of_the_callers_autocast(cached: bool) -> None:
    """Autocast keeps weights that it has cast until the outermost one ends."""
    with torch.autocast("cpu", torch.float16, cache_enabled=cached):
        inside = train(precision="bf16")
        after = torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()
        assert (*after, torch.get_autocast_dtype("cpu")) == (True, cached, torch.float16)
    assert torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()
    assert bits(inside) == bits(train(precision="bf16"))


def test_a_default_device_that_the_machine_lacks(run: Run) -> None:
    torch.set_default_device("cuda:99")
    try:
        other = train()
    finally:
        torch.set_default_device(None)  # "cpu" would leave a mode on
    assert bits(other) == bits(run)


def test_a_fork_of_a_process_that_has_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_cli.api import surroundings

    monkeypatch.setattr(surroundings, "_process", os.getpid() + 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(errors.UsageError, match="was forked") as refused:
        mnist.predict(np.zeros((28, 28)), nn.Flatten())
    assert "spawn" in refused.value.hint
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with surroundings.undisturbed():
        pass


@needs_posix
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, about threads and forks
@pytest.mark.parametrize("library", [False, True])
def test_a_fork_while_another_thread_computes(
    library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnist_cli.api.surroundings import undisturbed
    from mnist_cli.autograd.undisturbed import set_aside

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    begun, forked = threading.Event(), threading.Event()

    def compute() -> AbstractContextManager[None]:
        return set_aside([]) if library else undisturbed()

    def hold() -> None:
        with compute():
            begun.set()
            forked.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    if (child := os.fork()) == 0:
        signal.alarm(20)
        with compute():
            os._exit(0)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@needs_posix
@pytest.mark.parametrize("call", [mnist.train, mnist.list_runs])
def test_a_working_directory_that_was_deleted(
    call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnist_cli.api import surroundings

    monkeypatch.setattr(surroundings, "_process", 0)
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(errors.OutputError, match="the working directory is not available: deleted"):
        call()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"learning_rate": 0.1}, "'learning_rate' is neither an argument", "Did you mean 'lr'?"),
        ({"epoch": 3}, "'epoch' is neither an argument", "Did you mean 'epochs'?"),
        ({"config": "fast"}, "'config' is neither an argument", "Did you mean 'recipe'?"),
        ({"callback": []}, "'callback' is neither an argument", "Did you mean 'callbacks'?"),
        ({"verbose": False}, "'verbose' is neither an argument", "Did you mean 'progress'?"),
        ({"zebra": 1}, "'zebra' is neither an argument", "The keys are dataset, model"),
        ({"lr": -1}, "lr: should be a number above 0, not -1", "lr: "),
        ({"lr": "fast"}, "lr: should be", ""),
        ({"optimizer": "Adamm"}, "optimizer: should be", "Did you mean 'adam'?"),
        ({"momentum": 0.9}, "momentum: has no effect with optimizer = adam", ""),
        ({"recipe": "fats"}, "recipe fats: no preset", "Did you mean 'fast'?"),
        ({"recipe": {"lr": 1}}, "{'lr': 1} is not a recipe", "Give a preset"),
        ({"recipe": 7}, "recipe 7: no preset", ""),
        ({"model": 3}, "3 is not a network", "Give a name"),
        ({"model": "cnn"}, "unknown model 'cnn'", "Did you mean 'conv4'?"),
        ({"model": int}, "int is not a subclass of torch.nn.Module", ""),
        ({"model": nn.Linear(2, 2)}, "is not a network", "or a class"),
        ({"device": "gpu0"}, "device", ""),
        ({"name": "a/b"}, "'a/b' cannot name a run", ""),
        ({"name": 3}, "'3' cannot name a run", ""),
        ({"runs": 3}, "3 is not a path", ""),
        ({"runs": "a\0b"}, "is not a path", ""),
        ({"data_dir": 3}, "3 is not a path", ""),
        ({"data_dir": b"data"}, "b'data' is not a path", ""),
        ({"callbacks": 3}, "3 is not a callback", ""),
        ({"callbacks": "wand"}, "no logger is called 'wand'", "Loggers: "),
        ({"resume": True, "recipe": "fast"}, "keeps its own recipe", "Omit"),
        ({"recipe": "default", "resume": 2.5}, "2.5 is not a run", "Give a Run"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        mnist.train(**{"recipe": "smoke", "progress": False, **arguments})
    assert message in refused.value.message
    assert hint in refused.value.hint
    assert "--" not in str(refused.value)
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("ignore:after epoch 1")  # it is at chance
def test_numbers_of_other_libraries_and_paths_are_taken(tmp_path: Path, run: Run) -> None:
    settings = {"lr": np.float32(0.005), "epochs": np.int64(3), "seed": torch.tensor(0)}
    assert bits(train(**settings, eval_batch_size=None)).keys() == bits(run).keys()
    (tmp_path / "mine.toml").write_text("dataset = 'digits'\nmodel = 'conv2'\nepochs = 1\n")
    assert train(tmp_path / "mine.toml", runs=tmp_path / "here", name="first").path == (
        tmp_path / "here/0001-first"
    )


def test_a_run_is_repeated_and_started_from(run: Run) -> None:
    assert bits(train(run)) == bits(run)
    assert bits(mnist.train(**run.config, progress=False)) == bits(run)
    assert train(start=run, epochs=1).record.environment["start"].endswith("best.pt")


class Signals(Callback):
    """Sends this process signals after some steps."""

    every = 1

    def __init__(self, *numbers: int, step: int = 4) -> None:
        self.numbers, self.step = numbers, step

    def on_step(self, run: Any, progress: Any) -> None:
        if progress.step == self.step:
            for number in self.numbers:
                signal.raise_signal(number)


def test_ctrl_c_saves_the_run_and_says_how_to_resume_it(run: Run) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(callbacks=Signals(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is handler
    message, hint = str(stopped.value).splitlines()
    assert "stopped in epoch 2 after 1 of 3 batches" in message
    call = hint.removeprefix("Resume with ").removesuffix(".")
    assert call == "mnist.train(resume='runs/0001-digits-conv2')"
    assert mnist.open_run(1).state == "unfinished"
    resumed = eval(call.removesuffix(")") + ", progress=False)")  # noqa: S307
    assert resumed.state == "finished"
    assert bits(resumed) == bits(run)


def test_a_second_ctrl_c_does_not_end_the_process() -> None:
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=Signals(signal.SIGINT, signal.SIGINT))
    assert mnist.open_run(1).state == "unfinished"
    assert mnist.train(resume=True, progress=False).state == "finished"


def test_another_signal_reaches_the_callers_handler_once_the_run_is_saved() -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        with pytest.raises(errors.Terminated, match="everything up to there"):
            train(callbacks=Signals(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert mnist.open_run(1).checkpoint.is_file()


def test_several_threads_train_one_after_the_other() -> None:
    found: list[Run] = []
    threads = [
        threading.Thread(target=lambda f=folder: found.append(train(epochs=1, runs=f)))  # type: ignore[misc]
        for folder in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bits(found[0]) == bits(found[1])


def test_a_callback_may_use_the_api_and_changes_no_bit(run: Run) -> None:
    scores = []

    class Evaluates(Callback):
        def on_epoch(self, run: Any, progress: Any) -> None:
            scores.append(mnist.evaluate(mnist.open_run(run.path), "val").accuracy)

    assert bits(train(callbacks=[Evaluates()])) == bits(run)
    assert scores[-1] == run.metrics[-1]["val_accuracy"]


def test_the_error_of_a_callback_is_raised_as_it_is() -> None:
    class Fails(Callback):
        def on_epoch(self, run: Any, progress: Any) -> None:
            Path("nothing").read_text()

    with pytest.raises(FileNotFoundError):
        train(callbacks=Fails())


def test_signs_of_a_run_that_does_not_learn_are_python_warnings_at_the_callers_line() -> None:
    with pytest.warns(Caution) as caught:
        mnist.train("smoke", **TINY, batch_size=1000, epochs=1, progress=False)
    assert {one.filename for one in caught} == {__file__}


# --- networks of the user's own


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_net.py").write_text(NET.replace("WIDTH", "8"))
    import own_net  # type: ignore[import-not-found]

    yield own_net
    del sys.modules["own_net"]


@pytest.mark.filterwarnings("ignore:after epoch 1")  # it is at chance
def test_a_class_in_a_file_is_trained_and_used_without_naming_it_again(module: Any) -> None:
    run = train(model=module.Net, epochs=1)
    assert run.network == str(Path("own_net.py:Net").absolute())
    assert mnist.evaluate(run).accuracy == run.test.accuracy  # type: ignore[union-attr]
    assert bits(train(run, epochs=1)) == bits(run)
    with pytest.raises(errors.CheckpointError, match=r"network='path/to/net\.py:Net'"):
        mnist.load(run.path)
    assert mnist.load(run.path, network=module.Net).network.layers[1].out_features == 8


@pytest.mark.filterwarnings("ignore:after epoch 1")  # it is at chance
def test_a_file_that_was_edited_is_run_anew(module: Any, tmp_path: Path) -> None:
    train(model="own_net.py:Net", epochs=1)
    (tmp_path / "own_net.py").write_text(NET.replace("WIDTH", "12"))
    run = train(model="own_net.py:Net", epochs=1)
    assert run.model().network.layers[1].out_features == 12  # type: ignore[operator, union-attr]


def test_a_class_of_a_notebook_is_refused() -> None:
    class Net(nn.Module):
        pass

    for one in (Net, type("Net", (nn.Module,), {"__module__": "__main__"})):
        with pytest.raises(
            errors.UsageError, match=r"%%writefile net.py, and name it: 'net.py:Net'"
        ):
            train(model=one)


def test_a_script_without_a_guard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        NET.replace("WIDTH", "8")
        + "import mnist_cli\nmnist_cli.train('smoke', model='script.py:Net', progress=False)\n"
    )
    with pytest.raises(errors.UsageError, match="if __name__ == '__main__'"):
        train(model="script.py:Net")


# --- progress


def test_nothing_is_printed_without_progress(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=1, progress=False)
    assert capfd.readouterr() == ("", "")


CLOSED = io.StringIO()
CLOSED.close()


@pytest.mark.parametrize("stderr", [None, CLOSED, types.SimpleNamespace(write=len)])
def test_no_progress_where_there_is_no_console(
    stderr: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert bits(train(progress=True)) == bits(run)


def test_progress_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 1/1  loss" in printed.err


def test_a_notebook_shows_one_bar_and_updates_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[dict[str, str]] = []

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert (raw, display_id, shown) == (True, True, [])
        shown.append(bundle)
        return types.SimpleNamespace(update=lambda one, raw: shown.append(one))

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    train(progress=True)
    assert len(shown) > 3
    assert 'value="1.0000"' in shown[-1]["text/html"]
    assert "epoch 3/3  loss" in shown[-1]["text/html"]
    assert capfd.readouterr() == ("", "")


def test_a_call_frees_its_tensors_at_once() -> None:
    """Without garbage collection: on a GPU, the next call may need the memory."""

    def kept() -> int:
        held = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
        return sum(one.device.type != "meta" for one in held)

    settings = {"model": "conv4x0.25", "ensemble": 2, "ema": 0.9, "optimizer": "muon", "epochs": 1}
    train(**settings)  # caches the data set
    gc.collect()
    before = kept()
    gc.disable()
    try:
        train(**settings)
        assert kept() == before
    finally:
        gc.enable()


def test_an_error_has_the_class_and_code_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MnistError) as refused:
        train(runs="file/runs")
    assert refused.value.code == 5
