"""Hostile, damaged and foreign files: always a CheckpointError, and none of their code runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_files import load, refused, saved, saved_long_ago, zip_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_files import Proof

from mnist_cli.checkpoints import archive, zips
from mnist_cli.checkpoints.archive import load_archive
from mnist_cli.checkpoints.checkpoint import encode
from mnist_cli.errors import CheckpointError

WEIGHT = torch.arange(300.0)
DOCUMENT = {"weights": {"a": WEIGHT, "b": torch.ones(3, 2)}, "epoch": 3, "name": "x"}
GOOD = saved(DOCUMENT)


def rezip(
    data: bytes,
    change: Callable[[str, bytes], bytes | None] = lambda _name, content: content,
    more: tuple[tuple[str, bytes], ...] = (),
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """The same archive through zipfile, entries changed, left out (None) or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for entry in old.infolist():
            content = change(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
        for name, content in more:
            new.writestr(name, content)
    return out.getvalue()


def test_what_torch_save_wrote_is_read(tmp_path: Path) -> None:
    """Also after another program has zipped it again, and without checksums."""
    torch.serialization.set_crc32_options(False)
    try:
        unchecked, written = saved(DOCUMENT), encode(DOCUMENT)
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(io.BytesIO(unchecked)).testzip()
    assert zipfile.ZipFile(io.BytesIO(written)).testzip() is None
    for data in (GOOD, rezip(GOOD), unchecked, written):
        (tmp_path / "a.pt").write_bytes(data)
        document = load_archive(tmp_path / "a.pt").document
        assert document.keys() == DOCUMENT.keys()
        assert torch.equal(document["weights"]["a"], WEIGHT)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_dtype_is_read_as_torch_reads_it(tmp_path: Path, protocol: int) -> None:
    base = torch.arange(6, dtype=torch.float32)
    dtypes = (torch.bfloat16, torch.complex64, torch.bool, torch.uint16, torch.float8_e5m2)
    document = {str(dtype): torch.ones(3).to(dtype) for dtype in dtypes}
    document |= {"all": base, "part": base[2:4], "last": base[5:]}
    (tmp_path / "a.pt").write_bytes(saved(document, pickle_protocol=protocol))
    found = load_archive(tmp_path / "a.pt").document
    for name, tensor in document.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].view(torch.uint8).equal(tensor.view(torch.uint8)), name
    found["all"].zero_()
    assert not found["last"].any()


