"""The program as a whole: help and exit codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from command_tree import commands
from program import Run, shell
from systems import needs_permissions, needs_posix

from mnist_cli import __version__, errors
from mnist_cli.base.spinning import spin_briefly
from mnist_cli.options.renamed import RENAMED, renamed


@needs_posix
@pytest.mark.parametrize("command", ["doctor", "runs"])
def test_a_working_directory_that_was_deleted(tmp_path: Path, command: str) -> None:
    gone = tmp_path / "gone"
    script = f"mkdir {gone}; cd {gone}; rmdir {gone}; mnist --version; mnist {command}"
    outcome = shell(script, PYTHONPATH=str(Path(__file__).parents[2]))
    assert outcome.out == f"mnist {__version__}\n"
    assert outcome.err.startswith("error: the working directory is not available: deleted")
    assert outcome.code == 5


def test_version(run: Run) -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"mnist {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_a_group_without_a_command_prints_its_help(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 0
    assert "Usage: mnist" in outcome.out
    assert outcome.err == ""


@pytest.mark.parametrize("words", [[], ["data"], ["data", "show"], ["eval"], ["plot"], ["train"]])
def test_help_names_no_type_of_python(run: Run, words: list[str]) -> None:
    text = run(*words, "--help").out
    assert "--help" in text
    assert not re.search(r"<(bool|path|str|list\[\w+\])>", text, re.IGNORECASE)


def numeric_options() -> Iterator[tuple[list[str], str]]:
    """Every option of every command that takes a number: the command's words, and its flag."""
    for path, command in commands().items():
        hints = signature(command.callback).parameters if command.callback else {}
        for option in command.params:
            kind = getattr(hints.get(option.name), "annotation", None)
            kinds = {*get_args(kind), *(inner for one in get_args(kind) for inner in get_args(one))}
            if kinds & {int, float}:
                yield path.split()[1:], max(option.opts, key=len)


@pytest.mark.parametrize("value", ["many", "1e", "0x10"])
def test_what_is_no_number_is_named_with_its_flag(run: Run, value: str) -> None:
    options = list(numeric_options())
    assert (["train"], "--epochs") in options
    assert (["data", "fetch"], "--timeout") in options
    for words, flag in options:
        outcome = run(*words, flag, value)
        assert outcome.code == 2, (words, flag)
        message, hint = outcome.err.splitlines()
        assert message.startswith(f"error: {flag}: should be a "), message
        assert re.search(r" number\b.*, not '" + value + "'$", message), message
        assert hint == f"See `mnist {' '.join(words)} --help`."


def test_debug_adds_the_traceback(run: Run) -> None:
    plain, debug = run("eval", "nothing.pt"), run("eval", "nothing.pt", "--debug")
    assert plain.code == debug.code == 4
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert debug.err.endswith(plain.err)


