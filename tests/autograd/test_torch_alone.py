"""The gradient library with torch alone: every other third-party package is blocked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mnist_cli

ROOT = Path(mnist_cli.__file__).parent.parent

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

import torch

TORCH_NEEDS = {"sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "numpy", "triton"}
ALLOWED = {*TORCH_NEEDS, *sys.stdlib_module_names, *(name.partition(".")[0] for name in sys.modules), "mnist_cli"}


class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        part_of_sysconfig = name.startswith("_sysconfigdata")  # its name depends on the platform
        if name.partition(".")[0] not in ALLOWED and not part_of_sysconfig:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)


for gone in ("typer", "rich", "pydantic", "tomlkit", "filelock", "httpx"):
    assert gone not in sys.modules, gone
sys.meta_path.insert(0, Blocked())

from torch import nn

from mnist_cli import autograd
from mnist_cli.autograd import *

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
with watch(model) as watched, trace_modules(model) as modules:
    loss = model(torch.randn(5, 3)).square().mean()
    walked = walk(loss, model, modules)
    recorded = record(walked, keep=True)
    assert judge(replay(walked), recorded).exact
    assert_gradients_finite(loss, model)
    diagnose(recorded.graph, dead_units(recorded), first_not_finite(walked))
    loss.backward()
assert len(watched.records) == 1
for kind in ("text", "json", "dot", "mermaid", "svg", "html"):
    assert draw(recorded.graph, kind)
if hasattr(autograd, "inspect"):
    assert repr(autograd.inspect(model(torch.randn(5, 3)).sum(), model))
assert compare(recorded.graph, fold(recorded.graph)) is not None
try:
    loads(dumps(recorded.graph))
except DependencyError as error:
    print(error)
"""


def test_torch_is_enough() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    message, hint = done.stdout.splitlines()
    assert message == "reading a dump needs the package pydantic, which is not installed"
    assert hint == "Install it with: pip install pydantic"
