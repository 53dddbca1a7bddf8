"""Runs the steps of the Dockerfile in a folder, without Docker: ``python tests/container.py``.

It downloads and installs all packages (6 GB with PyPI's torch on Linux), so no test does it. All
stages share the folder, and absolute paths of the image are paths in it. The base image is a fresh
virtual environment of this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction of the Dockerfile: ``COPY``, and ``configs configs``."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments; also those of the JSON form, as ``["mnist"]``."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def sources(self) -> list[str]:
        """What a ``COPY`` takes from the folder of the Dockerfile."""
        plain = self.name == "COPY" and not self.text.startswith("--")
        return self.words[:-1] if plain else []


def instructions() -> Iterator[Instruction]:
    """Every instruction of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield Instruction(name, rest.strip())


def ignored(path: str) -> bool:
    """Whether ``.dockerignore`` keeps a path out; the last line that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = [path, *map(str, Path(path).parents), *(Path(path).parts if "**" in line else ())]
        if any(fnmatch(part, pattern) for part in parts if part != "."):
            out = not line.startswith("!")
    return out


@dataclass
class Imitation:
    """The image as a folder."""

    folder: Path
    arguments: Mapping[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    place: Path = Path()

    def run(self) -> list[str]:
        """Carry out every instruction, and return the command that the image starts."""
        venv.create(self.folder / "base", with_pip=True)
        self.environment = {**os.environ, "PATH": f"{self.folder}/base/bin:{os.environ['PATH']}"}
        command: list[str] = []
        for one in instructions():
            print(one.name, one.text, flush=True)
            if one.name == "ENTRYPOINT":
                command = one.words
            elif one.name not in {"FROM", "USER", "VOLUME", "CMD"}:
                getattr(self, f"_{one.name.lower()}")(one)
        return command

    def inside(self, text: str) -> str:
        """Text with the image's absolute paths as those of the folder."""
        return re.sub(r"(?<![\w./:])/(?=venv|source|home)", f"{self.folder}/", text)

    def _arg(self, one: Instruction) -> None:
        name, _, default = one.text.partition("=")
        self.environment[name] = self.arguments.get(name, default)

    def _env(self, one: Instruction) -> None:
        for pair in one.words:
            name, _, value = pair.partition("=")
            value = re.sub(r"\$(\w+)", lambda found: self.environment[found[1]], value)
            self.environment[name] = self.inside(value)

    def _workdir(self, one: Instruction) -> None:
        self.place = Path(self.inside(one.text))
        self.place.mkdir(parents=True, exist_ok=True)

    def _copy(self, one: Instruction) -> None:
        if one.text.startswith("--from"):
            assert Path(self.inside(one.words[1])).exists(), one.text
            return
        for source in one.sources:
            target = self.place / one.words[-1]
            if (ROOT / source).is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, target, ignore=skip)
            else:
                shutil.copy(ROOT / source, target)

    def _run(self, one: Instruction) -> None:
        where = self.place if self.place.is_absolute() else self.folder
        words = ["/bin/sh", "-c", self.inside(one.text)]
        subprocess.run(words, check=True, cwd=where, env=self.environment)


def _user(python: Path) -> dict[str, int]:
    """The image's user for a process, if this one may change it and that one may run Python."""
    if os.getuid() != 0:
        return {}
    try:
        subprocess.run([python, "-V"], check=True, user=1000, group=1000)
    except PermissionError:
        print(f"user 1000 may not run {os.path.realpath(python)}: continued as root")
        return {}
    return {"user": 1000, "group": 1000}


def main() -> None:
    """Build the imitation, and train and look in it, as user 1000 if this is root."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    given = dict(pair.split("=", 1) for pair in parser.parse_args().build_arg)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        image = Imitation(Path(name), given)
        command = image.run()
        user = _user(Path(name) / "base" / "bin" / "python")
        for words in (["--version"], ["doctor"], ["train", "--config", "smoke"], ["plot"]):
            subprocess.run(
                [*command, *words], check=True, cwd=image.place, env=image.environment, **user
            )


if __name__ == "__main__":
    sys.exit(main())
