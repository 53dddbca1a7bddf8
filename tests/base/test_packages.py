"""How a missing package is installed, whatever installed this program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mnist_cli.base.packages import explain_import, installing


@pytest.mark.parametrize(
    ("marker", "plain", "again"),
    [
        ("", "pip install scipy", "pip install --force-reinstall --no-deps scipy"),
        (
            "pipx_metadata.json",
            "pipx inject mnist-cli scipy",
            "pipx inject --force mnist-cli scipy",
        ),
        (
            "uv-receipt.toml",
            "uv pip install --python {prefix} scipy",
            "uv pip install --python {prefix} --reinstall --no-deps scipy",
        ),
    ],
)
def test_the_command_is_that_of_what_installed_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: str, plain: str, again: str
) -> None:
    """pipx and uv leave these files in the environment of a tool, which has no pip of its own."""
    prefix = tmp_path / "an env"
    prefix.mkdir()
    (prefix / (marker or "pyvenv.cfg")).touch()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    plain, again = (text.format(prefix=f"'{prefix}'") for text in (plain, again))
    assert installing("scipy") == plain
    assert installing("scipy", again=True) == again
    known = explain_import(ModuleNotFoundError("no", name="scipy.ndimage"))
    assert known is not None
    assert known.hint == f"Install it with: {plain}"
