"""``mnist doctor``: what it says of this machine must be so."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_up import lay, make
from program import Run

from mnist_cli import __version__, catalogue
from mnist_cli.base import cores
from mnist_cli.data import store
from mnist_cli.gpu import nvidia, probe
from mnist_cli.gpu.nvidia import Driver

NO_DRIVER = "Found no NVIDIA driver on your system."
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
DRIVER = Driver("580.65.06", "13.0", cards=2, nodes=("/dev/nvidia0",))


class Gpus:
    """A machine with GPUs of which some fail, made by replacing what torch and the system say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._set = monkeypatch.setattr
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self._set(torch.version, "cuda", "13.0")
        self._set(torch.version, "hip", None)
        self._set(torch.backends.mps, "is_available", lambda: False)
        self._set(platform, "system", lambda: "Linux")

    def with_answers(self, *answers: str, driver: Driver = DRIVER, start: str = "") -> None:
        properties = SimpleNamespace(major=9, minor=0, name="NVIDIA Test", total_memory=2**36)
        self._set(nvidia, "read_driver", lambda: driver)
        self._set(probe, "cuda_count", lambda: len(answers))
        self._set(probe, "current_index", lambda: 0)
        self._set(probe, "start", lambda: start)
        self._set(probe, "run", lambda index: answers[index])
        self._set(probe, "check_product", lambda name: answers[int(name.partition(":")[2])])
        self._set(torch.cuda, "get_device_properties", lambda _index: properties)
        self._set(torch.cuda, "mem_get_info", lambda _index: (2**35, 2**36))
        self._set(torch.cuda, "get_device_name", lambda _device: "NVIDIA Test")
        self._set(torch.cuda, "get_device_capability", lambda _device: (9, 0))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    return Gpus(monkeypatch)


def test_the_facts_are_this_machines(run: Run) -> None:
    document = run("doctor", "--json").document
    versions = document["versions"]
    assert versions["mnist_cli"] == __version__
    assert versions["Python"] == platform.python_version()
    assert versions["typer"] == importlib.metadata.version("typer")
    assert document["devices"]["cpu"] == "yes"
    assert document["devices"]["cuda"].startswith("yes" if torch.cuda.is_available() else "no: ")
    assert len(document["gpus"]) == torch.cuda.device_count()
    assert document["cpu"]["cores for this process"] == str(cores.cores())


def test_the_verdict_comes_first_and_agrees_with_the_document(run: Run) -> None:
    gpu, lines = run("doctor", "--json").document["gpu"], run("doctor").out.splitlines()
    assert lines[0] == gpu["verdict"]
    assert lines[0].startswith("GPU: ready" if gpu["ready"] else "GPU: not usable, because ")
    if not gpu["ready"]:
        assert lines[1] == f"Next step: {gpu['next_step']}"


def test_people_read_the_same(run: Run) -> None:
    document, text = run("doctor", "--json").document, run("doctor").out
    for key in ("versions", "devices", "chosen", "cuda", "data"):
        for name, value in document[key].items():
            line = next(line for line in text.splitlines() if line.split("  ")[1:2] == [name])
            assert line.endswith(str(value))


def test_two_gpus_that_work(run: Run, gpus: Gpus) -> None:
    gpus.with_answers("", "")
    document = run("doctor", "--json").document
    assert document["gpu"] == {
        "ready": True,
        "verdict": "GPU: ready (cuda:0 NVIDIA Test, cuda:1 NVIDIA Test)",
        **{"cause": "", "detail": "", "next_step": ""},
    }
    assert document["chosen"]["device auto"] == "cuda:0"
    assert document["cuda"]["NVIDIA driver"] == "580.65.06"
    assert [gpu["kernel"] for gpu in document["gpus"]] == [
        "ok: a matrix product equals the CPU's"
    ] * 2
    out = run("doctor").out
    assert "memory              64.0 GiB, 32.0 GiB free" in out


def test_one_of_two_fails(run: Run, gpus: Gpus) -> None:
    gpus.with_answers("", BUSY)
    document = run("doctor", "--json").document
    assert document["gpu"]["verdict"] == "GPU: ready (cuda:0 NVIDIA Test, 1 of 2 GPUs)"
    assert document["gpus"][1]["kernel"].startswith("failed: CUDA reports cuda:1 as busy")
    assert document["devices"]["cuda"] == "yes"