def test_words_after_two_dashes_are_no_flags(run: Run) -> None:
    outcome = run("predict", "--", "--json", "--debug")
    assert (outcome.code, outcome.out) == (4, "")  # no run to predict with
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(command, *pair) for command, pairs in RENAMED.items() for pair in pairs.items()],
)
def test_an_old_spelling_works_with_a_note(run: Run, command: str, old: str, new: str) -> None:
    """Up to the first ``--``; help names the new one only."""
    words = command.split()[1:]
    spelled = re.findall(r"(?<![\w-])--?[\w-]+", run(*words, "--help").out)
    assert (new in spelled, old in spelled) == (True, False)
    assert renamed(command, [f"{old}=x", "y", "--", old]) == [f"{new}=x", "y", "--", old]
    outcome = run(*words, old, "x", "--nope")
    assert f"{old} is now {new}" in outcome.err
    assert "--nope" in outcome.err


ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MnistError)
]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `mnist data path` meet ``error``."""

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("mnist_cli.data.store.locate", fail)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_expected_error_is_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[errors.MnistError]
) -> None:
    fail_with(monkeypatch, kind("the [bold]cause[/]", "The way out."))
    outcome = run("data", "path", "--json")
    assert outcome.code == kind.code
    label = "" if issubclass(kind, errors.Stopped) else "error: "  # to be stopped is no error
    assert outcome.err == f"{label}the [bold]cause[/]\nThe way out.\n"
    error = {"code": kind.code, "kind": kind.kind, "message": "the [bold]cause[/]. The way out."}
    assert outcome.document == {"error": error}


def test_a_bug_shows_its_traceback_and_is_a_document_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("by zero"))
    outcome = run("data", "path", "--json")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.document["error"]["kind"] == "internal"
    assert "by zero" in outcome.document["error"]["message"]


def test_an_unexplained_error_of_the_system_names_its_path(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, PermissionError(13, "Permission denied", "/some/file"))
    outcome = run("data", "path")
    assert outcome.code == 5
    assert outcome.err == "error: cannot use /some/file: Permission denied\n"


def test_completion_answers() -> None:
    done = shell("_MNIST_COMPLETE=complete_bash COMP_WORDS='mnist tr' COMP_CWORD=1 mnist")
    assert done.out.split() == ["train"]


def test_threads_that_wait_sleep_soon_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    spin_briefly()
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) < 300_000
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("eval bad.pt --out new", 4),
        ("eval RUN --dataset empty --out new", 3),
        ("plot bad.pt --out new/plots", 4),
        ("plot RUN --only confusion --dataset empty --out new", 3),
        ("inspect-grad bad.pt --out new", 4),
        ("inspect-grad RUN --dataset empty --format json --out new", 3),
        ("export bad.pt --out new/net.onnx", 4),
        ("export RUN --verify --dataset empty --out new/net.onnx", 3),
        ("train --dataset empty --runs new", 3),
        ("train --config smoke --device cuda:99 --runs new", 2),
        ("train --dataset empty --find-lr --runs new/runs", 3),
        ("sweep --dataset empty --set lr=0.1,0.2 --runs new", 3),
        ("train --from bad.pt --config smoke --runs new", 4),
        ("doctor --prove --device cuda:99 --out new/gpu.md", 2),
        ("bench nothing --out new/bench.png", 2),
        ("data convert empty --out new/idx", 3),
    ],
)
def test_a_command_that_refuses_leaves_no_folder(
    run: Run, trained: Path, words: str, code: int
) -> None:
    Path("bad.pt").write_bytes(b"nothing that torch wrote")
    Path("empty").mkdir()
    done = run(*(str(trained) if word == "RUN" else word for word in words.split()))
    assert (done.code, done.err.count("error: ")) == (code, 1)
    assert {path.name for path in Path().iterdir()} == {"bad.pt", "empty"}


def test_each_command_itself_explains_paths_that_cannot_be_read() -> None:
    """Else Typer refuses them as a wrong usage; root, who may read anything, never sees it."""
    checked = [
        (name, word)
        for name, command in commands().items()
        if command.callback is not None
        for word, hint in get_type_hints(command.callback, include_extras=True).items()
        if "Path" in str(get_args(hint)[:1]) and getattr(get_args(hint)[-1], "readable", False)
    ]
    assert checked == []


@needs_permissions
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("eval closed.pt", 4),
        ("model closed.pt", 4),
        ("plot closed.pt", 4),
        ("train --resume closed.pt", 4),
        ("train --config closed", 2),
        ("eval closed", 4),
        ("data show mnist --data-dir closed", 5),
        ("train --dataset closed.csv", 3),
        ("runs --runs closed", 2),
        ("doctor --data-dir closed", 0),
    ],
)
def test_what_may_not_be_read_is_named_with_the_cause(run: Run, words: str, code: int) -> None:
    for name in ("closed.pt", "closed.csv"):
        Path(name).touch(0)
    Path("closed").mkdir(0)
    try:
        done = run(*words.split())
        assert (done.code, done.err.count("error: ")) == (code, int(code > 0))
        assert "ermission denied" in done.out + done.err
    finally:
        Path("closed").chmod(0o700)
