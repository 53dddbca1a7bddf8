"""Figures are kept instead of written."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from mnist_cli.report import figure_style


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would be written."""
    found: list[Figure] = []
    monkeypatch.setattr(figure_style, "save", lambda figure, *_paths: found.append(figure))
    return found
