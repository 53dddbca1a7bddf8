"""Names the contents of a file by its first bytes: readable rows of pixels, or something else.

Only the first bytes of a gzip are unpacked, and nothing in a file is ever executed.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Literal

from mnist_cli.base.files import absence, is_regular, is_there
from mnist_cli.errors import DamagedError, DataError

FileKind = Literal["csv", "npz", "parquet", "idx"]

READABLE = "a CSV of pixels, an .npz of NumPy, or Parquet"
GZIP = b"\x1f\x8b"
START = 4096
"""Number of bytes that are examined; a tar names its kind after 257."""

_MNIST_PICKLE = (
    "Its images are MNIST's: `mnist data fetch mnist` downloads them. If you trust the file, these "
    "two lines convert it:\n"
    'import gzip, numpy, pickle; t, v, s = pickle.load(gzip.open("mnist.pkl.gz"), encoding="bytes")\n'
    'numpy.savez("mnist.npz", x_train=t[0], y_train=t[1], x_val=v[0], y_val=v[1], x_test=s[0], '
    "y_test=s[1])"
)
_SAVEZ = (
    'Load it with {reader}, and save it with numpy.savez("data.npz", x_train=…, y_train=…, '
    "x_test=…, y_test=…)."
)
_PICKLE = (
    "`mnist data fetch mnist` downloads MNIST. Convert a file only if you trust it. "
    + _SAVEZ.format(reader="pickle.load or joblib.load")
)
_UNPACK = "Unpack it, and name the folder or file inside."
_TO_PARQUET = (
    "Write it as Parquet with pyarrow.parquet.write_table, or with datasets.load_from_disk and "
    "to_parquet."
)
_IS_PICTURE = "`mnist predict` classifies pictures; a data set has a folder of them for each class."

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG\r\n", "is one picture", _IS_PICTURE),
    (b"\xff\xd8\xff", "is one picture", _IS_PICTURE),
    (b"GIF8", "is one picture", _IS_PICTURE),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file", _SAVEZ.format(reader="h5py.File")),
    (b"MATLAB 5.0 MAT-file", "is a MATLAB file", _SAVEZ.format(reader="scipy.io.loadmat")),
    (b"MATLAB 7.3 MAT-file", "is a MATLAB file", _SAVEZ.format(reader="h5py.File")),
    (b"\x93NUMPY", "is a NumPy array (.npy)", _SAVEZ.format(reader="numpy.load")),
    (b"ARROW1", "is an Arrow file", _TO_PARQUET),
    (b"\xff\xff\xff\xff", "is an Arrow stream", _TO_PARQUET),
    (b"SQLite format 3\0", "is an SQLite database", "Export its table as CSV."),
    (b"BZh", "is compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "is compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "is a RAR archive", _UNPACK),
    (b"%PDF", "is a PDF", f"Name {READABLE}."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "Run git lfs pull."),
    (b"/annex/objects/", "is a git-annex pointer, not the file itself", "Run git annex get."),
    (b"\xff\xfe", "is text in UTF-16", "Save it as CSV in UTF-8."),
    (b"\xfe\xff", "is text in UTF-16", "Save it as CSV in UTF-8."),
)

_ARFF = re.compile(rb"\s*(%[^\n]*\s+)*@relation\b", re.IGNORECASE)
_LIBSVM = re.compile(rb"[-+\d.]+( \d+:[-+\d.e]+)+\s")
_TEXT_PICKLE = re.compile(rb"(\((lp|dp|t?c)|c)[\w.]*\n")


def kind_of(path: Path) -> FileKind:
    """The kind of a file.

    Raises:
        DataError: the file is missing, unreadable, or of an unsupported kind; names the kind and a
            fix.
        OSError: the system refuses access.
    """
    if not is_there(path):
        raise DataError(f"the file {path} {absence(path)}", f"Name {READABLE}.")
    if not is_regular(path):
        raise DataError(f"{path} is not a regular file", f"Name {READABLE}.")
    with path.open("rb") as file:
        start = file.read(START)
    if not start:
        raise DataError(f"{path} is empty", "Download it again, or name another file.")
    if start.startswith(b"PK\3\4") or start.startswith(b"PK\5\6"):
        _require_npz(path)
        return "npz"
    if start.startswith(b"PAR1"):
        return "parquet"
    return _of_content(path, _gunzipped(path) if start.startswith(GZIP) else start)


def _gunzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(START)
    except (EOFError, zlib.error, OSError) as error:
        raise DamagedError(f"{path}: the gzip stream is damaged ({error})") from error


def _of_content(path: Path, start: bytes) -> FileKind:
    """The kind by the first bytes, decompressed if the file is a gzip."""
    if start[:2] == b"\0\0" and len(start) > 3 and start[2] in range(8, 15) and 0 < start[3] < 5:
        return "idx"
    for magic, what, way_out in _MAGIC:
        if start.startswith(magic):
            raise DataError(f"{path} {what}", way_out)
    if (start[:1] == b"\x80" and start[1:2] < b"\x06") or _TEXT_PICKLE.match(start):
        raise DataError(
            f"{path} is a pickle, which can run code when it is read: refused",
            _MNIST_PICKLE if path.name == "mnist.pkl.gz" else _PICKLE,
        )
    if start[257:262] == b"ustar":
        raise DataError(f"{path} is a tar archive", _UNPACK)
    # A length of 8 bytes, its checksum of 4, then the first field of a protocol buffer.
    if start[4:8] == bytes(4) and start[:4] > bytes(4) and start[12:13] == b"\n":
        raise DataError(
            f"{path} seems to be a TensorFlow TFRecord",
            _SAVEZ.format(reader="tf.data.TFRecordDataset"),
        )
    return _of_text(path, start)


def _of_text(path: Path, start: bytes) -> FileKind:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        raise DataError(
            f"{path} is a web page, such as an error or log-in page", "Download it again."
        )
    if _ARFF.match(text):
        raise DataError(
            f"{path} is an ARFF file",
            "MNIST itself: `mnist data fetch mnist`. Others: "
            + _SAVEZ.format(reader="scipy.io.arff"),
        )
    if _LIBSVM.match(text):
        reader = "sklearn.datasets.load_svmlight_file"
        raise DataError(f"{path} is in LIBSVM's format", _SAVEZ.format(reader=reader))
    if text.startswith((b"{", b"[")):
        raise DataError(f"{path} is JSON", f"Name {READABLE}.")
    if b"\0" in start or any(byte < 9 or 13 < byte < 32 for byte in start):
        raise DataError(
            f"{path} is not {READABLE}: it begins with {start[:4].hex(' ')}",
            "Name such a file, or a folder that holds one folder of images per class.",
        )
    return "csv"


def _require_npz(path: Path) -> None:
    """Refuse a zip that is not NumPy's, and name its kind."""
    from mnist_cli.data.zip_entries import entries

    with entries(path) as (_, listing):
        names = [one.filename for one in listing]
    if names and all(name.endswith(".npy") for name in names):
        return
    if "[Content_Types].xml" in names:
        raise DataError(f"{path} is an Excel workbook", "Save its sheet as CSV.")
    if any(name.endswith("/data.pkl") for name in names):
        raise DataError(
            f"{path} is a torch.save file, not a data set",
            'Save its tensors with numpy.savez("data.npz", x_train=…, y_train=…).',
        )
    listed = ", ".join(ascii(name)[1:-1] for name in names[:3])
    more = ", …" if len(names) > 3 else ""
    raise DataError(f"{path} is a zip archive" + (f" of {listed}{more}" if names else ""), _UNPACK)
