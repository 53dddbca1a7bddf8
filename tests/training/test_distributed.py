"""Two ranks over gloo against one process: the same gradients, the same images, each once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from bits import SECONDS, differences
from program import TINY, children, finish, one_thread, start, wait_until
from rank_process import (
    BF16,
    COUNT,
    GRADIENTS,
    NETWORKS,
    OWN_NETWORKS,
    RESUMED,
    augmented,
    evaluated,
    gradients,
    listening,
    own,
    started,
    trained,
)
from rounding import assert_as_accurate, assert_figures_as_accurate, relative_error
from small_runs import FP32, MOVED, config, loaded

from mnist_cli import cli
from mnist_cli.commands.run_guide import train_command
from mnist_cli.config.names import ModelName
from mnist_cli.data.batches import Part
from mnist_cli.devices.device import Precision
from mnist_cli.errors import DeviceError, RankError, RankTimeout, UsageError
from mnist_cli.training.distributed.group import Group, device_of, explained
from mnist_cli.training.distributed.rank_environment import (
    FOLDER,
    LAUNCHER,
    RankPlace,
    rank_place_of,
)
from mnist_cli.training.rank_agreement import check_parts, check_ranks
from mnist_cli.training.ranks import ALONE

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Deep returns scores that depend on the other images"),
    pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux alone"),
    pytest.mark.usefixtures("one_thread_of_torch"),
]

HERE = Path(__file__).parent
TESTS = HERE.parent
LOOPBACK = "0100007F"
"""127.0.0.1, as /proc/net/tcp writes it."""


def free_port() -> int:
    """A port that was free just now: whoever binds it must be ready to take another one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start_ranks(folder: Path) -> list[subprocess.Popen[str]]:
    more = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    paths = [str(HERE), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    more["PYTHONPATH"] = os.pathsep.join(paths)
    return [
        subprocess.Popen(
            [sys.executable, HERE / "rank_process.py", folder],
            env=one_thread(**more, RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks found, each by itself."""
    folder = tmp_path_factory.mktemp("ranks")
    for _ in range(3):
        ranks = start_ranks(folder)
        said = ranks[0].communicate(timeout=120)[1]
        if "EADDRINUSE" not in said:
            break
        ranks[1].kill()
        ranks[1].communicate()
    said += ranks[1].communicate(timeout=120)[1]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def named(value: object) -> str:
    """What a test of a network is called: a file's folder differs from machine to machine."""
    return str(value).rpartition(":")[2]


@pytest.mark.parametrize("precision", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("model", "count"), GRADIENTS, ids=named)
def test_the_gradients_of_two_ranks_are_those_of_one(
    answers: list[dict[str, Any]], model: str, count: int, precision: Precision
) -> None:
    """With batch norms and without, of a batch cut evenly, unevenly, and with nothing for one."""
    one, exact = (gradients(model, ALONE, count, precision, exact=e) for e in (False, True))
    first, second = (rank[f"gradients in {precision.name}"][f"{model}/{count}"] for rank in answers)
    assert_as_accurate(first, one, exact)
    assert not differences(first, second)
    assert (relative_error(one, exact) > 1e-4) == (precision is BF16)


def test_ranks_start_from_the_checkpoint_that_the_first_one_finds(
    answers: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = started(tmp_path, ALONE)
    for rank in answers:
        assert differences(rank["started"]["weights"], alone["weights"]) == []
        assert rank["started"]["before"] == pytest.approx(alone["before"], rel=1e-6)


def test_one_value_a_channel_is_refused(answers: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as error:
        torch.nn.BatchNorm1d(3)(torch.ones(1, 3))
    for rank in answers:
        assert rank["single"].partition(", got")[0] == str(error.value).partition(", got")[0]


@pytest.mark.parametrize("model", NETWORKS, ids=named)
def test_an_epoch_of_two_ranks_is_that_of_one(answers: list[dict[str, Any]], model: str) -> None:
    """Weights, running means and variances, and every figure that is reported."""
    one, two, exact = trained(model), answers[0]["trained"][model], trained(model, exact=True)
    assert_as_accurate(two["moved"], one["moved"], exact["moved"])
    assert_figures_as_accurate(two["figures"], one["figures"], exact["figures"])
    for key in ("epoch", "step", "train_accuracy", "val_accuracy", "val_count", "lr"):
        assert two["figures"][key] == one["figures"][key]
    assert not differences(two, answers[1]["trained"][model])


def test_each_image_moves_as_it_would_in_one_process(answers: list[dict[str, Any]]) -> None:
    for name, loader in (("augmented", "device"), ("by DataLoader", "dataloader")):
        one = augmented(ALONE, loader=loader)
        parts = zip(answers[0][name], answers[1][name], strict=True)
        two = [torch.cat(part) for part in parts]
        torch.testing.assert_close(two, one, rtol=0, atol=0)
        assert [len(part) for part in answers[1][name]] == [4, 4, 1]
        assert sum(len(batch) for batch in two) == COUNT
    one, exact = (trained("conv2", exact=exact, **MOVED)["figures"] for exact in (False, True))
    assert_figures_as_accurate(answers[0]["moved"]["figures"], one, exact)


def test_every_image_is_evaluated_once_and_all_ranks_know_all(
    answers: list[dict[str, Any]],
) -> None:
    for rank in answers:
        torch.testing.assert_close(rank["evaluated"], evaluated(ALONE), rtol=0, atol=0)
        one = evaluated(ALONE, 3, own("Unused"))  # one batch: nothing for the second rank
        torch.testing.assert_close(rank["few evaluated"], one, rtol=0, atol=0)


def test_what_a_network_remembers_is_the_same_on_both(answers: list[dict[str, Any]]) -> None:
    """As rank 0 has it, and where the network has assigned another tensor too."""
    one, two = (rank["remembered"]["weights"] for rank in answers)
    assert one["seen"] != 0
    assert one["steps"] == 3
    assert not differences(one, two)


@pytest.mark.parametrize("model", RESUMED, ids=named)
def test_stopped_and_resumed_by_as_many_ranks_equals_never_stopped(
    answers: list[dict[str, Any]], model: str
) -> None:
    for rank in answers:
        assert rank["resumed"][model] == [
            "0/2",
            *["StepResult", "EpochResult"],
            *["StepResult"] * 3,
            "EpochResult",
        ]
    folder, name = Path(answers[0]["folder"]), ModelName(model).label
    for file in ("last.pt", "best.pt"):
        one, two = (
            torch.load(folder / f"{name}-{number}" / file, weights_only=True) for number in range(2)
        )
        assert not differences(one, two, ignore=SECONDS)
        assert one["environment"]["ranks"] == 2


def test_a_network_that_fails_on_no_images_is_refused() -> None:
    """Where a rank would get none; the way out that is named goes on."""
    spoilt, short = own("Spoilt"), own("Upright")
    for model, said in ((short, "reshape tensor of 0 elements"), (spoilt, "infinity in 'mean'")):
        settings = config(model=model, batch_size=8, val_size=0)
        check_parts(settings, loaded(32), 2, resumed=False)
        check_parts(settings, loaded(34), 2, resumed=False)
        check_parts(settings, loaded(33), 1, resumed=False)
        dropped = settings.model_copy(update={"drop_last": True})
        check_parts(dropped, loaded(33), 2, resumed=False)
        with pytest.raises(UsageError, match="has 1 image for 2 ranks") as error:
            check_parts(settings, loaded(33), 2, resumed=False)
        assert said in error.value.message
        assert "Train with one process, or skip that batch" in error.value.hint
        with pytest.raises(UsageError, match="has 3 images for 4 ranks") as error:
            check_parts(settings, loaded(35), 4, resumed=True)
        assert error.value.hint == "Resume with at most 3 ranks."
    check_parts(config(model="conv4", val_size=0), loaded(33), 2, resumed=False)
    taken = config(model=own("Unused"), batch_size=8, val_size=0)
    check_parts(taken, loaded(33), 2, resumed=False)


def test_a_loss_that_is_not_finite_stops_both_with_one_message(
    answers: list[dict[str, Any]],
) -> None:
    assert answers[0]["poisoned"] == answers[1]["poisoned"]
    assert "at step 1; the step was not applied" in answers[0]["poisoned"]
    assert "the first module whose output is not finite is 'conv1'" in answers[0]["poisoned"]


def test_the_leading_rank_alone_calls_callbacks_and_one_stops_both(
    answers: list[dict[str, Any]],
) -> None:
    reason = "the callback StopAtStep returned True"
    assert answers[0]["called"] == {"calls": 2, "steps": 2, "reason": reason}
    assert answers[1]["called"] == {"calls": 0, "steps": 2, "reason": None}


def test_a_rank_that_differs_is_refused(answers: list[dict[str, Any]]) -> None:
    assert answers[0]["unlike"].startswith("another rank differs from rank 0")
    said = answers[1]["unlike"]
    assert "rank 1 differs from rank 0" in said
    assert "batch_size is 10 here and 8 there" in said
    assert "data is sha256:" in said
    assert "threads" not in said


def test_on_one_machine_ranks_listen_on_loopback_only(answers: list[dict[str, Any]]) -> None:
    """Except for the store of torch's ``env://``, which rank 0 opens here."""
    assert set(answers[1]["listening"]) == {LOOPBACK}


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 128])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_parts_are_the_whole_in_order(count: int, ranks: int) -> None:
    parts = [list(range(count))[Part(rank, ranks).of(count)] for rank in range(ranks)]
    assert [image for part in parts for image in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


ENVIRONMENT = {
    **{"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "far", "MASTER_PORT": "29500"},
}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"MASTER_ADDR": "far", "LOCAL_RANK": "0"}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        (ENVIRONMENT, RankPlace(1, 4, 1, 2, "far:29500")),  # a shell may end before its ranks
        (
            ENVIRONMENT | {"TORCHELASTIC_RUN_ID": "none"},
            RankPlace(1, 4, 1, 2, "far:29500", parent=os.getppid()),
        ),
        (
            ENVIRONMENT | {FOLDER: "/nowhere", LAUNCHER: "7"},
            RankPlace(1, 4, 1, 4, "/nowhere/store", "/nowhere", 7),
        ),
        *(
            (
                {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": host, "MASTER_PORT": "1"},
                RankPlace(1, 4, 1, 4, f"{host}:1"),  # so all ranks are on this machine
            )
            for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1")
        ),
    ],
)
def test_the_place_is_read_from_the_environment(
    environment: dict[str, str], place: RankPlace | None
) -> None:
    assert rank_place_of(environment) == place


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, "mnist train"),
        (ENVIRONMENT, "torchrun, on each machine as before, … -m mnist_cli train"),
        (
            ENVIRONMENT | {"LOCAL_WORLD_SIZE": "4"},
            "torchrun --nproc-per-node=4 -m mnist_cli train",
        ),
        (ENVIRONMENT | {FOLDER: "/nowhere", LAUNCHER: "7"}, "mnist train --nproc 4"),
    ],
)
def test_the_command_that_starts_the_same_ranks_again(
    environment: dict[str, str], command: str
) -> None:
    assert train_command(rank_place_of(environment)) == command


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"WORLD_SIZE": ""}, "sets RANK, as for a run by several processes, but not WORLD_SIZE"),
        ({"RANK": ""}, "sets WORLD_SIZE, as for a run by several processes, but not RANK"),
        ({"MASTER_PORT": ""}, "but not MASTER_PORT"),
        ({"LOCAL_RANK": ""}, "sets RANK and WORLD_SIZE, .*, but not LOCAL_RANK"),
        ({"LOCAL_WORLD_SIZE": ""}, "but not LOCAL_WORLD_SIZE"),
        ({"RANK": "4"}, "RANK=4 and WORLD_SIZE=4, but ranks count from 0"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two, which is not a number"),
    ],
)
def test_half_an_environment_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rank_place_of(ENVIRONMENT | changes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch-size", "63"], "batch_size 63 cannot be shared evenly by 2 ranks"),
        (["--verify-resume"], "--verify-resume and --nproc contradict each other"),
        (["--nproc", "0"], "--nproc"),
    ],
)
def test_what_cannot_be_combined(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.run(["train", "--config", "smoke", "--nproc", "2", *words]) == 2
    assert said in capsys.readouterr().err


HERE_TWICE = RankPlace(1, 2, 1, 2, "127.0.0.1:29500")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ensemble": 2}, "an ensemble of 2 is trained by one process, not by 2 ranks"),
        ({"accumulate": 2}, "accumulate = 2 is for one process, not for 2 ranks"),
        ({"compile": True}, "compile = true is for one process, not for 2 ranks"),
    ],
)
def test_what_only_one_process_does(values: dict[str, Any], said: str) -> None:
    check_ranks(config(**values), None)
    with pytest.raises(UsageError, match=said):
        check_ranks(config(**values), HERE_TWICE)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("auto", "2 ranks on this machine share 1 GPU, but NCCL needs one for each rank"),
        ("cuda", "2 ranks on this machine share 1 GPU, but NCCL needs one for each rank"),
        ("cuda:0", "device cuda:0 is one device, but the run has 2 ranks"),
        ("mps", "device mps is one device, but the run has 2 ranks"),
    ],
)
def test_a_device_for_each_rank_or_none(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=said):
        device_of(name, HERE_TWICE)
    assert device_of("cpu", HERE_TWICE) == torch.device("cpu")


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def group_of_one() -> Iterator[Group]:
    """What several ranks do, done by one: a world of one is otherwise trained without any of it."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield Group(0, 1)
    dist.destroy_process_group()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, GPU])])
@pytest.mark.parametrize("model", ["conv4", *OWN_NETWORKS], ids=named)
def test_a_group_of_one_computes_what_no_group_does(
    group_of_one: Group, model: str, device: str
) -> None:
    """On a GPU as well, of which the tests of several ranks would need as many."""
    there = torch.device(device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = gradients(model, ALONE, 8, device=there, exact=True)
        for precision in (FP32, Precision("bf16", device)):
            one, two = (
                gradients(model, ranks, 8, precision, there) for ranks in (ALONE, group_of_one)
            )
            assert_as_accurate(two, one, exact)


@pytest.mark.cuda
@pytest.mark.skipif("torch.cuda.device_count() < 2", reason="needs two GPUs")
@pytest.mark.parametrize("model", ["conv2", "conv4"])
def test_two_gpus_train_as_one(tmp_path: Path, model: str) -> None:
    losses = []
    for ranks in (1, 2):
        words = ["--model", model, "--device", "cuda", "--deterministic", "--json"]
        process = start(*TINY, *words, "--nproc", ranks, "--runs", tmp_path)
        finished(process)
        run = sorted(tmp_path.iterdir())[-1]
        losses.append(torch.load(run / "last.pt", weights_only=True)["metrics"][-1]["train_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (dist.DistBackendError("NCCL error: unhandled cuda error, out of memory"), None),
        (RuntimeError("[gloo/transport/tcp/buffer.cc:1] Cannot allocate memory"), None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (dist.DistNetworkError("The client socket has failed"), RankError),
        (RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer"), RankError),
        (RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out"), RankTimeout),
    ],
)
def test_memory_that_ran_out_is_no_rank_that_is_gone(
    error: RuntimeError, kind: type[RankError] | None
) -> None:
    with (
        pytest.raises(RuntimeError if kind is None else RankError) as caught,
        explained(0, 2),
    ):
        raise error
    assert type(caught.value) is (kind or type(error))


def test_a_meeting_to_which_nobody_comes_ends(tmp_path: Path) -> None:
    environment = one_thread(**ENVIRONMENT | {"MASTER_ADDR": "127.0.0.1", "LOCAL_WORLD_SIZE": "4"})
    command = [sys.executable, "-m", "mnist_cli", *TINY, "--rank-timeout", "1"]
    with socket.socket() as taken:  # and nobody listens
        taken.bind(("127.0.0.1", 0))
        environment["MASTER_PORT"] = str(taken.getsockname()[1])
        alone = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert alone.returncode == 1
    assert "rank 1: rank 1 of 4 did not reach the others at 127.0.0.1:" in alone.stderr
    assert "Traceback" not in alone.stderr
    assert not list(tmp_path.iterdir())


RANKS = [*TINY, "--model", "conv4x0.25", "--nproc", "2", "--json"]
RANKS += ["--set", "schedule=constant"]  # so that a resumed run may end after fewer epochs


def test_a_run_is_interrupted_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By as many ranks without a word; by one, which says so. All listen on loopback only."""
    run = tmp_path / "0001-digits-conv4x0.25"
    process = start(*RANKS, "--epochs", 5000, "--runs", tmp_path)
    metrics = run / "metrics.jsonl"
    wait_until(lambda: process.poll() is not None or (metrics.is_file() and metrics.read_text()))
    ranks = children(process.pid)
    assert [set(listening(pid)) for pid in (process.pid, *ranks)] == [set(), *[{LOOPBACK}] * 2]
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130, ended.err
    message = ended.document["error"]["message"]
    assert f"Resume with: mnist train --nproc 2 --resume {run}" in message
    assert not (run / "summary.json").exists()
    epochs = torch.load(run / "last.pt", weights_only=True)["position"]["epoch"] + 1
    finished(start("train", "--nproc", 2, "--resume", run, "--epochs", epochs, "--json"))
    document = torch.load(run / "last.pt", weights_only=True)
    assert document["position"] == {"epoch": epochs, "batch": 0, "step": 3 * epochs}
    assert document["environment"]["ranks"] == 2
    assert cli.run(["train", "--resume", str(run), "--quiet"]) == 0
    assert "ranks: 2 then, 1 now" in capsys.readouterr().err


def finished(process: subprocess.Popen[str]) -> None:
    ended = finish(process)
    assert ended.code == 0, ended.err
    assert ended.document["test"]["count"] == 382
    assert "differ" not in ended.err
