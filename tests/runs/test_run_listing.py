"""What folders of runs tell, whatever lies in them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from systems import needs_permissions, needs_posix

from mnist_cli.base import locks
from mnist_cli.base.files import host_name
from mnist_cli.errors import CheckpointError
from mnist_cli.runs import listing as runlist
from mnist_cli.runs.directory import LOCK
from mnist_cli.runs.listing import differences, list_runs, open_run, read_run, sort_runs
from mnist_cli.runs.results import EpochResult, Score

EPOCHS = [
    EpochResult(
        epoch=epoch,
        step=epoch,
        loss=0.1,
        accuracy=0.9,
        val=Score(0.1, accuracy, 100),
        lr=0.1,
        grad_norm=1.0,
        images_per_second=1.0,
        seconds=seconds,
    ).to_plain()
    for epoch, accuracy, seconds in ((1, 0.97, 2.5), (2, 0.96, 1.5))
]


def make(root: Path, name: str, *, summary: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run directory: of two epochs, and finished where a summary is given."""
    folder = root / name
    folder.mkdir(parents=True)
    table = {"dataset": "auto", "model": "conv4", "epochs": 3, "ensemble": 1, **config}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    (folder / "config.toml").write_text(text)
    environment = {"dataset": "mnist", "device_name": "a CPU", "precision": "fp32"}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in EPOCHS))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def ended(accuracy: float, seconds: float = 4.0) -> dict[str, Any]:
    test = {"loss": 0.1, "accuracy": accuracy, "count": 1000}
    where = {"device": "cpu", "checkpoint": "runs/x/best.pt"}
    return {"dataset": "mnist", "train_seconds": seconds, "test": test, **where}


def test_a_finished_run(tmp_path: Path) -> None:
    run = read_run(make(tmp_path, "0001-mnist-conv4", summary=ended(0.99), ensemble=5))
    assert (run.state, run.problem) == ("finished", "")
    assert (run.dataset, run.model, run.members) == ("mnist", "conv4", 5)
    assert (run.epochs, run.planned, run.seconds) == (2, 3, 4.0)
    assert (run.accuracy, run.loss, run.count, run.val_accuracy) == (0.99, 0.1, 1000, 0.97)
    assert (run.device, run.device_name, run.precision) == ("cpu", "a CPU", "fp32")
    assert run.checkpoint == "best.pt"
    assert run.written == (run.path / "summary.json").stat().st_mtime


def test_an_unfinished_run_tells_how_far_it_came(tmp_path: Path) -> None:
    run = read_run(make(tmp_path, "0001-mnist-conv4"))
    assert (run.state, run.epochs, run.planned, run.seconds) == ("unfinished", 2, 3, 4.0)
    assert (run.dataset, run.accuracy, run.val_accuracy) == ("mnist", None, 0.97)


@pytest.mark.parametrize(
    ("owner", "held", "state"),
    [
        ("{here} on {host}", True, "running"),
        ("{here} on {host}", False, "unfinished"),  # its number is now another process's
        ("1 on another-machine", True, "running"),
        ("1 on another-machine", False, "unfinished"),
        ("", True, "unfinished"),  # not yet written
        ("garbled", False, "unfinished"),
    ],
)
def test_a_run_that_is_being_written_says_by_whom(
    tmp_path: Path, owner: str, held: bool, state: str
) -> None:
    text = owner.format(here=os.getpid(), host=host_name())
    folder = make(tmp_path, "0001-mnist-conv4")
    (folder / "run.pid").write_text(text + "\n")
    lock = locks.acquire(folder / LOCK, timeout=0)
    if not held:
        lock.release()
    run = read_run(folder)
    lock.release()
    assert run.state == state
    assert run.problem == (f"process {text}" if state == "running" else "")


@needs_permissions
@pytest.mark.parametrize(("pid", "state"), [(1, "running"), (999_999_999, "unfinished")])
def test_a_run_of_another_user_runs_if_its_process_does(
    tmp_path: Path, pid: int, state: str
) -> None:
    folder = make(tmp_path, "0001-mnist-conv4")
    (folder / "run.pid").write_text(f"{pid} on {host_name()}\n")
    (folder / LOCK).touch(mode=0)
    assert read_run(folder).state == state


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = make(tmp_path, "0001-mnist-conv4", summary=ended(0.5))
    before = sorted(folder.iterdir())
    list_runs(tmp_path)
    assert sorted(folder.iterdir()) == before


BROKEN = {
    "config.toml": ["lr = = 3", "\0", b"\xff\xfe", "x = [" * 3000],
    "environment.json": ["", "[1]", "{", "[" * 100_000],
    "metrics.jsonl": ["{}\n{", "3\n", b"\xff"],
    "summary.json": ["{}x", "{}", '{"test": 3}', '{"test": {"accuracy": "high"}}', "null"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, text) for name, texts in BROKEN.items() for text in texts]
)
def test_a_garbled_file_is_named(tmp_path: Path, name: str, content: str | bytes) -> None:
    folder = make(tmp_path, "0001-mnist-conv4", summary=ended(0.99))
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    run = read_run(folder)
    if content == "{}":  # of a summary: nothing yet, as if it were not there
        assert run.state == "unfinished"
        return
    assert run.state == "unreadable"
    assert name in run.problem
    assert len(run.problem) < 200
    assert run.model == ("" if name == "config.toml" else "conv4")


