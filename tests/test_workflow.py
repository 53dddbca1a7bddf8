"""The workflows of GitHub Actions, against the published schema and against what we support."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
CHECKER = shutil.which("check-jsonschema", path=sysconfig.get_path("scripts")) or shutil.which(
    "check-jsonschema"
)

WORKFLOWS = sorted(WORKFLOW.parent.glob("*.yml"))

pytestmark = pytest.mark.skipif(not WORKFLOW.is_file(), reason="not in this copy of the source")


@pytest.mark.skipif(CHECKER is None, reason="needs pip install check-jsonschema")
@pytest.mark.parametrize(("old", "new", "code"), [("", "", 0), ("runs-on:", "run-on:", 1)])
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_workflow_fits_the_published_schema(
    tmp_path: Path, workflow: Path, old: str, new: str, code: int
) -> None:
    path = tmp_path / workflow.name
    path.write_text(workflow.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    words = [str(CHECKER), "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout


def test_the_workflow_tests_the_oldest_supported_python_and_torch() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (python,) = re.findall(r'requires-python = ">=(.*)"', project)
    assert f'["{python}",' in text
    for package in ("torch", "torchvision"):
        (version,) = re.findall(rf'"{package}>=(.*)",', project)
        assert f"'{package}=={version}.*'" in text


def test_the_workflows_use_existing_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    targets = re.findall(r"run: make ([\w-]+)", text)
    assert {"lint", "test", "test-matrix", "torture", "site"} == set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.skipif(
    shutil.which("make") is None or sys.platform == "win32", reason="plays Windows with make"
)
@pytest.mark.parametrize(("system", "programs"), [("Windows_NT", "Scripts"), ("", "bin")])
def test_make_finds_the_programs_of_each_system(tmp_path: Path, system: str, programs: str) -> None:
    for stamp in (".python", ".dev"):
        (tmp_path / stamp).touch()
    words = ["make", "--dry-run", "test", f"VENV={tmp_path}", f"OS={system}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}/{programs}/python -m pytest")
