"""What a fetch leaves: whole files that torchvision reads, healed where they were damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from fetching import Serve, expected, files_in, run
from filelock import FileLock
from made_up import Made, lay, make
from systems import needs_posix

from mnist_cli.data import fetch, store
from mnist_cli.errors import DataError, OutputError


def test_everything_is_there_as_torchvision_wants_it(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    server = serve().offer(made.archives)
    report = run(made, tmp_path, server.url)
    assert files_in(tmp_path) == expected(made)
    assert report.downloaded == sum(map(len, made.archives.values()))
    assert set(report.files.values()) == {server.url + name for name in made.archives}
    assert report.folder == tmp_path / "MNIST" / "raw"
    theirs = tv.MNIST(tmp_path, train=False, download=False)
    ours = store.read(made.spec, "test", tmp_path)
    assert np.array_equal(ours.images, theirs.data.numpy())
    assert np.array_equal(ours.labels, theirs.targets.numpy())


@pytest.mark.parametrize("there", [[], ["a"], ["a/b/MNIST"]])
def test_a_refused_fetch_leaves_no_folder(made: Made, tmp_path: Path, there: list[str]) -> None:
    for folder in there:
        (tmp_path / folder).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError):
        run(made, tmp_path / "a" / "b", "http://127.0.0.1:9/")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_fetch_keeps_what_arrived(made: Made, tmp_path: Path, serve: Serve) -> None:
    name = next(iter(made.archives))
    server = serve().offer({name: made.archives[name]})
    with pytest.raises(DataError):
        run(made, tmp_path / "new", server.url)
    assert (tmp_path / "new" / "MNIST" / "raw" / name).read_bytes() == made.archives[name]


def test_what_is_there_is_not_asked_for(made: Made, tmp_path: Path, serve: Serve) -> None:
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    server.asked.clear()
    report = run(made, tmp_path, server.url)
    assert not server.asked
    assert set(report.files.values()) == {"present"}
    assert report.downloaded == 0


def test_files_in_other_folders_are_left_there(made: Made, tmp_path: Path) -> None:
    raw = lay(tmp_path / "MNIST" / "raw", dict(list(made.raw.items())[:2]))
    lay(tmp_path, made.archives)
    report = run(made, tmp_path, "https://mirror.invalid/")
    assert [path.parent for path in report.files] == [raw, raw, tmp_path, tmp_path]
    assert report.folder == tmp_path


def test_archives_that_are_there_are_extracted(made: Made, tmp_path: Path) -> None:
    lay(tmp_path / "MNIST" / "raw", made.archives)
    report = run(made, tmp_path, "https://mirror.invalid/")
    assert files_in(tmp_path) == expected(made)
    assert set(report.files.values()) == {"extracted"}


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
@pytest.mark.parametrize("harm", ["tampered", "cut", "gone"])
def test_what_is_damaged_heals(made: Made, tmp_path: Path, serve: Serve, name, harm) -> None:
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    path = tmp_path / "MNIST" / "raw" / name
    good = bytearray(path.read_bytes())
    good[len(good) // 2] ^= 1
    path.write_bytes(good if harm == "tampered" else good[:-1])
    if harm == "gone":
        path.unlink()
    path.with_name("t10k-labels-idx1-ubyte.gz").unlink()  # of a sound file: not needed
    run(made, tmp_path, server.url)
    arrays = store.read(made.spec, "train", tmp_path)
    assert np.array_equal(arrays.images, made.arrays["train", "images"])


def test_checksums_that_the_catalogue_lacks_are_recorded(
    made: Made, tmp_path: Path, serve: Serve
) -> None:
    made = made.without_md5()
    server = serve().offer(made.archives)
    run(made, tmp_path, server.url)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    assert {report.checksum for report in store.verify(made.spec, tmp_path)} == {"ok"}
    path.write_bytes(make(seed=1).raw[path.name])
    with pytest.raises(DataError, match="is not the Made-up file"):
        store.read(made.spec, "test", tmp_path)
    server.asked.clear()
    run(made, tmp_path, server.url)
    assert path.read_bytes() == made.raw[path.name]
    assert not server.asked


def test_of_a_bundle_only_the_own_files_are_taken(made: Made, tmp_path: Path, serve: Serve) -> None:
    made, content = made.zipped()
    server = serve().offer({"gzip.zip": content})
    run(made, tmp_path, server.url)
    assert server.asked == ["/gzip.zip"]
    left = files_in(tmp_path)
    assert left.pop(f"MNIST/raw/{store.CHECKSUMS}")
    assert left == expected(made)
    assert {report.checksum for report in store.verify(made.spec, tmp_path)} == {"ok"}
    server.asked.clear()
    run(made, tmp_path, server.url)
    assert not server.asked


def test_a_bundle_that_is_there_is_used_and_kept(made: Made, tmp_path: Path) -> None:
    made, content = made.zipped()
    raw = lay(tmp_path / "MNIST" / "raw", {"gzip.zip": content})
    run(made, tmp_path, "https://mirror.invalid/")
    assert (raw / "gzip.zip").exists()
    assert len(store.read(made.spec, "train", tmp_path)) == 40


def test_progress_is_reported(made: Made, tmp_path: Path, serve: Serve) -> None:
    seen: list[fetch.Progress] = []
    run(made, tmp_path, serve().offer(made.archives).url, progress=seen.append)
    for name, content in made.archives.items():
        downloads = [p for p in seen if p.file == name]
        assert {p.stage for p in downloads} == {"downloading"}
        assert (downloads[0].done, downloads[-1].done) == (0, len(content))
        assert {p.total for p in downloads} == {len(content)}
    assert [p.file for p in seen if p.stage == "extracting" and p.done] == list(made.raw)


def test_a_process_that_waits_too_long_says_for_what(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    seen: list[fetch.Progress] = []
    with (
        FileLock(raw / fetch.LOCK),
        pytest.raises(OutputError, match="another process has been fetching Made-up"),
    ):
        run(made, tmp_path, "https://mirror.invalid/", total_timeout=0.2, progress=seen.append)
    assert [progress.stage for progress in seen] == ["waiting"]


# The disk


def test_a_folder_that_cannot_be_made(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        run(made, tmp_path / "file", "https://mirror.invalid/")
    assert str(tmp_path / "file") in caught.value.message
    assert "bytes were needed" in caught.value.message


@needs_posix
def test_a_full_disk_leaves_nothing(made: Made, tmp_path: Path, serve: Serve) -> None:
    """RLIMIT_FSIZE stands in for a full disk: a write fails in the middle of a file."""
    import resource

    server = serve().offer(made.archives)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OutputError, match="bytes were needed"):
            run(made, tmp_path, server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_in(tmp_path) == {}
