"""What a command imports: each of these packages takes a tenth of the time to its answer or more."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules

import pytest
import typer
from command_tree import commands
from program import TINY
from systems import one_thread

import mnist_cli
from mnist_cli import cli
from mnist_cli.cli import help_pages
from mnist_cli.training import distributed

PROGRAM = """
import contextlib, io, json, sys
from mnist_cli import cli
before, ends = set(sys.modules), []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = cli.run(words)
    ends.append([code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(ends))
"""
FORMULAS = [
    ["inspect-grad", "--expr", "log(x * y) + x ** 2", "--at", "x=2", "--at", "y=3"],
    ["inspect-grad", "--expr", "a @ b", "--at", "a=[[1, 2]]", "--at", "b=[[3, 4], [5, 6]]"],
    ["inspect-grad", "--expr", "x * y", "--at", "x=[1, 2]", "--at", "y=3", "--grad", "[1, 2]"],
]


def imported(folder: Path, commands: Sequence[Sequence[str]], *watched: str) -> list[list[object]]:
    """The exit code of each command, and which packages the process has imported by then."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands), json.dumps(watched)],
        env=one_thread(PYTHONPATH=str(Path(mnist_cli.__file__).parent.parent)),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends: list[list[object]] = json.loads(done.stdout)
    return ends


def test_answers_import_nothing_that_they_do_not_need(tmp_path: Path, trained: Path) -> None:
    needless = (
        "torch._dynamo",
        "torch._inductor",
        "sklearn",
        "scipy",
        "networkx",
        "pandas",
        "torchvision",
        *("torch.distributed.elastic", "torch.distributed.launcher"),
        *(f"{distributed.__name__}.{one.name}" for one in iter_modules(distributed.__path__)),
    )
    needless = tuple(one for one in needless if not one.endswith(".rank_environment"))
    if not version("torch").startswith("2.10."):  # which imports SymPy for any meta tensor
        needless = (*needless, "sympy")
    light = [
        ["model", "conv4"],
        *FORMULAS,
        [*TINY, "--dry-run"],
        ["doctor"],
        ["eval", str(trained)],
    ]
    later = [
        [*TINY, "--quiet"],
        ["eval"],
        ["model"],
        ["inspect-grad"],
        ["plot", "--only", "curves"],
    ]
    ends = imported(tmp_path, [*light, *later], *needless, "matplotlib")
    assert ends[: len(light)] == [[0, []]] * len(light)
    # With a second core, another process draws the curves.
    assert all(end in ([0, []], [0, ["matplotlib"]]) for end in ends[len(light) :])
    assert ends[-1] == [0, ["matplotlib"]]


def test_images_are_shown_without_torch(tmp_path: Path) -> None:
    commands = [["data", "show", "digits"], ["data", "show", "digits", "--indices", "3", "--json"]]
    assert imported(tmp_path, commands, "torch", "sklearn") == [[0, []]] * 2


MISTAKES = [
    (["predict", "missing.png"], 4),
    (["predict", "missing.png", "-k", "net.pt"], 3),
    (["predict", "missing.png", "-k", "missing.pt"], 4),
    (["eval", "missing.pt"], 4),
    (["eval", "--runs", "missing"], 4),
    (["eval", "net.pt", "--split", "tset"], 2),
    (["eval", "net.pt", "--dataset", "fashion"], 2),
    (["eval", "net.pt", "--dataset", "missing/x.csv"], 3),
    (["eval", "net.pt", "--model", "cnn"], 2),
    (["eval", "net.pt", "--device", "cude"], 2),
    (["eval", "net.pt", "--precision", "fp8"], 2),
    (["inspect-grad", "--format", "docx"], 2),
    (["inspect-grad", "missing.pt"], 4),
    (["inspect-grad", "--dataset", "fashion"], 2),
    (["inspect-grad", "--model", "cnn"], 2),
    (["inspect-grad", "--indices", "one"], 2),
    (["train", "--config", "fats"], 2),
    (["train", "--dataset", "fashion"], 2),
    (["train", "--dataset", "missing/x.csv"], 3),
    (["train", "--set", "epoch=3"], 2),
    (["train", "--resume", "missing.pt"], 4),
    (["train", "--from", "missing.pt"], 4),
    (["plot", "99"], 4),
    (["plot", "--only", "curve"], 2),
    (["export", "missing.pt"], 4),
    (["draw", "missing.pt"], 4),
    (["model", "cnn"], 2),
    (["model", "missing.pt"], 4),
    (["bench", "fats"], 2),
    (["data", "show", "fashion"], 2),
    (["data", "convert", "fashion", "--out", "x"], 2),
    (["doctor", "--device", "cude"], 2),
]


def test_mistakes_that_need_no_torch_are_reported_before_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "net.pt").touch()
    ends = imported(tmp_path, [words for words, _ in MISTAKES], "torch")
    found = [(words, *end) for (words, _), end in zip(MISTAKES, ends, strict=True)]
    assert found == [(words, code, []) for words, code in MISTAKES]


