"""Names files that are not checkpoints, by their first bytes or entries, and suggests a fix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mnist_cli.checkpoints.contents import AGAIN, Damaged, Unacceptable, safe_text

_HEAD = 4096
_TABLE = bytes.fromhex("57fb808b247547db")  # ends LevelDB's tables
_WEIGHTS = "torch.save(model.state_dict(), 'weights.pt')"
_PROGRAM = (
    f"Use the checkpoint that it was exported from, or save that network's weights: {_WEIGHTS}."
)
_DOWNLOAD = "Download the file itself: on GitHub, with the button for the raw file."
_TEXT = (
    "Name a run or its checkpoint. If you downloaded the file from GitHub, use the button for the "
    "raw file."
)
_UNPACK = "Unpack it first, and name the checkpoint inside."
OTHER = (
    "Only PyTorch's weights are read: load them with the library that wrote the file, copy them "
    f"into a PyTorch network, and save that with {_WEIGHTS}."
)
_CHECKPOINTS = "A checkpoint comes from torch.save or safetensors."
_DATA = f"It may hold data, not weights. {_CHECKPOINTS}"
_LFS = "Fetch the file itself: git lfs pull."


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: completes "it is …".
        pattern: matches its first bytes; for a zip, the name of one of its entries.
        hint: the suggested fix.
    """

    name: str
    pattern: bytes
    hint: str


KINDS = (
    Kind("a Git LFS pointer, not the file itself", rb"version https?://git-lfs", _LFS),
    Kind("a git-annex pointer, not the file itself", rb"/annex/objects/", "Run git annex get."),
    Kind(
        "a web page, not a checkpoint",
        rb"(?i)\s*<(!doctype html|!--|(html|head|body|title|meta|h1|p)\b)",
        _DOWNLOAD,
    ),
    Kind("an OpenVINO model", rb"\s*(<\?xml[^>]*>)?\s*<net ", _PROGRAM),
    Kind("an XML document, such as a server's error message", rb"\s*<\?xml|\s*<Error>", _DOWNLOAD),
    Kind("a Python script", rb"#!.*python|import \w+|from \w+[\w.]* import", _DATA),
    Kind("a Keras or HDF5 file", rb"\x89HDF\r\n\x1a\n", OTHER),
    Kind("a numpy array (.npy)", rb"\x93NUMPY", "Save the weights with torch.save."),
    Kind("a GGUF file", rb"GGUF", OTHER),
    Kind("a GGML file", rb"lmgg|tjgg|fmgg", OTHER),
    Kind("a TensorFlow Lite model", rb".{4}TFL3", OTHER),
    Kind("an ONNX Runtime model", rb".{4}ORTM", _PROGRAM),
    Kind("an ExecuTorch program", rb".{4}ET\d\d", _PROGRAM),
    Kind(
        "a TensorFlow model",
        rb"\x08\x01\x12|\n.{1,3}\n.{1,80}\x12.{1,2}(Placeholder|Const)",
        OTHER,
    ),
    Kind(
        "an ONNX model: a program, not weights",
        rb"\x08[\x02-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]",
        _PROGRAM,
    ),
    Kind("an empty zip", rb"PK\x05\x06", AGAIN),
    Kind("a gzip archive", rb"\x1f\x8b", _UNPACK),
    Kind("a bzip2 archive", rb"BZh\d", _UNPACK),
    Kind("an xz archive", rb"\xfd7zXZ\0", _UNPACK),
    Kind("an lzma archive", rb"\]\0\0", _UNPACK),
    Kind("a Zstandard archive", rb"\x28\xb5\x2f\xfd", _UNPACK),
    Kind("a 7-Zip archive", rb"7z\xbc\xaf\x27\x1c", _UNPACK),
    Kind("a RAR archive", rb"Rar!", _UNPACK),
    Kind("a tar archive of other files", rb".{257}ustar", _UNPACK),
    Kind(
        "an object of joblib", rb"\x78[\x01\x5e\x9c\xda]|ZF0x|.{0,4000}joblib\.numpy_pickle", OTHER
    ),
    Kind("an R object", rb"RDX[23]\n|X\n\0\0\0", OTHER),
    Kind("a MATLAB file", rb"MATLAB [57]\.\d", OTHER),
    Kind("a Torch7 file", rb"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", OTHER),
    Kind("a PNG picture, not a checkpoint", rb"\x89PNG\r\n", "Classify pictures with predict."),
    Kind("a JPEG picture, not a checkpoint", rb"\xff\xd8\xff", "Classify pictures with predict."),
    Kind("a GIF picture, not a checkpoint", rb"GIF8[79]a", "Classify pictures with predict."),
    Kind("a PDF document", rb"%PDF", _DATA),
    Kind("a Parquet file", rb"PAR1", _DATA),
    Kind("an SQLite database", rb"SQLite format 3\0", _DATA),
    Kind("a program", rb"\x7fELF|MZ\x90|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe", _DATA),
    Kind("an IDX file of MNIST's kind", rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x04]", _DATA),
    Kind("a Jupyter notebook", rb'\s*\{\s*("metadata".*)?"(cells|nbformat)"\s*:', _DATA),
    Kind(
        "an index of several files, not weights",
        rb'\s*\{\s*("metadata".*)?"weight_map"\s*:',
        "Join the files that it lists into one, which holds all weights.",
    ),
    Kind("JSON text, not a checkpoint", rb"\s*[\[{]\s*([\"\[{\]}]|-?\d|$)", _TEXT),
)
"""By the first bytes; the first match counts. The order matters: later kinds may match too."""

