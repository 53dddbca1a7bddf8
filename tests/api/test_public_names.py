"""``import mnist_cli``: what it offers, and that it costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from systems import one_thread

import mnist_cli as mnist
from mnist_cli.api.key_types import Settings
from mnist_cli.config.keys import KEYS, kinds

SOURCE = Path(mnist.__file__)


def test_the_import_loads_only_the_version_and_offers_the_names() -> None:
    script = (
        "import sys; before = set(sys.modules); import mnist_cli; print(dir(mnist_cli));"
        "print(sorted(name for name in set(sys.modules) - before if 'mnist_cli' in name));"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'rich') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=SOURCE.parent.parent
    )
    offered, loaded, heavy = map(ast.literal_eval, done.stdout.splitlines())
    assert offered == sorted([*mnist.__all__, "__version__"])
    assert loaded == ["mnist_cli", "mnist_cli.base", "mnist_cli.base.version"]
    assert heavy == []


def test_the_first_use_leaves_the_random_state() -> None:
    script = (
        "import random, mnist_cli; before = random.getstate();"
        "[getattr(mnist_cli, name) for name in mnist_cli.__all__];"
        "assert random.getstate() == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=SOURCE.parent.parent)


@pytest.mark.parametrize("name", mnist.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert getattr(mnist, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"mnist_cli.{module}" for name, module in mnist._MODULE_OF.items()}
    assert seen == homes | dict.fromkeys(mnist._MODULES, "mnist_cli")


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="'mnist_cli' has no attribute 'fit'"):
        mnist.fit  # noqa: B018


def test_the_arguments_of_train_are_the_keys_of_the_configuration() -> None:
    from torch import nn

    from mnist_cli import Run

    hints = get_type_hints(Settings, localns={"nn": nn, "Run": Run})
    assert list(hints) == list(KEYS)
    for key, hint in hints.items():
        if key not in ("model", "dataset", "start"):  # they take objects too
            assert plain(hint) == {part for kind in kinds(key) for part in plain(kind)}, key


def plain(hint: object) -> set[object]:
    """The types and words that a hint allows."""
    if isinstance(hint, type) or get_origin(hint) is Literal:
        return {hint}
    return {part for one in get_args(hint) for part in plain(one)}


def test_torch_is_imported_late_and_as_by_the_program() -> None:
    """OpenMP reads the variable as torch is imported; the caller's environment stays."""
    Path("empty.pt").touch()
    script = (
        "import builtins, os, sys; real, seen = builtins.__import__, []\n"
        "def watched(name, *rest):\n"
        "    if name == 'torch' and not seen: seen.append(os.environ.get('GOMP_SPINCOUNT'))\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = watched\n"
        "import mnist_cli as mnist\n"
        "calls = [mnist.train, mnist.evaluate, mnist.load, mnist.predict, mnist.open_run]\n"
        "assert 'torch' not in sys.modules\n"
        "for call in calls[1:4]:\n"
        "    try: call('x.png', 'missing.pt') if call is mnist.predict else call('missing.pt')\n"
        "    except mnist.errors.CheckpointError: pass\n"
        "    assert 'torch' not in sys.modules\n"
        "try: mnist.load('empty.pt')\n"
        "except mnist.errors.CheckpointError: pass\n"
        "print(seen, os.environ.get('GOMP_SPINCOUNT'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env=one_thread(PYTHONPATH=str(SOURCE.parent.parent)),
    )  # fmt: skip
    assert done.stdout == "['5000'] None\n"
