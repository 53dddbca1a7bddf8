"""The pages that outputs name exist, and every finding has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mnist_cli.autograd.advising import ADVICE
from mnist_cli.report import lessons

ROOT = Path(__file__).parents[2]
RAISED = {"overwritten", "freed"}
"""Findings that end a command as errors."""


@pytest.mark.parametrize("page", sorted(set(lessons.PAGES.values())))
def test_the_page_and_its_heading_exist(page: str) -> None:
    name, _, anchor = page.partition("#")
    text = (ROOT / lessons.FOLDER / name).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    names = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not anchor or anchor in names


def test_every_finding_has_a_page_that_names_it() -> None:
    for kind in ADVICE.keys() - RAISED:
        page = ROOT / lessons.FOLDER / lessons.PAGES[kind].partition("#")[0]
        assert kind in page.read_text(encoding="utf-8")


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "300")


@pytest.mark.usefixtures("on_a_terminal")
def test_the_path_leads_there_from_any_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for folder in (ROOT, ROOT / "docs", tmp_path):
        monkeypatch.chdir(folder)
        lessons.point_to("train")
        shown.append(capsys.readouterr().err)
    assert "explained in docs/learn/4-train.md#a-run" in shown[0]
    assert "explained in learn/4-train.md#a-run" in shown[1]
    assert f"explained in {ROOT / 'docs' / 'learn'}/4-train.md#a-run" in shown[2]


@pytest.mark.usefixtures("on_a_terminal")
def test_an_installed_package_names_the_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "__file__", str(tmp_path / "mnist_cli" / "report" / "lessons.py"))
    lessons.point_to("train")
    assert "docs/learn/4-train.md#a-run of the source code" in capsys.readouterr().err
