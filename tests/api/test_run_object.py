"""``Run``: what a folder holds, as rows and lines, whatever its names hold."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from systems import needs_posix

import mnist_cli as mnist
from mnist_cli import Run, errors
from mnist_cli.api.run_object import MOST_SHOWN


def test_what_a_run_holds(run: Run) -> None:
    summary = json.loads((run.path / "summary.json").read_text())
    assert (run.number, run.name, run.state) == (1, "digits-conv2", "finished")
    assert vars(run.test) == summary["test"]
    assert str(run.checkpoint) == summary["checkpoint"]
    assert (run.config["epochs"], run.config["model"]) == (3, "conv2")
    assert run.environment["recipe"] == "smoke"


def test_rows_are_those_of_the_file_and_share_their_keys(run: Run) -> None:
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    written = [json.loads(line) for line in lines]
    norms = [row.pop("norms") for row in written]
    rows = run.metrics
    assert [{key: row[key] for key in there} for row, there in zip(rows, written, strict=True)] == (
        written
    )
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert "norms" not in rows[0]
    assert {row["kind"] for row in rows} == {"step", "epoch"}
    flat = [(row["epoch"], row["parameter"], row["update"]) for row in run.norms]
    assert flat == [
        (row["epoch"], name, one["update"])
        for row, of in zip(written, norms, strict=True)
        for name, one in of.items()
    ]


def test_rows_become_a_table_of_pandas(run: Run) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(run.metrics)
    assert len(frame) == len(run.metrics)
    assert frame[frame.kind == "epoch"].val_accuracy.notna().all()


def test_runs_are_opened_and_listed(run: Run) -> None:
    root = run.path.parent
    for name in (1, np.int64(1), "1", "digits-conv2", run.path.name, run.path, run):
        assert mnist.open_run(name, runs=root) == run
    (root / "notes").mkdir(exist_ok=True)
    assert list(mnist.list_runs(root)) == [run]
    assert mnist.list_runs("nothing") == []
    with pytest.raises(errors.CheckpointError, match=r"no such run: 7"):
        mnist.open_run(7, runs=root)
    with pytest.raises(errors.UsageError, match="True is not a run"):
        mnist.open_run(True, runs=root)
    with pytest.raises(errors.UsageError, match="is not a folder of runs"):
        mnist.list_runs(__file__)


def test_a_run_of_the_first_release_is_read(tmp_path: Path) -> None:
    """Before there were kinds of rows, losses without smoothing and norms."""
    folder = tmp_path / "0003-digits-conv2"
    folder.mkdir()
    (folder / "config.toml").write_text('model = "conv2"\nepochs = 2\nseed = 5\n')
    row = {"epoch": 1, "step": 3, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 0.9}
    row |= {"val_accuracy": 0.625, "val_count": 8, "lr": 0.1, "grad_norm": 2.0}
    row |= {"images_per_second": 9.0, "seconds": 0.5}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    run = mnist.open_run(3, runs=tmp_path)
    assert run.metrics[0]["kind"] == "epoch"
    assert run.metrics[0]["train_plain_loss"] is None
    assert (run.test, run.state) == (None, "unfinished")
    assert repr(run).splitlines() == [
        f"Run 3: {folder.name} (unfinished)",
        "conv2 on unknown data, 1 of 2 epochs, 0.5 s, seed 5",
        "no test result yet; best validation accuracy 62.50%",
    ]
    with pytest.raises(errors.CheckpointError, match="has no checkpoint yet"):
        run.model()


HOSTILE = "<script>alert(1)</script>&\x1b[31m\n‮"


class Text(HTMLParser):
    """The tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.add(tag)
        self.open += [] if tag in ("img", "br") else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_in_a_folder_are_text_for_a_terminal_and_a_notebook(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / f"0001-{HOSTILE.replace('/', '_')}"
    shutil.copytree(run.path, folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"dataset": HOSTILE, "model": HOSTILE, "device": HOSTILE}
    (folder / "summary.json").write_text(json.dumps(summary))
    (hostile,) = runs = mnist.list_runs("runs")
    assert len(repr(hostile).splitlines()) == 3
    for shown in (repr(hostile), hostile._repr_html_(), repr(runs), runs._repr_html_()):
        assert "\x1b" not in shown
        assert "‮" not in shown
    allowed = {"p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert Text(hostile._repr_html_()).tags <= allowed
    assert Text(runs._repr_html_()).tags <= allowed


def test_a_run_that_is_gone_still_shows_itself(tmp_path: Path) -> None:
    gone = Run(tmp_path / "0009-gone")
    assert "no such run" in repr(gone)
    assert "no such run" in gone._repr_html_()
    runs = type(mnist.list_runs())([gone])
    assert "0009-gone  unreadable" in repr(runs)
    assert ">unreadable<" in runs._repr_html_()


def test_a_long_list_shows_the_newest(run: Run) -> None:
    runs = type(mnist.list_runs())([run] * 500)
    lines = repr(runs).splitlines()
    assert lines[0] == f"500 runs, the newest {MOST_SHOWN}:"
    assert len(lines) == MOST_SHOWN + 1


def test_a_run_is_found_from_another_working_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parent)
    here = mnist.open_run(run.path.name)
    assert here == Run(Path(run.path.name)) == run
    assert repr(here).startswith(f"Run 1: {run.path.name} (")
    monkeypatch.chdir(tmp_path)
    assert here.test == run.test
    assert mnist.evaluate(here).count == 382
    assert repr(here).startswith(f"Run 1: {run.path} (")


@needs_posix
def test_a_run_is_found_when_the_working_directory_is_gone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert repr(run).startswith(f"Run 1: {run.path} (")
    assert mnist.load(run).classes[0] == "0"
