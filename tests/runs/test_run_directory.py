"""Run directories: numbers, locks, and which run an argument means."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_permissions, needs_posix

from mnist_cli.base.files import host_name, temporary_for
from mnist_cli.errors import CheckpointError, OutputError, UsageError
from mnist_cli.runs.directory import (
    RunDirectory,
    check_name,
    create,
    find_checkpoint,
    find_run,
    known_runs,
    newest,
    newest_unfinished,
)


def test_runs_are_numbered_from_one_and_named_after_data_and_network(tmp_path: Path) -> None:
    names = [create(tmp_path / "runs", "mnist", model).path.name for model in ("conv4", "conv2")]
    assert names == ["0001-mnist-conv4", "0002-mnist-conv2"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names


def test_a_run_can_have_a_name_of_its_own(tmp_path: Path) -> None:
    path = create(tmp_path, "mnist", "conv4", "big-lr").path
    assert path.name == "0001-big-lr"
    assert find_run(Path("big-lr"), tmp_path) == find_run(Path("1"), tmp_path) == path
    create(tmp_path, "mnist", "conv4", "big-lr")
    with pytest.raises(CheckpointError, match=r"2 runs under .* have the name big-lr: 0001-big-lr"):
        find_run(Path("big-lr"), tmp_path)


@pytest.mark.parametrize("name", ["a", "lr0.1", "0003-x", "übung_2", "a" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "12", ".", "..", "a/b", "a\\b", "a b", "-a", "a.", ".a", "a\n", "a:b", "a" * 65]
)
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        check_name(name)


def test_the_newest_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no unfinished run under") as none:
        newest_unfinished(tmp_path)
    assert none.value.hint == "Train one with `mnist train`."
    first = made(tmp_path, "0001-a", "last.pt")
    made(tmp_path, "0002-a", "last.pt", "best.pt", "summary.json")
    made(tmp_path, "0003-a", "config.toml")
    busy = made(tmp_path, "0004-a", "last.pt")
    with RunDirectory(busy).locked():
        assert newest_unfinished(tmp_path).path == first
    assert newest_unfinished(tmp_path).path == busy


def test_which_runs_there_are_in_a_sentence(tmp_path: Path) -> None:
    assert known_runs(tmp_path) == f"{tmp_path}/ holds no runs."
    (tmp_path / "0002-a").mkdir()
    assert known_runs(tmp_path) == f"The only run under {tmp_path}/ is 2."
    (tmp_path / "0003-a").mkdir()
    assert known_runs(tmp_path) == f"The runs under {tmp_path}/ are 2 to 3 (mnist runs)."
    (tmp_path / "0007-a").mkdir()
    assert known_runs(tmp_path).endswith("are 2 to 7, 3 in all (mnist runs).")


def test_numbers_go_on_after_the_highest_and_past_four_digits(tmp_path: Path) -> None:
    for name in ("0007-mnist-conv4", "9999-digits-conv2", "notes", "12-old", "0003"):
        (tmp_path / name).mkdir()
    (tmp_path / ".10000-reserved").mkdir()  # left behind, and passed over
    assert create(tmp_path, "mnist", "conv4").path.name == "10001-mnist-conv4"
    assert create(tmp_path, "mnist", "conv4").path.name == "10002-mnist-conv4"


CREATES = (
    "import sys; from pathlib import Path; from mnist_cli.runs.directory import create\n"
    "sys.stdin.readline()\n"
    "for _ in range(15): print(create(Path(sys.argv[1]), 'mnist', sys.argv[2]).path.name)"
)


def test_processes_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    """Of different names too: an mkdir of the whole name alone would not tell them apart."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CREATES, str(tmp_path), f"net{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    names = [name for child in children for name in child.communicate(timeout=60)[0].split()]
    assert [child.returncode for child in children] == [0] * 4
    numbers = [name.partition("-")[0] for name in names]
    assert len(set(numbers)) == len(numbers) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def begin(run: RunDirectory, *files: str) -> None:
    with run.locked():
        for name in files:
            (run.path / name).write_text("x")
        raise KeyError


def test_a_run_that_fails_at_its_start_is_gone_unless_it_wrote_something(tmp_path: Path) -> None:
    for number, files in enumerate([(), ("config.toml",)]):
        run = create(tmp_path, "mnist", f"net{number}")
        with pytest.raises(KeyError):
            begin(run, *files)
        assert run.path.exists() is bool(files)
    assert create(tmp_path, "mnist", "conv4").path.name == "0002-mnist-conv4"


# --- locks

HOLDS = (
    "import sys, time; from pathlib import Path; from mnist_cli.runs.directory import RunDirectory\n"
    "with RunDirectory(Path(sys.argv[1])).locked():\n"
    "    print('held', flush=True); sys.stdin.readline()"
)


def holder(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def try_lock(run: RunDirectory) -> None:
    with run.locked():
        pass


def test_a_run_in_use_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with holder(tmp_path) as child:
        with pytest.raises(OutputError, match=f"process {child.pid} on {host_name()}"):
            try_lock(run)
        child.communicate("\n", timeout=30)
    try_lock(run)
    assert not (tmp_path / "run.pid").exists()


def test_a_killed_process_frees_its_run_and_its_leftovers_are_cleared(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with holder(tmp_path) as child:
        left = tmp_path / f".last.pt.{host_name()}.{child.pid}.tmp"
        elsewhere = tmp_path / f".last.pt.another-machine.{child.pid}.tmp"
        left.write_bytes(b"half")
        elsewhere.write_bytes(b"half")
        child.kill()
    with run.locked():
        assert not left.exists()
        assert elsewhere.exists()
        owner = (tmp_path / "run.pid").read_text().strip()
        assert owner == f"{os.getpid()} on {host_name()}"


def test_a_lock_is_not_given_twice_to_one_process_and_ends_with_a_failure(tmp_path: Path) -> None:
    run = RunDirectory(made(tmp_path, "1", "config.toml"))
    with run.locked(), pytest.raises(OutputError, match=f"process {os.getpid()}"):
        try_lock(run)
    with pytest.raises(KeyError), run.locked():
        raise KeyError
    try_lock(run)


def test_what_a_run_left_that_died_before_its_first_checkpoint_is_cleared(tmp_path: Path) -> None:
    """Nobody will resume it: the next run clears its half of a file, and leaves the living alone."""
    dead = made(tmp_path, "0001-mnist-conv4", "config.toml")
    living = made(tmp_path, "0002-mnist-conv4")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    lost = temporary_for(dead / "last.pt").name.replace(str(os.getpid()), str(child.pid))
    (dead / lost).write_bytes(b"half")
    (tmp_path / lost).write_bytes(b"half")
    (tmp_path / "0003-a-file").write_bytes(b"")
    kept = temporary_for(living / "last.pt")
    kept.write_bytes(b"being written")
    create(tmp_path, "mnist", "conv4")
    assert [path.name for path in dead.iterdir()] == ["config.toml"]
    assert kept.exists()
    assert not (tmp_path / lost).exists()


# --- which run


def made(root: Path, name: str, *files: str) -> Path:
    (root / name).mkdir(parents=True)
    for file in files:
        (root / name / file).write_bytes(b"x")
    return root / name


def test_the_newest_run_is_the_highest_number_with_a_checkpoint(tmp_path: Path) -> None:
    made(tmp_path, "0002-mnist-conv4", "last.pt")
    made(tmp_path, "10000-mnist-conv4", "best.pt", "last.pt")
    made(tmp_path, "9999-mnist-conv4", "best.pt")
    made(tmp_path, "10001-mnist-conv4", "config.toml")
    made(tmp_path, "not-a-run", "best.pt")
    assert newest(tmp_path).path.name == "10000-mnist-conv4"
    assert find_checkpoint(None, tmp_path) == tmp_path / "10000-mnist-conv4" / "best.pt"


@needs_permissions
def test_private_runs_of_other_users_are_passed_over(tmp_path: Path) -> None:
    readable = made(tmp_path, "0001-mnist-conv4", "last.pt")
    private = made(tmp_path, "0002-mnist-conv4", "last.pt")
    try:
        private.chmod(0)
        assert newest(tmp_path).path == newest_unfinished(tmp_path).path == readable
        assert create(tmp_path, "mnist", "conv4").path.name == "0003-mnist-conv4"
    finally:
        for path in (readable, private):
            path.chmod(0o700)


def test_without_a_run_it_says_how_to_make_one(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="no run with a checkpoint") as caught:
            newest(root)
        assert "mnist train" in caught.value.hint


def test_an_argument_is_a_file_a_run_or_a_runs_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    run = made(root, "0001-mnist-conv4", "best.pt", "last.pt")
    other = made(root, "0002-mnist-conv4", "last.pt")
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(run, root) == run / "best.pt"
    assert find_checkpoint(run / "last.pt", root) == run / "last.pt"
    assert find_checkpoint(Path("0002-mnist-conv4"), root) == other / "last.pt"


def test_a_missing_run_is_reported(tmp_path: Path) -> None:
    empty = made(tmp_path, "0001-mnist-conv4")
    other = tmp_path / "a-folder"
    other.mkdir()
    with pytest.raises(CheckpointError, match="a-folder is not a run: it has no checkpoint"):
        RunDirectory(other).checkpoint()
    for inner, hint in (
        ("weights.bin", "^Name a run, or the file of a checkpoint"),
        ("optimizer.pt", r"Name its file of weights: .*a-folder[/\\]optimizer\.pt"),
        ("model-00001-of-00002.safetensors", "^Join the shards of its weights into one file"),
        ("pytorch_model.bin", r"Name its file of weights: .*a-folder[/\\]pytorch_model\.bin"),
        ("__0_0.distcp", r"format_utils dcp_to_torch .*a-folder'? weights\.pt"),
    ):
        (other / inner).touch()
        with pytest.raises(CheckpointError) as caught:
            RunDirectory(other).checkpoint()
        assert re.search(hint, caught.value.hint)
    (other / "data.pkl").touch()
    with pytest.raises(CheckpointError, match=r"(?s)unpacked checkpoint .*zip -0 -r a-folder\.pt"):
        RunDirectory(other).checkpoint()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        find_checkpoint(empty, tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint or run .*gone\.pt"):
        find_checkpoint(tmp_path / "gone.pt", tmp_path)


@needs_posix
def test_a_file_that_cannot_be_looked_at_hides_no_others(tmp_path: Path) -> None:
    (tmp_path / "unreadable").symlink_to("x" * 300)  # as in a folder without permission
    (tmp_path / "model.pt").touch()
    with pytest.raises(CheckpointError, match="is not a run") as caught:
        find_checkpoint(tmp_path, tmp_path)
    assert "model.pt" in caught.value.hint
