"""Finds the pictures of a folder: ``path/CLASS/…``, or ``path/train/CLASS/…`` and others.

Classes have their folders' names, in alphabetical order, or in numerical order if all are numbers.
Folders inside a class's folder belong to the class; links to folders there are not followed.
Folders made by programs and systems, such as the runs of this program, are not classes.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.base.files import absence
from mnist_cli.data import own_csv
from mnist_cli.data.file_kinds import kind_of
from mnist_cli.data.records import MAX_IMAGES, check_count, listed
from mnist_cli.data.split_names import SplitPart, in_words, split_of
from mnist_cli.errors import DataError
from mnist_cli.vision.image_files import is_picture_name

LISTED = 5
"""Maximum number of pictures that a message names."""
DEEPEST = 5
"""Maximum number of nested folders around the folders of the classes."""

_LAYOUT = (
    "Images of each class go into a folder of their own: path/CLASS/….png, or "
    "path/train/CLASS/….png and path/test/CLASS/….png. If the labels are in a CSV, move each image "
    "into the folder of its label."
)
_IDX = (
    "Put the IDX files into one folder, under MNIST's names: train-images-idx3-ubyte, "
    "train-labels-idx1-ubyte and so on."
)
_NO_CLASSES = {
    *("lost+found", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin"),
    *("system volume information", "node_modules"),
}
"""Names that systems give to folders, in lower case; hidden folders and ``__MACOSX`` also count."""
_RUN_FILES = ("metrics.jsonl", "environment.json", "config.toml", "run.lock")
_RUN = re.compile(r"\.?\d{4,}-.+")

Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Layout:
    """The pictures by class; ``test`` and ``val`` are empty if there is no such set."""

    train: Files
    test: Files
    val: Files
    folders: tuple[Path, ...]
    remarks: tuple[str, ...]


def find(root: Path) -> Layout:
    """The pictures of ``root`` by split and class, without opening any.

    Raises:
        DataError: the layout is not supported.
    """
    place = _place(root)
    folders = folders_of(place)
    splits = _splits(place, folders)
    for one in (place, *map(_inmost, splits.values())):
        _refuse_broken_links(one)
    if "train" not in splits and "test" in splits:
        raise DataError(f"{place} has {splits['test'].name}/, but no train/ beside it", _LAYOUT)
    if "train" not in splits:
        _refuse_nested(place, folders)
    inside = folders_of(_inmost(splits["train"])) if "train" in splits else folders
    if not inside:
        raise _named(place, f"{place} holds {_instead(place)}")
    other = Counter[str]()
    classes = {one.name: _pictures(one, other) for one in _ordered(inside)}
    _require_pictures(inside[0].parent, classes)
    tests = {
        split: _tested(_inmost(splits[split]), classes, other)
        for split in ("val", "test")
        if split in splits
    }
    check_count(root, sum(map(count, (classes, *tests.values()))))
    remarks = [*_elsewhere(root, place, splits), *_ignored(place, folders, splits, other)]
    inner = [one for split in tests for one in folders_of(_inmost(splits[split]))]
    return Layout(
        classes, tests.get("test", {}), tests.get("val", {}), (*inside, *inner), tuple(remarks)
    )


def count(files: Files) -> int:
    """The number of pictures."""
    return sum(map(len, files.values()))


def folders_of(folder: Path) -> list[Path]:
    """The folders inside ``folder`` that may be classes."""
    return sorted(one for one in folder.iterdir() if one.is_dir() and not _is_no_class(one))


def _is_no_class(folder: Path) -> bool:
    name = folder.name
    if name.startswith((".", "__")) or name.lower() in _NO_CLASSES:
        return True
    try:
        return (folder / "pyvenv.cfg").is_file() or holds_runs(folder)
    except PermissionError:  # reading its pictures will say so
        return False


def holds_runs(folder: Path) -> bool:
    """Whether it is a run directory of this program, or a folder of run directories."""
    return _is_run(folder) or any(
        _RUN.fullmatch(one.name) and one.is_dir() and _is_run(one) for one in folder.iterdir()
    )


def _is_run(folder: Path) -> bool:
    return sum((folder / name).is_file() for name in _RUN_FILES) > 1


def _place(root: Path) -> Path:
    """The folder of the splits or classes: ``root``, or the only folder in it, and so on."""
    place = root
    for _ in range(DEEPEST):
        inner = folders_of(place)
        nested = len(inner) == 1 and folders_of(inner[0]) and not _has_pictures(inner[0])
        if not nested or _has_pictures(place) or split_of(inner[0].name) is not None:
            break
        place = inner[0]
    return place


def _inmost(folder: Path) -> Path:
    """The folder itself, or a folder of the same name in it, as in some of Kaggle's archives."""
    for _ in range(DEEPEST):
        inner = folders_of(folder)
        if [one.name for one in inner] != [folder.name] or _has_pictures(folder):
            break
        folder = inner[0]
    return folder


