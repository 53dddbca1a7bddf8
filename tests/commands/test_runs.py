"""``mnist runs``: the list, the comparison, and what may lie in the folder."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest
from program import Run

from mnist_cli.commands import runs as command
from mnist_cli.errors import OutputError
from mnist_cli.runs import listing as runlist
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.runs.removing import remove


@pytest.fixture
def folder(trained: Path) -> Path:
    """Two runs, the second with other settings and a better result, and what else may lie there."""
    root = Path("runs")
    shutil.copytree(trained, root / "0001-digits-conv2")
    second = shutil.copytree(trained, root / "0002-digits-conv2")
    config = second / "config.toml"
    config.write_text(config.read_text().replace("epochs = 3", "epochs = 7\nmomentum = 0.5"))
    summary = json.loads((second / "summary.json").read_text())
    summary["test"]["accuracy"] = 0.999
    (second / "summary.json").write_text(json.dumps(summary))
    third = shutil.copytree(trained, root / "0003-digits-conv2")
    (third / "summary.json").unlink()
    (root / "0004-broken").mkdir()
    (root / "0004-broken" / "config.toml").write_text("=")
    (root / "notes").mkdir()
    return root


def test_the_list(run: Run, folder: Path) -> None:
    outcome = run("runs")
    assert outcome.code == 0
    title, head, *rows = outcome.out.splitlines()
    assert title.strip() == "runs/"
    columns = ["data", "set", "network", "differs", "in", "epochs", "accuracy", "seconds", "device"]
    assert head.split() == ["run", *columns, "date"]
    accuracy = json.loads((folder / "0001-digits-conv2/summary.json").read_text())["test"][
        "accuracy"
    ]
    start = ["digits", "conv2", "momentum"]
    assert rows[0].split()[:7] == ["0001", *start, "default", "3", f"{100 * accuracy:.2f}%"]
    assert rows[1].split()[:7] == ["0002", *start, "0.5", "3/7", "99.90%"]
    assert rows[2].split()[:7] == ["0003", *start, "default", "3", "unfinished"]
    assert rows[3].split()[:6] == ["0004-broken", "-", "-", "-", "-", "unreadable"]
    assert rows[4].split()[:6] == ["notes", "-", "-", "-", "-", "no"]
    assert "runs/0004-broken: unreadable: config.toml is garbled" in outcome.err
    assert "runs/notes: no run" in outcome.err


def test_the_list_as_a_document(run: Run, folder: Path) -> None:
    document = run("runs", "--json").document
    assert document["folder"] == "runs"
    first = document["runs"][0]
    summary = json.loads((folder / "0001-digits-conv2/summary.json").read_text())
    assert first["path"] == "runs/0001-digits-conv2"
    for key in ("dataset", "model", "epochs", "device", "device_name", "precision"):
        assert first[key] == summary[key]
    assert first["accuracy"] == summary["test"]["accuracy"]
    assert first["seconds"] == summary["train_seconds"]
    written = (folder / "0001-digits-conv2/summary.json").stat().st_mtime
    assert abs(datetime.fromisoformat(first["date"]).timestamp() - written) < 1
    assert [one["state"] for one in document["runs"]] == [
        *("finished", "finished", "unfinished", "unreadable", "no run"),
    ]


def test_the_best_comes_first_if_asked(run: Run, folder: Path) -> None:
    document = run("runs", "--sort", "accuracy", "--json").document
    assert [one["name"][:4] for one in document["runs"][:2]] == ["0002", "0001"]


def test_every_order_that_is_offered_is_there() -> None:
    assert tuple(runlist.SORTS) == get_args(get_args(command.SortOption)[0])


def test_brackets_in_the_name_of_the_folder_are_no_markup(run: Run, folder: Path) -> None:
    named = folder.rename("[bold] runs")
    outcome = run("runs", "--runs", named)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].strip() == "[bold] runs/"


def test_no_runs_are_no_failure(run: Run) -> None:
    for _ in range(2):
        outcome = run("runs")
        assert (outcome.code, outcome.out) == (0, "")
        assert "no runs under runs/; `mnist train` creates one" in outcome.err
        assert run("runs", "--json").document == {"folder": "runs", "runs": []}
        Path("runs").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["--sort", "dates"],
            2,
            "--sort: should be one of name, accuracy, seconds, date, not 'dates'. Did you mean 'date'?",
        ),
        (["--runs", "nowhere"], 2, "--runs nowhere: the folder does not exist"),
        (["--runs", "a-file"], 2, "--runs a-file: Not a directory"),
        (["comapre"], 2, "comapre"),
        (["compare"], 2, "RUN"),
        (["compare", "1"], 2, "a comparison needs at least two runs"),
        (
            ["compare", "1", "9"],
            4,
            "no such run: 9\nA number, a name or a folder names a run. "
            "The runs under runs/ are 1 to 4 (mnist runs).",
        ),
        (["show", "9"], 4, "no such run: 9"),
        (["show", "4"], 4, "runs/0004-broken cannot be read as a run: config.toml is garbled"),
        (
            ["rm", "9"],
            4,
            "no such run: 9\nA number, a name or a folder names a run. The runs under runs/ are 1 to 4 (mnist runs).",
        ),
        (["rm", "1"], 2, "nothing was deleted: nobody can answer the question\nAdd --yes."),
        (["rm", "notes", "--yes"], 4, "runs/notes is not deleted: it is not a run directory"),
        (["rm", ".", "--yes"], 4, ". is not deleted: it is not a run directory"),
        (
            ["--sort", "date", "compare", "1", "2"],
            2,
            "--sort before compare has no effect on it\nOptions of compare come after its name",
        ),
        (["--runs", "x", "compare", "1", "2"], 2, "--runs before compare has no effect"),
    ],
)
def test_what_makes_no_sense_is_named(
    run: Run, folder: Path, words: list[str], code: int, said: str
) -> None:
    Path("a-file").touch()
    outcome = run("runs", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err


def test_a_comparison_shows_what_differs_and_every_result(run: Run, folder: Path) -> None:
    outcome = run("runs", "compare", "1", "0002-digits-conv2")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["configuration", "0001-digits-conv2", "0002-digits-conv2"]
    assert ["epochs", "3", "7"] in lines[:4]
    assert ["momentum", "-", "0.5"] in lines[:4]
    assert ["environment:", "no", "difference"] in lines
    results = lines[lines.index(["result", *lines[0][1:]]) :]
    assert ["epochs", "3", "3/7"] in results
    assert next(row for row in results if row[:2] == ["test", "accuracy"])[-1] == "99.90%"
    assert not any(row[:1] == ["batch_size"] for row in lines)


def test_a_comparison_as_a_document(run: Run, folder: Path) -> None:
    document = run("runs", "compare", 1, folder / "0002-digits-conv2", 3, "--json").document
    assert document["configuration"] == {"epochs": [3, 7, 3], "momentum": [None, 0.5, None]}
    assert document["environment"] == {}
    assert [one["name"][:4] for one in document["runs"]] == ["0001", "0002", "0003"]
    assert document["runs"][2]["accuracy"] is None


def test_a_run_that_tells_nothing_is_no_difference_and_is_named(run: Run, folder: Path) -> None:
    (folder / "0005-empty").mkdir()
    outcome = run("runs", "compare", 1, 5, 2)
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[1:3] == [["epochs", "3", "-", "7"], ["momentum", "-", "-", "0.5"]]
    assert ["environment:", "no", "difference"] in rows
    assert "0005-empty has no configuration, no environment, no finished epoch" in outcome.err
    assert "0001" not in outcome.err
    assert "0003-digits-conv2 has no test result" in run("runs", "compare", 1, 3).err
    document = run("runs", "compare", 1, 5, "--json").document
    assert (document["configuration"], document["environment"]) == ({}, {})


def test_an_empty_value_is_a_dash(run: Run, folder: Path) -> None:
    path = folder / "0002-digits-conv2" / "environment.json"
    environment = json.loads(path.read_text()) | {"fallback": "no network", "remarks": ["cut"]}
    path.write_text(json.dumps(environment))
    rows = [line.split() for line in run("runs", "compare", 1, 2).out.splitlines()]
    assert ["fallback", "-", "no", "network"] in rows
    assert ["remarks", "-", "cut"] in rows


def test_of_the_users_own_the_folder_is_left_out(run: Run, folder: Path) -> None:
    """Unless nothing else tells two of them apart."""
    for number, place in ((1, f"{'x' * 99}/1"), (2, "two"), (3, "two")):
        path = folder / f"000{number}-digits-conv2"
        config = (path / "config.toml").read_text().replace('"conv2"', f'"/my/{place}/net.py:Net"')
        (path / "config.toml").write_text(config.replace('"digits"', '"/my/letters"'))
        for name in ("summary.json", "environment.json"):
            (path / name).unlink(missing_ok=True)
    (folder / "0003-digits-conv2").rename(folder / "0003-letters-Net")
    rows = [line.split() for line in run("runs").out.splitlines()]
    assert rows[2][:3] == ["0001-digits-conv2", "letters", "net.py:Net"]
    assert rows[4][:3] == ["0003", "letters", "net.py:Net"]
    both = [line.split() for line in run("runs", "compare", 1, 2).out.splitlines()]
    assert ["model", f"…{'x' * 18}/1/net.py:Net", "/my/two/net.py:Net"] in both


def test_a_runs_number_will_do_wherever_a_checkpoint_is_asked_for(run: Run, folder: Path) -> None:
    document = run("eval", "2", "--json").document
    assert document["checkpoint"] == "runs/0002-digits-conv2/best.pt"
    outcome = run("train", "--resume", "1")
    assert "runs/0001-digits-conv2 is already complete" in outcome.err
    outcome = run("eval", "9")
    assert (outcome.code, outcome.err.splitlines()[0]) == (*(4, "error: no checkpoint or run 9"),)


def test_a_run_compared_with_itself_is_said(run: Run, folder: Path) -> None:
    outcome = run("runs", "compare", "1", "0001-digits-conv2")
    assert outcome.code == 0
    assert "warning: runs/0001-digits-conv2 is given 2 times" in outcome.err
    assert "is given" not in run("runs", "compare", "1", "2").err


def test_from_four_runs_on_a_comparison_has_a_row_per_run(run: Run, folder: Path) -> None:
    shutil.copytree(folder / "0002-digits-conv2", folder / "0005-digits-conv2")
    out = run("runs", "compare", "1", "2", "3", "5").out
    head, *rows = out[: out.index("environment")].splitlines()
    assert head.split() == ["configuration", "epochs", "momentum"]
    assert [row.split() for row in rows] == [
        ["0001-digits-conv2", "3", "-"],
        ["0002-digits-conv2", "7", "0.5"],
        ["0003-digits-conv2", "3", "-"],
        ["0005-digits-conv2", "7", "0.5"],
    ]


def test_one_run_is_shown(run: Run, folder: Path) -> None:
    out = run("runs", "show", "2").out
    assert out.startswith("runs/0002-digits-conv2\n")
    for line in ("test accuracy", "momentum", "torch", "last.pt"):
        assert f"\n  {line}" in out
    assert not re.search(r"^ +\w+ *$", out, re.MULTILINE)  # no name without a value
    document = run("runs", "show", "2", "--json").document
    assert document["config"]["momentum"] == 0.5
    assert document["recipe"] == "smoke"
    assert document["files"]["last.pt"] == (folder / "0002-digits-conv2/last.pt").stat().st_size


@pytest.mark.parametrize(("answer", "left"), [("y\n", 4), ("n\n", 5), ("", 5)])
def test_a_run_is_deleted_after_a_question(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    outcome = run("runs", "rm", "2")
    assert outcome.code == {"y\n": 0, "n\n": 0, "": 130}[answer]
    assert "Delete this run?" in outcome.err
    assert len(list(folder.iterdir())) == left
    assert (folder / "0002-digits-conv2").exists() == (left == 5)


def test_several_runs_are_deleted_without_a_question(run: Run, folder: Path) -> None:
    outcome = run("runs", "rm", "1", "0003-digits-conv2", "1", "--yes", "--json")
    assert outcome.document == {"deleted": ["runs/0001-digits-conv2", "runs/0003-digits-conv2"]}
    assert sorted(path.name[:4] for path in folder.iterdir()) == ["0002", "0004", "note"]


def test_a_run_that_is_written_is_not_deleted(run: Run, folder: Path) -> None:
    """By a process of this machine, which holds the lock."""
    held = RunDirectory(folder / "0002-digits-conv2")
    with held.locked():
        outcome = run("runs", "rm", "1", "2", "--yes")
        assert outcome.code == 5
        assert f"is being written by process {os.getpid()}" in outcome.err
        assert (folder / "0001-digits-conv2").exists()
        with pytest.raises(OutputError, match="is being written"):  # also if it began just now
            remove(held)
    assert held.last.is_file()


def test_a_folder_with_a_number_that_is_no_run_is_not_deleted(run: Run) -> None:
    photos = Path("2024-photos")
    photos.mkdir()
    (photos / "a.png").touch()
    outcome = run("runs", "rm", "2024", "--runs", ".", "--yes")
    assert (outcome.code, photos.exists()) == (4, True)
    assert "2024-photos is not deleted: it is not a run directory" in outcome.err
    Path("0002-link").symlink_to(photos)
    assert run("runs", "rm", "2", "--runs", ".", "--yes").code == 4
