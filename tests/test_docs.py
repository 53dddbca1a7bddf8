"""What README and guide say and what the program has are the same."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from command_tree import commands
from links import without_blocks

from mnist_cli import errors
from mnist_cli.api import recipe_layers
from mnist_cli.config import choices
from mnist_cli.config import schema as config

README = Path(__file__).parent.parent / "README.md"
GUIDE = README.parent / "docs" / "guide.md"
PAGES = [README, *sorted((README.parent / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text(encoding="utf-8")


def command_names() -> list[str]:
    """Every command that does something."""
    return [
        name
        for name, command in commands().items()
        if not getattr(command, "commands", {}) or command.invoke_without_command
    ]


def error_codes() -> set[int]:
    found, todo = {0}, [errors.MnistError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        found.add(kind.code)
    return found


@pytest.mark.parametrize("name", command_names())
def test_every_command_is_in_the_table(guide: str, name: str) -> None:
    assert re.search(rf"^\| `{re.escape(name)}[ `]", guide, re.MULTILINE)


def test_every_command_in_the_table_exists(guide: str) -> None:
    promised = re.findall(r"^\| `(mnist [^`]*)`", guide, re.MULTILINE)
    words = [" ".join(re.findall(r"(?<=\s)[a-z-]+(?![^\s])", f" {text}")) for text in promised]
    assert set(words) == set(command_names())


def test_the_exit_codes_are_those_of_the_errors(guide: str) -> None:
    section = guide.split("## Exit codes")[1].split("\n#")[0]
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)
    } == error_codes()


@pytest.mark.parametrize("name", [*choices.MODELS, *choices.preset_names()])
def test_networks_and_presets_are_named(guide: str, name: str) -> None:
    assert f"`{name}`" in guide


def test_the_tests_that_are_named_exist() -> None:
    root = README.parent
    text = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    for path, function in named:
        assert f"def {function}(" in (root / path).read_text(encoding="utf-8"), (path, function)


def test_every_guarantee_names_a_test() -> None:
    text = (README.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = text.split("## Guarantees")[1].split("\n## ")[0].strip().splitlines()[2:]
    guarantees = [row for row in rows if row.startswith("|")]
    assert guarantees
    assert all("`tests/" in row.rpartition(" | ")[2] for row in guarantees)


def find(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that words call, its name, and the arguments that are left."""
    command, name, rest = commands()[words[0]], words[0], words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, name, rest = command.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
    return command, name, rest


def examples() -> list[str]:
    """Every line of the shell blocks of README and guide that calls the program."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (README, GUIDE))
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return re.findall(r"^mnist .*$", "".join(blocks), re.M)


@pytest.mark.parametrize("line", examples())
def test_every_example_is_one_that_the_program_takes(line: str) -> None:
    command, name, rest = find(shlex.split(line, comments=True))
    given = command.make_context(name, rest).params
    if name == "mnist train" and not (given["config"] or "").isdecimal():  # a run of the reader's
        keys = {key: value for key, value in given.items() if key in config.KEYS}
        recipe_layers.compose_config(given["config"], given["assignments"], keys)


def test_there_are_examples() -> None:
    assert len(examples()) > 10


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(path: Path) -> None:
    """In `code` that calls a command its own options, and alone any command's."""
    everywhere = {"--help", *(option for of in all_options().values() for option in of)}
    for code in re.findall(r"`([^`\n]+)`", without_blocks(path.read_text(encoding="utf-8"))):
        known = everywhere
        if code.startswith("mnist "):
            _, name, _ = find(code.split())
            known = {"--help", *all_options()[name]}
        elif not code.startswith("--"):
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in known, f"{path.name}: {code}"


@cache
def all_options() -> dict[str, set[str]]:
    """By command, every option that it takes."""
    return {
        name: {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in commands().items()
    }


def test_the_code_in_the_guide_runs_and_prints_what_it_says(
    guide: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    exec(compile(code, "guide.md", "exec"), {})
    (said,) = re.findall(r"print\(.*\)  # (\w+)", code)
    assert capsys.readouterr().out == f"{said}\n"