def test_a_gpu_that_computes_wrong_is_not_ready(run: Run, gpus: Gpus) -> None:
    gpus.with_answers("wrong result: 1 of 16,384 entries of a matrix product")
    document = run("doctor", "--json").document
    assert (document["gpu"]["ready"], document["gpu"]["cause"]) == (False, "wrong-result")
    assert document["devices"]["cuda"].startswith("no: ")
    assert document["chosen"]["device auto"] == "cpu"


@pytest.mark.parametrize(
    ("answers", "start", "driver", "cause"),
    [
        ((BUSY,), "", DRIVER, "busy"),
        ((), NO_DRIVER, Driver(cards=0), "no-gpu"),
        ((), NO_DRIVER, Driver(cards=1), "no-driver"),
    ],
)
def test_the_refusal_of_a_device_says_what_doctor_says(
    run: Run,
    gpus: Gpus,
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[str, ...],
    start: str,
    driver: Driver,
    cause: str,
) -> None:
    """And no data are read before."""
    monkeypatch.setattr("mnist_cli.training.run.load", None)
    gpus.with_answers(*answers, driver=driver, start=start)
    gpu = run("doctor", "--json").document["gpu"]
    assert gpu["cause"] == cause
    for command in (["doctor"], ["train"], ["inspect-grad", "--model", "conv2"]):
        refused = run(*command, "--device", "cuda")
        assert refused.code == 2
        assert f"device cuda is not available: {gpu['detail']}" in refused.err
        assert gpu["next_step"] in refused.err


WRONG = "wrong result: 1 of 16,384 entries of a matrix product"


@pytest.mark.parametrize(
    ("products", "device", "code"),
    [
        ([WRONG], "cuda", 2),
        (["", WRONG], "cuda:1", 2),
        (["", WRONG], "cuda:0", 0),
        ([WRONG, ""], "cuda:1", 0),
        ([WRONG], "cpu", 0),
        ([WRONG], "auto", 0),
        ([WRONG], None, 0),
    ],
)
def test_a_named_gpu_must_pass_its_product_too(
    run: Run,
    gpus: Gpus,
    monkeypatch: pytest.MonkeyPatch,
    products: list[str],
    device: str | None,
    code: int,
) -> None:
    """An addition may be right where a product is wrong."""
    gpus.with_answers(*products)
    monkeypatch.setattr(probe, "run", lambda _index: "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    named = [] if device is None else ["--device", device]
    outcome = run("doctor", *named, "--json")
    assert outcome.code == code
    gpu = outcome.document["gpu"]
    if code:
        assert gpu["verdict"].startswith(
            f"GPU: not usable, because cuda:{len(products) - 1} computes"
        )
    assert gpu["ready"] is (not code and "" in products)


def test_it_changes_nothing(run: Run, tmp_path: Path) -> None:
    assert run("doctor", "--device", "cpu").code == 0
    assert list(tmp_path.iterdir()) == []


def test_threads_above_the_limit_of_a_container_are_a_problem(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    outcome = run("doctor", "--json")
    (problem,) = outcome.document["problems"]
    assert problem.startswith("64 threads on 2 cores can be many times slower")


@pytest.mark.mnist
def test_real_mnist_is_told_from_what_has_its_names(run: Run, mnist_dir: Path) -> None:
    data = run("doctor", "--json", "--data-dir", mnist_dir).document["data"]
    assert str(mnist_dir) in data["mnist"]
    assert not data["mnist"].startswith("not under")
    for other in ("fashion-mnist", "kmnist"):
        assert data[other].startswith("not under")
        assert "it is MNIST's" in data[other]


def test_images_are_not_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    monkeypatch.setattr(catalogue, "names", lambda: ("made",))
    monkeypatch.setattr(catalogue, "get", lambda _name: made.spec)
    lay(tmp_path, made.archives)
    read: list[str] = []
    load = store.idx.load

    def watched(path: Path, **options: object) -> object:
        read.append(path.name)
        return load(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store.idx, "load", watched)
    data = run("doctor", "--json", "--data-dir", tmp_path).document["data"]
    assert data == {"made": str(tmp_path)}
    assert read == ["train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_is_named(run: Run) -> None:
    document = run("doctor", "--device", "cuda", "--json").document
    assert document["gpus"][0]["name"] == torch.cuda.get_device_name(0)
    assert document["gpu"]["ready"]
