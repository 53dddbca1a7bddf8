"""The library's page: its code runs, and prints what the page says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from pages import matches

from mnist_cli import autograd
from mnist_cli.autograd.graph import FORMAT, VERSION

PAGE = (Path(__file__).parents[2] / "docs" / "autograd.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_runs_and_prints_what_is_shown() -> None:
    names: dict[str, object] = {}
    printed: list[str] = []
    shown: list[str] = []
    for kind, body in BLOCK.findall(PAGE):
        if kind == "text":
            shown.append(body)
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(body, "docs/autograd.md", "exec"), names)
        if out.getvalue():
            printed.append(out.getvalue())
    assert len(shown) >= 3
    assert len(printed) == len(shown)
    for text, page in zip(printed, shown, strict=True):
        assert matches(page.splitlines(), lines(text)), text


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_every_public_function_is_on_the_page() -> None:
    classes = {
        "GradGraph",
        "Recording",
        "Replay",
        "Walk",
        "Diagnosis",
        "GraphComparison",
        "SavedMemory",
    }
    helpers = {"parse_binding", "parse_value", "find_nodes"}
    for name in set(autograd.__all__) - classes - helpers:
        assert f"`{name}" in PAGE or f" {name}" in PAGE, name


def test_the_page_names_the_format() -> None:
    assert f'`"{FORMAT}"`, `{VERSION}`' in PAGE
