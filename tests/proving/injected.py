"""Faults put into the program, or into its own child processes, to see that a proof notices them."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from mnist_cli.proving.claims import Claims, Row, prove

_HOOK = """
import sys
from importlib.machinery import PathFinder

class Spoiler(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != {module!r}:
            return None
        spec = super().find_spec(name, path, target)
        run = spec.loader.exec_module
        def spoiled(module):
            run(module)
            exec({code!r}, module.__dict__)
        spec.loader.exec_module = spoiled
        return spec

sys.meta_path.insert(0, Spoiler)
"""


def inject(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, code: str) -> None:
    """Execute ``code`` in ``module``, right after its import, in every process started later.

    Python imports ``sitecustomize`` from PYTHONPATH when it starts.
    """
    hook = _HOOK.format(module=module, code=textwrap.dedent(code))
    (folder / "sitecustomize.py").write_text(hook, encoding="utf-8")
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def failed(claims: Claims, word: str = "") -> list[Row]:
    """The rows that fail, of the claims with a word in them; an exception is a failed row."""
    rows = list(prove({claim: check for claim, check in claims.items() if word in claim}))
    assert rows
    return [row for row in rows if row.passed is False]
