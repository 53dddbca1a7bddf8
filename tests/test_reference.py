"""The reference of every command is what the program says of itself now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from command_tree import commands

from mnist_cli.config import schema as config

DOCS = Path(__file__).parent.parent / "docs"
PROGRAM = runpy.run_path(str(DOCS / "reference.py"))


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "reference.md").read_text(encoding="utf-8")


def test_it_is_what_the_program_says_now(page: str) -> None:
    assert page == PROGRAM["reference"](), "docs/reference.md is old; write it anew: make docs"


def test_every_option_is_in_its_commands_section(page: str) -> None:
    sections = dict(re.findall(r"^## (mnist[a-z -]*)\n(.*?)(?=^## )", page, re.M | re.S))
    pairs = [
        (name, option)
        for name, command in commands().items()
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
        for option in (*parameter.opts, *parameter.secondary_opts)
    ]
    assert len(pairs) > 100
    for name, option in pairs:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", sections[name]), (name, option)


def test_every_key_is_there(page: str) -> None:
    for key in config.KEYS:
        assert f"\n| `{key}` |" in page