def test_files_that_an_editor_saved_again(tmp_path: Path) -> None:
    folder = make(tmp_path, "0001-mnist-conv4", summary=ended(0.99))
    before = read_run(folder).model_copy(update={"written": None})
    for name in BROKEN:
        text = (folder / name).read_bytes().replace(b"\n", b"\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text + b"\r\n")
    assert read_run(folder).model_copy(update={"written": None}) == before


@needs_posix
@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "summary.json"])
def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path, "0001-mnist-conv4")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert re.search(rf"{name}.* not a file", read_run(folder).problem)


@needs_permissions
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    folder = make(tmp_path, "0001-mnist-conv4")
    folder.chmod(0)
    try:
        assert list_runs(tmp_path)[0].state == "unreadable"
    finally:
        folder.chmod(0o700)


def test_values_of_wrong_types_count_as_not_there(tmp_path: Path) -> None:
    summary = {"test": {"accuracy": 0.5, "count": "many"}, "train_seconds": True, "device": 3}
    run = read_run(make(tmp_path, "0001-x", summary=summary, epochs="many", model=7))
    assert (run.state, run.count, run.planned, run.model, run.device) == (
        *("finished", None, None, "", ""),
    )
    assert run.seconds == 4.0


@needs_posix
def test_every_folder_is_listed_by_number(tmp_path: Path) -> None:
    for name in ("0002-mnist-conv4", "10000-digits-conv2", "renamed"):
        make(tmp_path, name)
    for name in ("notes", ".0003-reserved", "0004-mnist-conv4"):
        (tmp_path / name).mkdir()
    (tmp_path / "a-file").touch()
    (tmp_path / "broken-link").symlink_to(tmp_path / "nothing")
    assert [(run.name, run.state) for run in list_runs(tmp_path)] == [
        ("0002-mnist-conv4", "unfinished"),
        ("0004-mnist-conv4", "unfinished"),
        ("10000-digits-conv2", "unfinished"),
        ("notes", "no run"),
        ("renamed", "unfinished"),
    ]


def test_runs_are_sorted_the_best_first_and_those_without_a_figure_last(tmp_path: Path) -> None:
    figures = {"0001-a": (0.97, 9.0), "0002-b": (0.99, 5.0), "0003-c": (0.98, 1.0)}
    for moment, (name, (accuracy, seconds)) in enumerate(figures.items()):
        folder = make(tmp_path, name, summary=ended(accuracy, seconds))
        for path in folder.iterdir():
            os.utime(path, (moment, moment))
    (tmp_path / "0004-d").mkdir()

    def order(by: str) -> str:
        return "".join(run.name[-1] for run in sort_runs(list_runs(tmp_path), by))

    orders = {by: order(by) for by in runlist.SORTS}
    assert orders == {"name": "abcd", "accuracy": "bcad", "seconds": "cbad", "date": "cbad"}


@pytest.mark.parametrize("named", ["{root}/0012-mnist-conv4", "0012-mnist-conv4", "0012", "12"])
def test_a_run_is_found_by_its_path_its_name_or_its_number(tmp_path: Path, named: str) -> None:
    folder = make(tmp_path, "0012-mnist-conv4")
    make(tmp_path, "0001-mnist-conv4")
    assert open_run(Path(named.format(root=tmp_path)), tmp_path).path == folder


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("3", "no such run: 3"),
        ("7", "2 runs under .* have the number 7: 0007-a, 0007-b"),
        ("notes", "it holds none of a run's files"),
        ("0001-bad", "config.toml is garbled"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, named: str, said: str) -> None:
    for name in ("0007-a", "0007-b"):
        make(tmp_path, name)
    (tmp_path / "notes").mkdir()
    (make(tmp_path, "0001-bad") / "config.toml").write_text("=")
    with pytest.raises(CheckpointError, match=said):
        open_run(Path(named), tmp_path)


def test_differences_are_those_of_any_two() -> None:
    tables = [{"lr": 0.1, "epochs": 3, "seed": 1}, {"epochs": 3, "lr": 0.1}, {"lr": 0.2, "new": 0}]
    assert differences(tables, ["new"]) == {
        "lr": [0.1, 0.1, 0.2],
        "epochs": [3, 3, None],
        "seed": [1, None, None],
    }
    assert differences([tables[0], dict(tables[0])]) == {}


def test_a_value_that_json_cannot_say_is_text(tmp_path: Path) -> None:
    folder = make(tmp_path, "0001-x")
    with (folder / "config.toml").open("a") as file:
        file.write("day = 2026-01-02\nlr = nan\n")
    assert read_run(folder).config["day"] == "2026-01-02"
    assert read_run(folder).config["lr"] == "NaN"


def test_the_command_that_continues_a_run_without_its_limits(tmp_path: Path) -> None:
    limits = {"max_steps": 0, "max_time": 1.5, "early_stopping": 0, "target_accuracy": 0.9}
    line = runlist.way_on(Path("runs/7"), {"model": "conv2", **limits})
    assert line.endswith(" --max-time 0 --target-accuracy 0")
    own = str(tmp_path / "net.py:Net")
    assert " --model " in runlist.way_on(Path("runs/7"), {"model": own})
    assert runlist.way_on(Path("7"), {}) == "mnist train --resume 7"
