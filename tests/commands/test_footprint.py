"""No command writes outside its folders, or uses a network that it was not told to use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from program import TINY
from systems import one_thread

SCRIPT = Path(__file__).parent.parent / "footprint.py"
COMMANDS = [
    [*TINY, "--quiet"],
    ["eval", "--quiet"],
    ["plot", "--only", "curves", "--quiet"],
    ["export", "--quiet"],
    ["export", "--format", "torch", "--quiet"],
    ["export", "--format", "safetensors", "--quiet"],
    ["inspect-grad", "--batch-size", "2", "--quiet"],
    ["data", "show", "digits", "--out", "digits.png"],
    ["predict", "digits.png"],
    ["model", "conv2"],
    ["runs"],
    ["doctor"],
]
ALLOWED = {
    "home": {".cache/matplotlib", ".config/matplotlib", ".matplotlib"},
    "temporary": {"torchinductor_*"},
}
"""By folder: what other packages may keep there. The first is Matplotlib's list of fonts, which
takes seconds to make; the second is a folder of torch's, which stays empty without --compile."""


def foreign(folder: Path, allowed: set[str]) -> list[str]:
    """The files and empty folders in a folder that no pattern allows."""
    ends = [path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]
    return [
        str(path.relative_to(folder))
        for path in ends
        if not any(one.match(pattern) for pattern in allowed for one in _with_parents(path, folder))
    ]


def _with_parents(path: Path, folder: Path) -> list[Path]:
    inner = path.relative_to(folder)
    return [inner, *inner.parents]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX: HOME names the home folder")
def test_no_command_writes_elsewhere_or_uses_the_network(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("home", "temporary", "work")}
    for folder in folders.values():
        folder.mkdir()
    environment = one_thread(
        HOME=str(folders["home"]),
        TMPDIR=str(folders["temporary"]),
        PYTHONPATH=str(SCRIPT.parent.parent),
    )
    for name in [*environment]:
        if name.startswith("XDG_") or name in {"ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR"}:
            del environment[name]
    done = subprocess.run(
        [sys.executable, SCRIPT, json.dumps(COMMANDS)],
        env=environment,
        cwd=folders["work"],
        capture_output=True,
        text=True,
        check=False,
    )
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [end["words"] for end in ends] == COMMANDS, done.stderr
    assert [end for end in ends if end["code"] or end["seen"]] == [], done.stderr
    for name, allowed in ALLOWED.items():
        assert foreign(folders[name], allowed) == []
    assert {path.name for path in folders["work"].iterdir()} == {"runs", "digits.png"}
