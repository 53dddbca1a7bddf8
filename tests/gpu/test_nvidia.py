"""What is read of the NVIDIA driver, from files and a program that are made for each test."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from mnist_cli.gpu import nvidia

VERSIONS = {
    "proprietary": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 "
    "UTC 2023\nGCC version:  gcc version 11.4.0\n",
    "open": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  "
    "(dvs-builder@U22)\n",
}


@pytest.mark.parametrize(
    ("kind", "version"), [("proprietary", "535.104.05"), ("open", "580.65.06")]
)
def test_the_modules_version(tmp_path: Path, kind: str, version: str) -> None:
    place = tmp_path / "driver/nvidia/version"
    place.parent.mkdir(parents=True)
    place.write_text(VERSIONS[kind], encoding="utf-8")
    assert nvidia.module_version(tmp_path) == version


def test_no_module_is_no_version(tmp_path: Path) -> None:
    assert nvidia.module_version(tmp_path) == ""
    assert nvidia.device_files(tmp_path / "dev") == ()
    assert nvidia.cards_on_pci(tmp_path / "pci") is None


def test_device_files_are_those_of_cards(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null", "dxg"):
        (tmp_path / name).touch()
    names = [Path(node).name for node in nvidia.device_files(tmp_path)]
    assert names == ["dxg", "nvidia-uvm", "nvidia0", "nvidia12", "nvidiactl"]


@pytest.mark.parametrize(
    ("release", "node", "wsl"),
    [
        ("5.15.167.4-microsoft-standard-WSL2", "null", True),
        ("4.4.0-19041-Microsoft", "null", True),
        ("6.12.48-custom", "dxg", True),
        ("6.12.48+deb13-amd64", "nvidia0", False),
    ],
)
def test_wsl_is_known_by_its_kernel_or_its_device(
    tmp_path: Path, release: str, node: str, wsl: bool
) -> None:
    place = tmp_path / "proc/sys/kernel/osrelease"
    place.parent.mkdir(parents=True)
    place.write_text(f"{release}\n", encoding="utf-8")
    (tmp_path / node).touch()
    driver = nvidia.read_driver(tmp_path / "proc", tmp_path)
    assert driver.wsl is wsl
    if wsl:
        assert driver.cards is None  # its bus shows a device of Microsoft's in place of the card


def test_cards_on_pci_are_nvidias_displays_and_accelerators(tmp_path: Path) -> None:
    devices = {
        "0": ("0x10de", "0x030000"),  # display
        "1": ("0x10de", "0x030200"),  # accelerator
        "2": ("0x10de", "0x040300"),  # its sound
        "3": ("0x1002", "0x030000"),  # another maker's
    }
    for name, (vendor, kind) in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert nvidia.cards_on_pci(tmp_path) == 2


def test_the_table_of_nvidia_smi() -> None:
    out = (
        "NVIDIA H100 80GB HBM3, 580.65.06, 1, 81559, Default, GPU-1a\n"
        "NVIDIA T4, 580.65.06, 9, 15360, Prohibited, GPU-2b\n"
    )
    cards, version, complaint = nvidia.parse_smi(out, "", 0)
    assert [(card.name, card.used, card.total, card.mode, card.uuid) for card in cards] == [
        ("NVIDIA H100 80GB HBM3", "1", "81559", "Default", "GPU-1a"),
        ("NVIDIA T4", "9", "15360", "Prohibited", "GPU-2b"),
    ]
    assert (version, complaint) == ("580.65.06", "")


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.133\n",
         18, "mismatch NVML library version: 570.133"),
        ("No devices were found\n", 6, "No devices were found"),
        ("", 3, "ended with code 3"),
    ],
)  # fmt: skip
def test_what_nvidia_smi_says_instead_of_a_table(out: str, code: int, words: str) -> None:
    cards, version, complaint = nvidia.parse_smi(out, "", code)
    assert (cards, version) == ((), "")
    assert words in complaint


def program(folder: Path, body: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_real_program_is_asked_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "A, 580.1, 1, 2, Default, GPU-1"
    assert nvidia.ask_smi(program(tmp_path, f"print({line!r})"))[1] == "580.1"
    monkeypatch.setattr(nvidia, "TIMEOUT", 0.5)
    answer = nvidia.ask_smi(program(tmp_path, "import time; time.sleep(300)"))
    assert "did not answer" in answer[2]
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF no program")
    assert "cannot be run" in nvidia.ask_smi(str(tmp_path / "nvidia-smi"))[2]


def test_without_nvidia_smi_nothing_is_complained_about() -> None:
    assert nvidia.ask_smi("nvidia-smi-that-is-not-there") == ((), "", "")


def test_this_machine_can_be_read() -> None:
    driver = nvidia.read_driver()
    assert set(driver.closed) <= set(driver.nodes)
    assert driver.loaded == bool(driver.version)