@pytest.mark.parametrize(
    ("words", "needless"),
    [
        (
            ["--version"],
            ("pydantic", "filelock", "hashlib", "concurrent.futures", "mnist_cli.commands.train"),
        ),
        (
            ["--help"],
            ("pydantic", "filelock", "hashlib", "concurrent.futures", "mnist_cli.commands.train"),
        ),
        (
            ["train", "--help"],
            ("torch", "filelock", "mnist_cli.runs.listing", "mnist_cli.commands.predict"),
        ),
        (
            ["runs", "--runs", "RUNS"],
            ("torch", "numpy", "matplotlib", "filelock", "mnist_cli.commands.train"),
        ),
        (["runs", "compare", "1", "1", "--runs", "RUNS"], ("torch", "numpy", "matplotlib")),
    ],
)
def test_small_commands_import_little(
    words: list[str], needless: tuple[str, ...], tmp_path: Path, trained: Path
) -> None:
    words = [str(trained.parent) if word == "RUNS" else word for word in words]
    assert imported(tmp_path, [words], *needless) == [[0, []]]


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "torchvision", "numpy", "sklearn", "matplotlib", "networkx", "PIL")
    asked = [[*path.split()[1:], "--help"] for path in commands()]
    assert ["data", "fetch", "--help"] in asked
    ends = imported(tmp_path, asked, *heavy, "mnist_cli.config.schema")
    assert ends == [[0, []]] * len(asked)


def test_completion_imports_the_command_that_is_completed_alone(tmp_path: Path) -> None:
    def asked(line: str) -> tuple[str, list[str]]:
        watched = [f"mnist_cli.commands.{name}" for name in cli.COMMANDS.values()]
        script = (
            "import atexit, sys; from mnist_cli import cli\n"
            f"atexit.register(lambda: print(*[m for m in {watched!r} if m in sys.modules], file=sys.stderr))\n"
            "cli.run([])"
        )
        words = line.split(" ")
        environment = one_thread(
            PYTHONPATH=str(Path(mnist_cli.__file__).parent.parent),
            _MNIST_COMPLETE="complete_bash",
            COMP_WORDS=line,
            COMP_CWORD=str(len(words) - 1),
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout, done.stderr.split()

    assert asked("mnist tr") == ("train\n", [])
    found, modules = asked("mnist train --optim")
    assert found == "--optimizer\n"
    assert "mnist_cli.commands.train" in modules
    assert "mnist_cli.commands.predict" not in modules


def test_the_list_of_commands_is_that_of_the_whole_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    def shown(app: typer.Typer) -> str:
        command = typer.main.get_command(app)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(typer.Exit):
            command.make_context("mnist", ["--help"])
        return out.getvalue()

    assert shown(cli.outline()) == shown(cli.build())
    assert help_pages.SUMMARIES.keys() == cli.COMMANDS.keys()
