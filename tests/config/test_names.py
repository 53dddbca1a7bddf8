"""Which names mean files of the user's own, and what they are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from mnist_cli.config.names import ModelName, absolute_dataset, dataset_label, dataset_slug
from mnist_cli.config.schema import TrainConfig, compose, from_assignments, from_file, from_flags
from mnist_cli.errors import UsageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [
        ("net.py:Net", "net.py", "Net"),
        ("../a b/net.py:Größe", "../a b/net.py", "Größe"),
        ("/x/y:z/net.py:Net", "/x/y:z/net.py", "Net"),
    ],
)
def test_a_file_and_its_class(text: str, file: str, name: str) -> None:
    model = ModelName(text)
    assert (model.is_own, model.path, model.class_name) == (True, Path(file), name)


@pytest.mark.parametrize(
    "text", ["conv4", "net.py", "net.py:", "net:Net", "net.py:3", "net.py:a b"]
)
def test_a_name_without_a_file_and_class_is_not_the_users_own(text: str) -> None:
    model = ModelName(text)
    assert not model.is_own
    assert model.absolute(Path("elsewhere")) == model.label == text
    with pytest.raises(ValueError, match="is not a class in a file"):
        _ = model.path


def test_the_configuration_parses_the_name_and_gives_plain_text() -> None:
    config = TrainConfig(model="/a/net.py:Net")
    assert config.model.is_own
    assert TrainConfig().model.label == "conv4"
    assert type(config.to_plain()["model"]) is type(config.model.label) is str


def test_flags_and_set_are_seen_from_here_and_files_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    recipe = tmp_path / "there" / "mine.toml"
    recipe.write_text('model = "net.py:Net"\ndataset = "../pics/"\n', encoding="utf-8")
    here = compose([from_flags({"model": "a/../net.py:Net"}), from_assignments(["dataset=./pics"])])
    assert (here.model, here.dataset) == (f"{tmp_path}/net.py:Net", f"{tmp_path}/pics")
    there = compose([from_file(recipe)])
    assert (there.model, there.dataset) == (f"{tmp_path}/there/net.py:Net", f"{tmp_path}/pics")


def test_the_written_configuration_means_the_same_from_anywhere(tmp_path: Path) -> None:
    config = compose([from_flags({"model": "net.py:Net", "dataset": "./pics"})])
    (tmp_path / "deep").mkdir()
    written = tomlkit.dumps(config.to_plain())
    (tmp_path / "deep" / "config.toml").write_text(written, encoding="utf-8")
    assert compose([from_file(tmp_path / "deep" / "config.toml")]) == config


def test_a_data_set_of_the_catalogue_goes_before_a_folder_of_its_name(tmp_path: Path) -> None:
    for name in ("mnist", "shapes"):
        (tmp_path / name).mkdir()
    meant = [
        absolute_dataset(name, Path())
        for name in ("mnist", "MNIST", "auto", "mnist/", "./mnist", "shapes", "elsewhere")
    ]
    folder = f"{tmp_path}/mnist"
    expected = ["mnist", "MNIST", "auto", folder, folder, f"{tmp_path}/shapes", "elsewhere"]
    assert meant == expected


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_dataset("~/pics", Path("elsewhere")) == f"{tmp_path}/pics"


def test_a_checkpoint_to_start_from_is_a_path_if_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the number or the name of a run; in a file, a path is seen from its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt").touch()
    for text in ("there.pt", "./3", "runs/0003-x", "~/gone.pt"):
        assert Path(from_flags({"start": text}).values["start"]).is_absolute()
    for text in ("3", "gone.pt", "0003-digits-conv2"):
        assert from_flags({"start": text}).values["start"] == text
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.toml").write_text('start = "../there.pt"', encoding="utf-8")
    layer = from_file(tmp_path / "sub" / "a.toml")
    assert layer.values["start"] == str(tmp_path / "there.pt")
    with pytest.raises(UsageError, match="--from: should be CHECKPOINT, not ' '"):
        compose([from_flags({"start": " "})])


def test_labels_and_parts_of_folders_names() -> None:
    assert ModelName("/a/b/net.py:Net").label == "net.py:Net"
    assert dataset_label("/a/my pics") == "my pics"
    assert dataset_label("mnist") == "mnist"
    assert [dataset_slug(name) for name in ("/a/my pics", "/")] == ["my-pics", "own"]
    slugs = [ModelName(name).slug for name in ("/a/net.py:Net", "/a/b.py:Net", "conv2x0.5")]
    assert slugs == ["Net", "b-Net", "conv2x0.5"]
    assert len(dataset_slug(f"/{'x' * 300}")) == 40


@pytest.mark.parametrize("text", ["net.py", "net.py:"])
def test_a_file_without_a_class_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"--model: net\.py names a file without a class"):
        compose([from_flags({"model": text})])


def test_a_network_of_ones_own_keeps_the_usual_memory_order() -> None:
    """``x.view`` fails on channels-last maps; it can be asked for all the same."""
    own = {"model": "/a/net.py:Net"}
    assert not TrainConfig(**own).channels_last
    assert TrainConfig(**own, channels_last=True).channels_last
    assert TrainConfig().channels_last


def test_to_validate_runs_nothing_and_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit('it was run')", encoding="utf-8")
    code = (
        "import sys; from mnist_cli.config.schema import *;"
        "compose([from_flags({'model': 'net.py:Net'})]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("values", [{"dataset": "st/b\udcff"}, {"model": "st/b\udcff/net.py:Net"}])
def test_a_path_that_is_no_text_is_refused(values: dict[str, str]) -> None:
    """config.toml could not hold it."""
    with pytest.raises(UsageError, match=r"\\udcff.* is not valid UTF-8"):
        from_flags(values)
