"""Every expected error says what to do: its message has a hint."""

from __future__ import annotations

import ast
from pathlib import Path

import mnist_cli
from mnist_cli import errors

ROOT = Path(mnist_cli.__file__).parent
OWN_HINT = {"DamagedError", "Interrupted", "Stopped", "Terminated"}
"""Classes that have their hint, or need none."""
CLASSES = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.MnistError) and name not in OWN_HINT
}
WITHOUT = {
    "api/checkpoint_given.py": 1,
    "api/evaluating.py": 1,
    "commands/inspect_grad.py": 1,
    "config/messages.py": 1,
    "data/own_pictures.py": 1,
    "devices/memory.py": 1,
    "inference/drawings.py": 1,
    "networks/own_network.py": 1,
    "networks/registry.py": 1,
    "networks/source.py": 1,
    "networks/trial.py": 1,
    "proving/programs.py": 3,
    "training/expected_errors.py": 3,
    "training/resume_proof.py": 1,
}
"""By module, errors whose hint is set elsewhere, or whose message says what to do."""


def bare(module: Path) -> int:
    """How many errors a module makes from a message alone."""
    calls = [n for n in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(n, ast.Call)]
    return sum(
        isinstance(call.func, ast.Name)
        and call.func.id in CLASSES
        and len(call.args) == 1
        and not call.keywords
        for call in calls
    )


def test_every_error_has_a_hint() -> None:
    found = {path.relative_to(ROOT).as_posix(): bare(path) for path in ROOT.rglob("*.py")}
    assert {name: count for name, count in found.items() if count} == WITHOUT
