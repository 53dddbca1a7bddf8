"""The page about Python and notebooks: every block runs, and prints what the page shows."""

from __future__ import annotations

import os
from pathlib import Path

import pages

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_block_and_its_output() -> None:
    differing = pages.run_page(PAGE, renew=os.environ.get("DOCS") == "rewrite")
    assert not differing, "\n\n".join([*differing, "If that is right: make docs"])


def test_every_public_name_is_explained() -> None:
    import mnist_cli as mnist

    page = PAGE.read_text(encoding="utf-8")
    shown = {"Classifier", "Evaluation", "Prediction", "Predictions", "autograd"}  # as results
    assert [
        name for name in mnist.__all__ if name not in shown and f"mnist.{name}" not in page
    ] == [
        "Run",
        "errors",
    ]