def _has_pictures(folder: Path) -> bool:
    return any(map(is_picture_name, folder.iterdir()))


def holds_pictures(folder: Path, depth: int = 2) -> bool:
    """Whether it holds pictures, itself or in folders up to ``depth`` levels below."""
    return _has_pictures(folder) or (
        depth > 0 and any(holds_pictures(one, depth - 1) for one in folders_of(folder))
    )


def _holds_classes(folder: Path) -> bool:
    """Whether it has folders and, outside them, no pictures."""
    inmost = _inmost(folder)
    return bool(folders_of(inmost)) and not _has_pictures(inmost)


def _splits(place: Path, folders: Sequence[Path]) -> dict[SplitPart, Path]:
    """The folders that hold the classes of a split, by their names: ``train``, ``trainingSet``.

    A name that merely contains such a word counts if no folder beside it can be a class.

    Raises:
        DataError: two folders match a split.
    """
    matches: dict[SplitPart, list[Path]] = {}
    classes = [one for one in folders if not split_of(one.name) and _pictures(one, Counter())]
    for one in folders:
        split = split_of(one.name)
        # Without any other class, pictures beside several folders do not make a split a class.
        if split and (
            (_holds_classes(one) and (not classes or one.name.isalpha()))
            or (not classes and len(folders_of(_inmost(one))) > 1)
        ):
            matches.setdefault(split, []).append(one)
    return {split: _likeliest(place, split, paths) for split, paths in matches.items()}


def _likeliest(place: Path, split: str, paths: Sequence[Path]) -> Path:
    """The folder of that name, or the only folder that is not a sample."""
    for good in (
        [one for one in paths if one.name.lower() in (split, f"{split}ing")],
        [one for one in paths if "sample" not in one.name.lower()],
        paths,
    ):
        if len(good) == 1:
            return good[0]
    names = " and ".join(f"{one.name}/" for one in paths[:LISTED])
    raise DataError(
        f"{place} has {names}: which one holds the data?", f"Name one, such as {paths[0]}."
    )


def _refuse_nested(place: Path, folders: Sequence[Path]) -> None:
    """Refuse folders if all of them hold folders of classes, or are named as splits."""
    names = listed([f"{one.name}/" for one in folders], LISTED)
    if len(folders) > 1 and all(map(_holds_classes, folders)):
        raise DataError(
            f"{place}: its folders {names} hold folders in turn, so they are not classes",
            f"Name the folder that holds the classes, such as {_inmost(folders[0])}. If "
            f"{folders[0].name}/ is a class, move its pictures out of the inner folders.",
        )
    splits = {split for one in folders if (split := split_of(one.name))}
    if len(splits) == len(folders) > 1 and all(map(_has_pictures, folders)):
        raise DataError(f"{place}: in {names} there is no folder for each class", _LAYOUT)


def _refuse_broken_links(place: Path) -> None:
    """Refuse a broken link that may stand for a split, or for a class as the folders beside it do."""
    beside = [one.name for one in folders_of(place)]
    numbers = bool(beside) and all(map(str.isdecimal, beside))
    for one in sorted(place.iterdir()):
        is_class = (
            one.name.isdecimal() if numbers else not (one.suffix or any(map(split_of, beside)))
        )
        if one.name.startswith((".", "__")) or one.name.lower() in _NO_CLASSES:
            continue
        if (is_class or split_of(one.name)) and one.is_symlink() and not one.exists():
            raise DataError(f"{one} {absence(one)}", "Repair the link, or remove it.")


