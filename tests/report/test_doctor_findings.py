"""``mnist doctor`` on a terminal: marks, and lines that break between words only."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mnist_cli.proving.diagnosis import Diagnosis, Verdict
from mnist_cli.report import doctor_findings

FOUND = Diagnosis(
    gpu=Verdict(False, "GPU: not usable, because no driver", next_step="Install the driver."),
    versions={"torch": "2.14"},
    cpu={"name": "a processor"},
    devices={"cpu": "yes", "cuda": "no: no NVIDIA driver and no NVIDIA GPU were found"},
    gpus=(),
    cuda={},
    chosen={},
    data={
        "mnist": "/cannot/yes",
        "qmnist": "not under /data (mnist data fetch qmnist)",
        "digits": "comes with scikit-learn, which is not installed",
    },
    folders={"runs": "writable, 9.3 GiB free", "/data": "cannot be written: read-only"},
)


class Screen(Console):
    """A terminal; with ``ascii`` it shows nothing else."""

    def __init__(self, width: int, ascii: bool) -> None:
        colours = {"force_terminal": True, "color_system": None, "highlight": False}
        super().__init__(file=io.StringIO(), width=width, **colours)
        self._ascii = ascii

    @property
    def encoding(self) -> str:
        return "ascii" if self._ascii else "utf-8"


@pytest.mark.parametrize("width", [50, 60, 80])
@pytest.mark.parametrize(("ascii", "tick", "cross"), [(False, "✓", "✗"), (True, "+", "x")])
def test_marks_and_whole_words(
    monkeypatch: pytest.MonkeyPatch, width: int, ascii: bool, tick: str, cross: str
) -> None:
    screen = Screen(width, ascii)
    monkeypatch.setattr(doctor_findings, "stdout", lambda: screen)
    doctor_findings.print_diagnosis(FOUND)
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    lines = text.splitlines()
    assert lines[0].startswith(f"{cross} GPU: not usable")
    assert max(map(len, lines)) <= width
    assert text.isascii() == ascii
    marks = {line.split()[1]: line[0] for line in lines if line[:1] in (tick, cross, "-")}
    assert marks == {
        "GPU:": cross,
        **dict.fromkeys(("cpu", "mnist", "runs"), tick),
        **dict.fromkeys(("cuda", "qmnist", "digits"), "-"),
        "/data": cross,
    }
    assert text.split().count("`mnist") == 1
    for word in ("verify", "scikit-learn,", "installed", "NVIDIA", "read-only"):
        assert word in text.split()
