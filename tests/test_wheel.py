"""An installed wheel works as well as the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_contains_the_presets_and_the_whole_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    presets = {f"mnist_cli/configs/{path.name}" for path in (ROOT / "configs").glob("*.toml")}
    assert presets
    assert presets <= names
    package = ROOT / "mnist_cli"
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_an_installed_wheel_finds_the_presets(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "import mnist_cli.config.choices as c, mnist_cli.config.schema as k;"
        "print(c.__file__); print(*c.preset_names());"
        "print(all(k.from_file(k.find_config(n)).values for n in c.preset_names()))"
    )
    # Before the checkout on the path, which an editable install put there.
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r});{script}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    file, names, whole = done.stdout.splitlines()
    assert Path(file).parent == tmp_path / "mnist_cli" / "config"
    assert names.split() == sorted(path.stem for path in (ROOT / "configs").glob("*.toml"))
    assert whole == "True"