PROGRAMS = (
    Kind(
        "a TorchScript archive: a program, not weights",
        rb"(.*/)?(code/.*|constants\.pkl$)",
        "If you trust its source: torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), "
        "'weights.pt').",
    ),
    Kind(
        "a torch.export program (.pt2), not weights",
        rb"(.*/)?(archive_format$|serialized_exported_program|models/.*\.json$)",
        "If you trust its source: torch.save(dict(torch.export.load(FILE).state_dict), "
        "'weights.pt').",
    ),
    Kind("a model of torch.package", rb"(.*/)?\.data/(extern_modules|python_version)$", _PROGRAM),
)
"""By the names of a zip's entries, even if it has the entry that torch.save writes."""

ZIPS = (
    Kind("a Keras model", rb".*\.weights\.h5$", OTHER),
    Kind(
        "a file of numpy arrays (.npz), not a checkpoint",
        rb".*\.npy$",
        "Save them as tensors: torch.save({name: torch.from_numpy(array) for name, array in "
        "np.load(FILE).items()}, 'weights.pt').",
    ),
    Kind("a model of Stable-Baselines3", rb"policy\.pth$", _UNPACK),
    Kind(
        "a zip around a checkpoint", rb".*\.(pt|pth|ckpt|bin|tar|safetensors|pkl|pickle)$", _UNPACK
    ),
    Kind("an office document", rb"\[Content_Types\]\.xml$|mimetype$", _DATA),
)
"""By the names of a zip's entries, if it has no entry that torch.save writes."""


def known_kind(data: bytes) -> Unacceptable | None:
    """Why a file of a known kind is refused: no reader supports it. None for other files."""
    head = _head(data)
    if data.endswith(_TABLE):
        return Unacceptable("it is a TensorFlow checkpoint", OTHER)
    for kind in KINDS:
        if re.match(kind.pattern, head, re.DOTALL):
            return Unacceptable(f"it is {kind.name}", kind.hint)
    text = _text(head)
    if text:
        return Unacceptable(f"it is text, not a checkpoint: '{safe_text(text, 40)}'", _TEXT)
    return None


def unknown_kind(data: bytes) -> Unacceptable:
    """Why a file of an unknown kind is refused."""
    head = _head(data)
    if not head.strip(b"\0"):
        return Damaged("it begins with zeros: the file is damaged")
    return Unacceptable(
        f"its format is unknown; its first bytes are {head[:8].hex(' ')}", _CHECKPOINTS
    )


def _head(data: bytes) -> bytes:
    return data[:_HEAD].removeprefix(b"\xef\xbb\xbf")


def _text(head: bytes) -> str:
    """The first line, if all is text."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    plain = all(one.isprintable() or one.isspace() for one in text)
    return next(iter(text.split("\n")), "").strip() if plain else ""


def name_zip(names: Iterable[str], kinds: tuple[Kind, ...]) -> None:
    """Refuse a zip with entries of another kind of file.

    Raises:
        Unacceptable: it has such entries.
    """
    listed = [name.encode(errors="replace") for name in names]
    for kind in kinds:
        if any(re.match(kind.pattern, name) for name in listed):
            raise Unacceptable(f"it is {kind.name}", kind.hint)
