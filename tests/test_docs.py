"""What the README promises and what the program has are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from mnist_cli import choices, cli, errors

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


def command_names() -> list[str]:
    """Every command that does something, as it is typed."""
    names: list[str] = []

    def visit(command: object, name: str) -> None:
        children = getattr(command, "commands", {})
        if not children or getattr(command, "invoke_without_command", False):
            names.append(name)
        for word, child in children.items():
            visit(child, f"{name} {word}")

    visit(typer.main.get_command(cli.app), "mnist")
    return names


def error_codes() -> set[int]:
    found, todo = {0}, [errors.MnistError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        found.add(kind.code)
    return found


@pytest.mark.parametrize("name", command_names())
def test_every_command_is_in_the_table(readme: str, name: str) -> None:
    assert re.search(rf"^\| `{re.escape(name)}[ `]", readme, re.MULTILINE)


def test_no_command_is_promised_that_is_not_there(readme: str) -> None:
    promised = re.findall(r"^\| `(mnist [^`]*)`", readme, re.MULTILINE)
    words = [" ".join(re.findall(r"(?<=\s)[a-z-]+(?![^\s])", f" {text}")) for text in promised]
    assert set(words) == set(command_names())


def test_the_exit_codes_are_those_of_the_errors(readme: str) -> None:
    section = readme.split("### Exit codes")[1].split("\n#")[0]
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)
    } == error_codes()


@pytest.mark.parametrize("name", [*choices.MODELS, *choices.preset_names()])
def test_networks_and_presets_are_named(readme: str, name: str) -> None:
    assert f"`{name}`" in readme


def test_what_the_examples_call_exists(readme: str) -> None:
    examples = re.findall(
        r"^mnist [a-z-]+(?: (?:fetch|verify|show|path|compare)\b)?", readme, re.MULTILINE
    )
    assert examples
    assert set(examples) <= set(command_names())


def test_the_tests_that_hold_promises_exist() -> None:
    root = README.parent
    text = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    for path, function in named:
        assert f"def {function}(" in (root / path).read_text(encoding="utf-8"), (path, function)


def test_every_promise_names_a_test() -> None:
    text = (README.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = text.split("## Promises")[1].split("\n## ")[0].strip().splitlines()[2:]
    promises = [row for row in rows if row.startswith("|")]
    assert promises
    assert all("`tests/" in row.rpartition(" | ")[2] for row in promises)
