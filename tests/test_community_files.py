"""CITATION.cff, the issue forms and the version: complete, and in agreement with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import mnist_cli

ROOT = Path(__file__).parent.parent
CITATION = ROOT / "CITATION.cff"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CONVERTER = shutil.which("cffconvert", path=sysconfig.get_path("scripts")) or shutil.which(
    "cffconvert"
)

pytestmark = pytest.mark.skipif(not CITATION.is_file(), reason="not in this copy of the source")


def test_version_and_date_are_those_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, re.M)
    version, date = released[0]
    assert version == mnist_cli.__version__
    assert released == sorted(released, reverse=True, key=lambda one: one[1])
    text = CITATION.read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", text, re.M) == [version]
    assert re.findall(r'^date-released: "(.*)"$', text, re.M) == [date]


@pytest.mark.skipif(CONVERTER is None, reason="needs pip install cffconvert")
def test_the_citation_is_valid() -> None:
    done = subprocess.run(
        [str(CONVERTER), "--validate"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one_that_github_shows(path: Path) -> None:
    """Its documentation names the keys; there is no published schema in a package."""
    yaml = pytest.importorskip("yaml", reason="needs pip install pyyaml")
    form: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert set(form) <= {"name", "description", "title", "labels", "body", "assignees"}
    assert form["name"]
    assert form["description"]
    ids = [item["id"] for item in form["body"]]
    assert len(ids) == len(set(ids))
    for item in form["body"]:
        assert set(item) <= {"type", "id", "attributes", "validations"}
        assert item["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert item["attributes"]["label"]
        known = {"label", "description", "placeholder", "value", "render", "options", "multiple"}
        assert set(item["attributes"]) <= known


def test_the_bug_form_asks_for_what_the_doctor_prints() -> None:
    (form,) = (path for path in FORMS if path.name == "bug.yml")
    assert "mnist doctor --json" in form.read_text(encoding="utf-8")
