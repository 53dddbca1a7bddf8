"""Networks and data of the user's own, told by where they lie: ``path/net.py:Net``, ``path/to/data``.

Names become absolute where they are typed, so that they mean the same to every process that the
configuration travels to. What a configuration file names lies where that file lies. Reads nothing,
imports nothing heavy: :mod:`mnist_cli.networks.own_network` and :mod:`mnist_cli.data.own` do.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from mnist_cli import catalogue
from mnist_cli.errors import UsageError

EXAMPLE = "path/to/net.py:Net"


@dataclass(frozen=True)
class NetworkPlace:
    """A class in a Python file."""

    path: Path
    name: str

    @property
    def label(self) -> str:
        """What it is called where the folder does not matter: ``net.py:Net``."""
        return f"{_name(str(self.path))}:{self.name}"


def network_place(model: str) -> NetworkPlace | None:
    """The file and the class that ``path/net.py:Net`` means; None for any other text."""
    path, colon, name = model.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        return None
    return NetworkPlace(Path(path), name)


def is_own_network(model: str) -> bool:
    """Whether a network's name means a file of the user's."""
    return network_place(model) is not None


def is_file_alone(model: str) -> bool:
    """Whether it names a Python file without saying which class of it."""
    return model.removesuffix(":").endswith(".py")


def is_own_data(dataset: str) -> bool:
    """Whether a data set's name, as a configuration holds it, means files of the user's.

    A checkpoint may come from another system, so the paths of both kinds count.
    """
    return any(kind(dataset).is_absolute() for kind in (PurePosixPath, PureWindowsPath))


def absolute_network(model: object, folder: Path) -> object:
    """``path/net.py:Net`` as seen from ``folder``, made absolute; anything else as it is."""
    place = network_place(model) if isinstance(model, str) else None
    return f"{_absolute(str(place.path), folder)}:{place.name}" if place is not None else model


def seen_from_here(model: str | None) -> str | None:
    """What a flag names as a network, a file of the user's own by its absolute path."""
    return None if model is None else str(absolute_network(model, Path()))


def absolute_dataset(dataset: object, folder: Path) -> object:
    """A path to data as seen from ``folder``, made absolute; anything else as it is.

    A name of the catalogue is that data set's, even beside a folder of that name; what has a
    separator in it, or begins with a dot or a tilde, is a path; so is the name of a folder.
    """
    if not isinstance(dataset, str) or dataset == "auto" or catalogue.find(dataset):
        return dataset
    if _is_path(dataset) or _is_folder(_absolute(dataset, folder)):
        return _absolute(dataset, folder)
    return dataset


def label(name: str) -> str:
    """What a network or a data set is called where its folder does not matter."""
    place = network_place(name)
    if place is not None:
        return place.label
    return (_name(name) or name) if is_own_data(name) else name


def slug(name: str) -> str:
    """A network's or data set's name as a part of a folder's name: ``net-Net``, ``my-letters``."""
    place = network_place(name)
    text = f"{place.path.stem}-{place.name}" if place is not None else label(name)
    if place is not None and place.path.stem.lower() == place.name.lower():
        text = place.name
    return re.sub(r"[^\w.]+", "-", text)[:40].strip("-.") or "own"


def _name(path: str) -> str:
    """The last part of a path, be it one of Windows."""
    windows = PureWindowsPath(path)
    return windows.name if windows.is_absolute() else PurePath(path).name


def _absolute(path: str, folder: Path) -> str:
    """Without a look at the file system: links stay what they are.

    Raises:
        UsageError: it is no text, which a configuration could hold.
    """
    try:
        known = Path(path).expanduser()
    except RuntimeError:  # a user without a home
        known = Path(path)
    found = os.path.normpath(Path.cwd() / folder / known)
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"the path {found!a} holds bytes that are no UTF-8 text, and a configuration is text",
            "Rename it.",
        ) from None
    return found


def _is_path(text: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return text.startswith((".", "~")) or any(separator in text for separator in separators)


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
