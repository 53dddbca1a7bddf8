"""The layers of the package: what ``make lint`` cannot see, and what CONTRIBUTING.md says of them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mnist_cli

SOURCE = Path(mnist_cli.__file__).parent
ROOT = SOURCE.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = (one for one in settings["tool"]["importlinter"]["contracts"] if one["id"] == name)
    return dict(found)


def layers() -> list[list[str]]:
    """The names of each layer, the highest layer first."""
    return [line.split(" | ") for line in contract("layers")["layers"]]


def packages() -> set[str]:
    """Modules and packages at the top level."""
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in SOURCE.glob("*/__init__.py")}


def test_every_package_has_one_layer() -> None:
    named = [name for layer in layers() for name in layer]
    assert sorted(named) == sorted(packages())


def test_the_picture_shows_the_layers() -> None:
    (picture,) = re.findall(r"```\n(__main__ →.*?)```", GUIDE, re.DOTALL)
    drawn = [layer.split(" | ") for layer in " ".join(picture.split()).split(" → ")]
    assert drawn == layers()


def test_the_table_lists_every_package() -> None:
    rows = re.findall(r"^\| (`mnist_cli/[^|]*) \|", GUIDE, re.MULTILINE)
    listed = [path for row in rows for path in re.findall(r"`(mnist_cli/[^`]+)`", row)]
    assert {Path(path).stem for path in listed} == packages()
    assert len(set(listed)) == len(listed)
    assert all((ROOT / path).exists() for path in listed)


def test_no_file_name_stands_in_two_packages() -> None:
    count = Counter(path.name for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
    assert not [name for name, number in count.items() if number > 1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named_in_strings(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in modules - {"mnist_cli"}:
            yield node.value


def test_no_string_names_a_module_of_a_higher_layer() -> None:
    """Such a string is an import that ``make lint`` does not see.

    The package's own name alone is none: it starts the whole program in a process of its own.
    """
    height = {name: -place for place, layer in enumerate(layers()) for name in layer}
    files = {module_of(path): path for path in SOURCE.rglob("*.py")}
    found = [
        (module, named)
        for module, path in files.items()
        for named in named_in_strings(ast.parse(path.read_text(encoding="utf-8")), set(files))
    ]
    assert found, "none at all: this test no longer finds them"
    upwards = [
        (module, named)
        for module, named in found
        if height[named.split(".")[1]] > height[module.split(".")[1]]
    ]
    assert not upwards