@pytest.mark.parametrize("tensor", [WEIGHT, WEIGHT.to(torch.int64), WEIGHT.to(torch.complex64)])
def test_a_file_of_a_big_endian_machine_is_turned(tmp_path: Path, tensor: torch.Tensor) -> None:
    width = torch.view_as_real(tensor).element_size() if tensor.is_complex() else tensor.itemsize

    def turn(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        if "/data/" not in name:
            return content
        parts = range(0, len(content), width)
        return b"".join(content[at : at + width][::-1] for at in parts)

    path = tmp_path / "a.pt"
    path.write_bytes(rezip(saved({"a": tensor}), turn))
    assert load_archive(path).document["a"].equal(tensor)
    assert torch.load(path, weights_only=True)["a"].equal(tensor)


@pytest.mark.parametrize("new", [False, True])
def test_a_tensor_whose_bytes_are_to_be_negated_is_refused(tmp_path: Path, new: bool) -> None:
    turned = torch.full((3,), 1j).conj()
    for tensor in (turned, turned.imag):
        data = saved({"a": tensor}, _use_new_zipfile_serialization=new)
        assert "resolve_neg()" in refused(tmp_path, data).hint


# --- damage


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    for length in [0, 1, 3, 4, 30, 100, 500, *range(-1000, 0, 90), -22, -5, -1]:
        refused(tmp_path, GOOD[:length])


def test_a_flipped_bit_in_any_entry_is_refused(tmp_path: Path) -> None:
    """torch itself reads such a file without a word; see the module's docstring."""
    with zipfile.ZipFile(io.BytesIO(GOOD)) as whole:
        names = [entry.filename for entry in whole.infolist() if entry.file_size]
        contents = {name: whole.read(name) for name in names}
    for name in names:
        at = GOOD.index(contents[name])
        spoilt = bytearray(GOOD)
        spoilt[at + len(contents[name]) // 2] ^= 0x10
        assert "checksum" in refused(tmp_path, bytes(spoilt)).message, name


@pytest.mark.parametrize("by", [1, 255])
def test_a_byte_of_the_directory_changed_by_one_is_refused_or_changes_nothing(
    tmp_path: Path, by: int
) -> None:
    """One byte of an entry's size made its byte order unknown, and so the weights wrong."""
    path = tmp_path / "a.pt"
    for place in range(GOOD.index(b"PK\x01\x02"), len(GOOD)):
        spoilt = bytearray(GOOD)
        spoilt[place] = (spoilt[place] + by) % 256
        path.write_bytes(spoilt)
        with contextlib.suppress(CheckpointError):
            assert torch.equal(load_archive(path).document["weights"]["a"], WEIGHT), place


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_changed_anywhere_never_raise_anything_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    spoilt = bytearray(GOOD)
    # Near the ends are the headers and the directory, of which there is more to get wrong.
    places = st.one_of(
        st.integers(0, len(GOOD) - 1),
        st.integers(len(GOOD) - 600, len(GOOD) - 1),
        st.integers(0, 99),
    )
    for _ in range(data.draw(st.integers(1, 6))):
        spoilt[data.draw(places)] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.pt"
    path.write_bytes(spoilt)
    try:
        document = load_archive(path).document
    except CheckpointError:
        return
    # Then the change is in padding, or in a field that neither reader uses.
    assert torch.equal(document["weights"]["a"], WEIGHT)


@given(st.binary(max_size=60))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_pickle_inside_is_refused_or_a_mapping(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(_with_pickle(program))
    try:
        load_archive(tmp_path / "a.pt")
    except CheckpointError as error:
        assert error.hint  # noqa: PT017


# --- shapes of files


SCRIPT = {
    "m/data.pkl": pickle.dumps({}),
    "m/constants.pkl": pickle.dumps(()),
    "m/code/__torch__.py": b"def forward(self): pass",
}


def _claiming() -> bytes:
    """Sizes in the directory, which is at the end: 20 bytes after each entry's signature."""
    spoilt = bytearray(GOOD)
    struct.pack_into("<II", spoilt, spoilt.index(b"PK\x01\x02") + 20, 1 << 30, 1 << 30)
    return bytes(spoilt)


def _encrypted() -> bytes:
    spoilt = bytearray(GOOD)
    spoilt[spoilt.index(b"PK\x01\x02") + 8] |= 1
    return bytes(spoilt)


def _with_pickle(program: bytes) -> bytes:
    return rezip(GOOD, lambda name, old: program if name.endswith("data.pkl") else old)


def _stretched() -> bytes:
    """BININT2 300, the number of elements in the pickle, made 65,535."""

    def claim(name: str, old: bytes) -> bytes:
        return old.replace(b"M\x2c\x01", b"M\xff\xff") if name.endswith("data.pkl") else old

    return rezip(GOOD, claim)


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "TorchScript": (lambda: zip_of(SCRIPT), "a TorchScript archive"),
    "a zip of something else": (
        lambda: zip_of({"readme": b"hello"}),
        "not one that torch.save wrote",
    ),
    "an empty zip": (lambda: zip_of({}), "an empty zip"),
    "compressed": (
        lambda: rezip(GOOD, compression=zipfile.ZIP_DEFLATED),
        "entries are not compressed",
    ),
    "a missing weight": (
        lambda: rezip(GOOD, lambda name, old: None if name.endswith("data/0") else old),
        "cannot be read",
    ),
    "a short weight": (
        lambda: rezip(GOOD, lambda name, old: old[:-8] if name.endswith("data/0") else old),
        "Copy or download it again",
    ),
    "a tensor": (lambda: saved(torch.ones(2)), "holds a Tensor"),
    "before a zip": (lambda: b"#!/bin/sh\n" + GOOD, "its format is unknown"),
    "two zips": (lambda: GOOD[: len(GOOD) // 2] + GOOD, "refused"),
    "a comment with a directory in it": (
        lambda: GOOD[:-2] + struct.pack("<H", 22) + GOOD[-22:],
        "",
    ),
    "an entry of more bytes than the file has": (_claiming, "claim more bytes"),
    "an encrypted entry": (_encrypted, "damaged"),
    "a tensor of more elements than its bytes": (_stretched, "refused"),
    "a deep pickle": (lambda: _with_pickle(b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000), ""),
}


@pytest.mark.parametrize("case", FILES)
def test_other_files_are_refused_with_their_reason(tmp_path: Path, case: str) -> None:
    make, words = FILES[case]
    assert words in str(refused(tmp_path, make()))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    evil = ((f"{_folder()}/data.pkl", pickle.dumps({"a": 1})),)
    assert "two with the same name" in refused(tmp_path, rezip(GOOD, more=evil)).message


def _folder() -> str:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as whole:
        return whole.namelist()[0].partition("/")[0]


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_ENTRIES", 4)
    assert "too many entries" in refused(tmp_path, GOOD).message


def test_too_large_a_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    with path.open("wb") as file:
        file.truncate(archive.MAX_BYTES + 1)  # sparse: no byte is written
    monkeypatch.setattr(Path, "read_bytes", lambda _self: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match="a checkpoint has at most"):
        load_archive(path)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("zipfile.ZipFile.testzip", MemoryError()),
        ("torch.empty", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
    ],
)
def test_memory_that_runs_out_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    def fail(*_values: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(
        CheckpointError, match=r"needs more memory than is available\nClose other programs"
    ):
        load(tmp_path, GOOD)


# --- code


@pytest.mark.parametrize("unsafe_switch", [False, True])
@pytest.mark.parametrize("format", ["zip", "legacy", "pickle"])
def test_code_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsafe_switch: bool, format: str
) -> None:
    proof = tmp_path / "proof"
    if unsafe_switch:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    document = {"state_dict": {"a": torch.ones(2)}, "more": Proof(proof)}
    data = {
        "zip": lambda: saved(document),
        "legacy": lambda: saved_long_ago(document),
        "pickle": lambda: pickle.dumps(document),
    }[format]()
    error = refused(tmp_path, data)
    assert not proof.exists()
    assert "posix.mkdir, which could run code" in error.message
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == ("1" if unsafe_switch else None)


# --- paths


def test_a_missing_file_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "gone.pt", "does not exist"),
        (tmp_path, "it is not a file"),
        (Path(os.devnull), "it is not a file"),
        (tmp_path / ("x" * 300), "cannot read"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_archive(path)
