"""Names of networks and data sets; those of the user's own are paths: ``path/net.py:Net``, ``path/to/data``.

Paths become absolute where they are typed, so that they mean the same to every process that the
configuration travels to. A path in a configuration file is relative to that file. Reads no file and
imports nothing heavy: :mod:`mnist_cli.networks.own_network` and :mod:`mnist_cli.data.own_data` do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from mnist_cli import catalogue
from mnist_cli.base.files import from_home
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

EXAMPLE = "path/to/net.py:Net"
_FILES = (".csv", ".gz", ".npz", ".parquet")
"""Endings of a name that means a file, even if it does not exist."""


class ModelName(str):
    """A network's name: one of this program's, or a class in a Python file, ``path/net.py:Net``.

    A checkpoint holds its text alone: ``str(name)``.
    """

    __slots__ = ()

    @classmethod
    def typed(cls, text: str) -> ModelName:
        """The name as typed on the command line: a file is seen from the working directory."""
        return cls(text).absolute(Path())

    @property
    def is_own(self) -> bool:
        """Whether it means a class in a file of the user's own."""
        file, colon, name = self.rpartition(":")
        return bool(colon) and file.endswith(".py") and name.isidentifier()

    @property
    def path(self) -> Path:
        """The user's own file.

        Raises:
            ValueError: the network is one of this program's.
        """
        return Path(self._parts()[0])

    @property
    def class_name(self) -> str:
        """The class in the user's own file.

        Raises:
            ValueError: the network is one of this program's.
        """
        return self._parts()[1]

    @property
    def label(self) -> str:
        """The name without its folder: ``net.py:Net``."""
        return f"{_last_part(self._parts()[0])}:{self.class_name}" if self.is_own else str(self)

    @property
    def slug(self) -> str:
        """The name as a part of a folder's name: ``net-Net``; ``Net`` of ``net.py:Net``."""
        if not self.is_own:
            return _slug(self)
        same = self.path.stem.lower() == self.class_name.lower()
        return _slug(self.class_name if same else f"{self.path.stem}-{self.class_name}")

    def absolute(self, folder: Path) -> ModelName:
        """The same name with the path of the user's own file as seen from ``folder``.

        Raises:
            UsageError: the path is not valid UTF-8, so no configuration could hold it.
        """
        if not self.is_own:
            return self
        file, name = self._parts()
        return ModelName(f"{_absolute(file, folder)}:{name}")

    def _parts(self) -> tuple[str, str]:
        if not self.is_own:
            raise ValueError(f"{self} is not a class in a file")
        file, _, name = self.rpartition(":")
        return file, name

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> Any:
        """Validate as text, and serialise as plain text."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def is_own_data(dataset: str) -> bool:
    """Whether a data set's name, as a configuration holds it, is a path to the user's own files.

    A checkpoint may come from another system, so paths of both kinds count.
    """
    return any(kind(dataset).is_absolute() for kind in (PurePosixPath, PureWindowsPath))


def absolute_dataset(dataset: object, folder: Path) -> object:
    """A path to data made absolute, as seen from ``folder``; anything else unchanged.

    A name of the catalogue means that data set, even beside a folder of that name. The name of an
    existing folder or file is a path. So is a name that has a separator, begins with a dot or a
    tilde, or ends as a data file does.

    Raises:
        UsageError: the path is not valid UTF-8, so no configuration could hold it.
    """
    if not isinstance(dataset, str) or dataset == "auto" or catalogue.find(dataset):
        return dataset
    path = _absolute(dataset, folder)
    # os.path.exists is False for a name that is too long or has a null byte.
    return path if dataset and (_is_path(dataset) or os.path.exists(path)) else dataset  # noqa: PTH110


def absolute_checkpoint(name: object, folder: Path) -> object:
    """A path to a checkpoint made absolute, as seen from ``folder``; a run's number or name unchanged.

    Raises:
        UsageError: the path is not valid UTF-8, so no configuration could hold it.
    """
    if not isinstance(name, str) or not name.strip():
        return name
    path = _absolute(name, folder)
    return path if _is_path(name) or os.path.exists(path) else name  # noqa: PTH110


def dataset_label(name: str) -> str:
    """A data set's name, or the last part of the path to the user's own."""
    return (_last_part(name) or name) if is_own_data(name) else name


def dataset_slug(name: str) -> str:
    """A data set's name as a part of a folder's name: ``my-letters``."""
    return _slug(dataset_label(name))


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text)[:40].strip("-.") or "own"


def _last_part(path: str) -> str:
    """The last part of a path of this system or of Windows."""
    windows = PureWindowsPath(path)
    return windows.name if windows.is_absolute() else PurePath(path).name


def _absolute(path: str, folder: Path) -> str:
    """The absolute path, from its text alone: links are not followed."""
    found = os.path.normpath(Path.cwd() / folder / from_home(path))
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"the path {found!a} is not valid UTF-8, so no configuration can hold it",
            "Rename it.",
        ) from None
    return found


def _is_path(text: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return (
        text.startswith((".", "~"))
        or text.lower().endswith(_FILES)
        or any(separator in text for separator in separators)
    )