def _ordered(folders: Sequence[Path]) -> list[Path]:
    numbers = all(one.name.isdecimal() for one in folders)
    return sorted(folders, key=lambda one: (int(one.name) if numbers else 0, one.name))


def _instead(root: Path) -> str:
    if _has_pictures(root):
        return "images, but no folder for each class"
    if holds_runs(root):
        return "runs of this program, not images"
    return "neither folders of images nor IDX files, nor a CSV, npz or Parquet file of images"


def _pictures(folder: Path, other: Counter[str]) -> tuple[Path, ...]:
    """The pictures in ``folder``, by their file extensions, in the order of their paths.

    Other files, and links to folders, are counted in ``other``.
    """
    pictures = []
    for place, inner, names in os.walk(folder, onerror=_raise):
        other.update("a link to a folder" for one in inner if Path(place, one).is_symlink())
        inner[:] = sorted(
            one
            for one in inner
            if not one.startswith((".", "__")) and one.lower() not in _NO_CLASSES
        )
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place) / name
                if is_picture_name(path):
                    pictures.append(path)
                else:
                    other[path.suffix.lower()] += 1
        if len(pictures) > MAX_IMAGES:
            break
    return tuple(pictures)


def _raise(error: OSError) -> None:
    raise error


def _require_pictures(folder: Path, classes: Files) -> None:
    empty = [name for name, files in classes.items() if not files]
    if empty:
        plural = "s" if len(empty) > 1 else ""
        raise _named(
            folder / empty[0], f"{folder}: no images in the folder{plural} {listed(empty)}"
        )


def _named(folder: Path, message: str) -> DataError:
    """The error for a folder without images; it names the first file that holds other data."""
    files = (one for one in sorted(folder.iterdir()) if not one.name.startswith("."))
    for path in itertools.islice(filter(_has_bytes, files), LISTED):
        try:
            kind = kind_of(path)
            if kind == "idx":
                return DataError(f"{message}. {path} is an IDX file", _IDX)
            if path.suffix.lower() in (".csv", ".tsv") and not _has_pictures(folder):
                own_csv.columns_of(path)
        except DataError as error:
            return DataError(f"{message}. {error.message}", error.hint or _LAYOUT)
        except OSError:
            continue
    return DataError(message, _LAYOUT)


def _has_bytes(path: Path) -> bool:
    return path.is_file() and not is_picture_name(path) and path.stat().st_size > 0


def _tested(test: Path, classes: Files, other: Counter[str]) -> Files:
    folders = folders_of(test)
    unknown = [one.name for one in folders if one.name not in classes]
    if unknown:
        raise DataError(
            f"{test} has the class{'es' if len(unknown) > 1 else ''} {listed(unknown)} "
            "without training images",
            f"The classes are {listed(list(classes), 20)}.",
        )
    files = {one.name: _pictures(one, other) for one in folders}
    if not any(files.values()):
        raise DataError(f"{test} has no images", _LAYOUT)
    return files


def _elsewhere(root: Path, place: Path, splits: Mapping[SplitPart, Path]) -> Iterator[str]:
    """Remarks on images in unusual places."""
    if place != root:
        yield f"the images are in {place.relative_to(root)}/"
    for split, folder in splits.items():
        if split == "val":
            yield f"{folder.name}/ is the validation set"
        elif folder.name.lower() not in (split, f"{split}ing"):
            yield f"{folder.name}/ holds the {in_words(split)} images"


def _ignored(
    place: Path, folders: Sequence[Path], splits: Mapping[SplitPart, Path], other: Counter[str]
) -> Iterator[str]:
    """Remarks on folders and files that were not used."""
    for folder in (place, *map(_inmost, splits.values())):
        if loose := sorted(filter(is_picture_name, folder.iterdir())):
            more = f" and {len(loose) - 1:,} more" if len(loose) > 1 else ""
            yield f"not used: {loose[0].relative_to(place).as_posix()}{more}, outside the class folders"
    apart = [one.name for one in folders if splits and one not in splits.values()]
    if apart:
        yield f"not used: {', '.join(f'{name}/' for name in apart)}"
    if other:
        kinds = ", ".join(sorted(kind or "no extension" for kind in other)[:LISTED])
        files = "file" if other.total() == 1 else "files"
        yield f"not pictures, ignored: {other.total():,} {files} ({kinds})"
