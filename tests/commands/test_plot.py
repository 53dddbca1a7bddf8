"""``mnist plot``: what is drawn, what is left out and why, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from bits import rows
from matplotlib.image import imread
from own_files import body, network_file
from program import TINY, Run
from torch import nn

from mnist_cli.commands.plot import PICTURES
from mnist_cli.inference.plot_material import RunCurves
from mnist_cli.networks import registry as models
from mnist_cli.report.plot_pictures import OF_NETWORK, OF_RUN

QUICK = "filters,activations,saliency,mistakes"


@pytest.fixture
def copy(trained: Path) -> Path:
    """A run directory of its own."""
    return shutil.copytree(trained, Path("copied", "0001-digits-conv2"))


def test_everything_is_drawn_into_the_run(run: Run, copy: Path) -> None:
    outcome = run("plot", copy, "--all", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["left_out"] == {}
    assert list(outcome.document["pictures"]) == list(PICTURES)
    for name, files in outcome.document["pictures"].items():
        assert files == [str(copy / "plots" / f"{name}.{ending}") for ending in ("png", "svg")]
        height, width, _channels = imread(files[0]).shape
        assert min(height, width) > 300
        assert max(height, width) < 2000
        assert ElementTree.parse(files[1]).getroot().tag.endswith("svg")
    left = [path.name for path in (copy / "plots").iterdir() if path.suffix not in (".png", ".svg")]
    assert left == []


def test_figures_are_dark_by_an_option_or_by_the_environment(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corner(*words: str) -> float:
        assert run("plot", copy, "--only", "curves", "--format", "png", *words).code == 0
        picture = imread(copy / "plots" / "curves.png")
        return float(picture[0, 0, :3].mean())

    assert corner("--dark") < 0.2
    assert corner() == 1.0
    monkeypatch.setenv("MNIST_DARK", "1")
    assert corner() < 0.2
    assert corner("--light") == 1.0
    monkeypatch.setenv("MNIST_DARK", "midnight")
    refused = run("plot", copy)
    assert (refused.code, refused.err.splitlines()[0]) == (
        *(2, "error: MNIST_DARK: should be true or false, not 'midnight'"),
    )


def test_every_picture_has_a_way_to_draw_it() -> None:
    assert list(PICTURES) == [*OF_RUN, *OF_NETWORK]


def test_the_ratios_are_those_that_were_measured(run: Run, copy: Path) -> None:
    lines = rows(copy)
    curves = RunCurves.find(copy, Path("runs"))
    assert list(curves.norms) == ["conv1", "conv2", "fc1", "fc2"]
    for number, (epoch, norms) in enumerate(curves.norms["fc1"]):
        parts = [lines[number]["norms"][f"fc1.{name}"] for name in ("weight", "bias")]
        update, weight = (
            math.sqrt(sum(part[key] ** 2 for part in parts)) for key in ("update", "weight")
        )
        assert epoch == lines[number]["epoch"]
        assert norms.update_to_weight == pytest.approx(update / weight)


def test_a_run_of_an_older_version_has_no_ratios(run: Run, copy: Path) -> None:
    lines = rows(copy)
    for line in lines:
        del line["norms"]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused = run("plot", copy, "--only", "ratios")
    assert refused.code == 2
    assert "did not measure its layers" in refused.err
    assert run("plot", copy, "--only", "curves").code == 0


def test_formats_and_pictures_can_be_chosen(run: Run, copy: Path) -> None:
    outcome = run("plot", "--runs", copy.parent, "--only", "filters", "--format", "pdf,png")
    assert outcome.code == 0
    assert sorted(path.name for path in (copy / "plots").iterdir()) == [
        "filters.pdf",
        "filters.png",
    ]
    assert "filters.pdf  filters.png" in outcome.out


def test_without_data_only_plots_that_need_none_are_drawn(run: Run, copy: Path) -> None:
    for path in (copy / "last.pt", copy / "best.pt"):
        document = torch.load(path, weights_only=True)
        document["data"]["name"] = "mnist"
        torch.save(document, path)
    outcome = run("plot", copy, "--format", "png", "--json")
    assert outcome.code == 0
    assert set(outcome.document["pictures"]) == {"curves", "ratios", "filters", "maximised"}
    left_out = outcome.document["left_out"]
    assert "--all" in left_out.pop("embedding")  # t-SNE is not drawn unless asked for
    reasons = set(left_out.values())
    assert len(reasons) == 1
    assert "MNIST is not on disk" in reasons.pop()
    told = run("plot", copy, "--format", "png")
    assert told.err.count("skipped") == 2
    assert not Path("data").exists()
    asked = run("plot", copy, "--only", "saliency", "--json")
    assert (asked.code, asked.document["error"]["kind"]) == (3, "data")


def test_another_programs_weights_have_no_curves(run: Run) -> None:
    torch.save(models.build("notebook", 10).state_dict(), "theirs.pt")
    given = ("theirs.pt", "--dataset", "digits", "--format", "png", "--out", "there")
    outcome = run("plot", *given, "--only", "curves")
    assert outcome.code == 2
    assert "another program's weights have no training history" in outcome.err
    outcome = run("plot", "theirs.pt", "theirs.pt")
    assert outcome.code == 4
    assert "theirs.pt: another program's weights have no training history" in outcome.err
    outcome = run("plot", *given, "--only", "saliency,filters", "--json")
    assert sorted(outcome.document["pictures"]) == ["filters", "saliency"]
    assert sorted(path.name for path in Path("there").iterdir()) == ["filters.png", "saliency.png"]


@pytest.mark.parametrize(
    ("forward", "code"),
    [
        ("self.fc(x.detach().flatten(1))", 2),
        ("self.fc((x - x.detach()).abs().sqrt().flatten(1))", 6),
    ],
    ids=["none", "not finite"],
)
def test_without_a_gradient_by_the_pixels(run: Run, forward: str, code: int) -> None:
    network_file(Path("net.py"), body(forward))
    torch.save({f"fc.{one}": w for one, w in nn.Linear(784, 10).state_dict().items()}, "theirs.pt")
    words = ("plot", "theirs.pt", "--model", "net.py:Net", "--dataset", "digits", "--format", "png")
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert "gradient" in outcome.document["left_out"]["saliency"]
    assert "mistakes" in outcome.document["pictures"]
    assert run(*words, "--only", "saliency").code == code


def test_an_ensemble_is_looked_into_by_its_first_member(run: Run) -> None:
    assert run(*TINY, "--ensemble", "2", "--quiet").code == 0
    outcome = run("plot", "--only", QUICK, "--format", "png", "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.document["pictures"]) == 4


def test_several_runs_lie_over_each_other(run: Run, copy: Path) -> None:
    other = shutil.copytree(copy, copy.parent / "0002-digits-conv2")
    outcome = run("plot", copy, other, "--json")
    assert outcome.document["pictures"] == {"curves": ["plots/curves.png", "plots/curves.svg"]}
    refused = run("plot", copy, other, "--only", "curves,filters")
    assert refused.code == 2
    assert "--only filters" in refused.err
    (other / "metrics.jsonl").write_text("")
    outcome = run("plot", copy, other)
    assert outcome.code == 2
    assert "0002-digits-conv2: the run has not finished an epoch yet" in outcome.err


@pytest.mark.parametrize(
    ("more", "given", "said"),
    [
        (["--only", "curves"], "--model nowhere.py:Net --device cpu --image 0", "curves"),
        ([""], "--model nowhere.py:Net --device cpu --image 3", "curves"),
        (
            ["--only", "filters,curves"],
            "--dataset digits --data-dir x --image 3",
            "filters and curves",
        ),
        (["--only", "confusion"], "--image 3", "confusion"),
    ],
)
def test_options_without_effect_are_reported(
    run: Run, copy: Path, more: list[str], given: str, said: str
) -> None:
    words = ["plot", copy, *(word or copy for word in more), "--format", "png"]
    outcome = run(*words, *given.split())
    assert outcome.code == 0, outcome.err
    flags = ", ".join(word for word in given.split() if word.startswith("--"))
    assert f"{flags}: not used to draw {said}" in outcome.err
    assert "not used" not in run(*words).err


def test_a_checkpoint_file_has_the_curves_up_to_it(run: Run, copy: Path) -> None:
    for content in (b"\xff\xfe\x00", b"[1]\n", b'{"epoch": 1}\n', b"garbled\n"):
        (copy / "metrics.jsonl").write_bytes(content)
        outcome = run("plot", copy, "--only", "curves")
        assert outcome.code == 4, content
    assert "metrics.jsonl, line 1, is not an epoch's figures" in outcome.err
    assert run("plot", copy / "last.pt", "--only", "curves").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--only", "curves,pies"), 2, "--only: unknown value 'pies'"),
        (("--format", "bmp"), 2, "--format: unknown value 'bmp'"),
        (
            ("--only", "saliency", "--image", "382"),
            2,
            "test image 382 does not exist: scikit-learn",
        ),
        (("--image", "-1"), 2, "--image"),
        (("--out", "file"), 5, "file"),
    ],
)
def test_what_is_refused(
    run: Run, copy: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    Path("file").touch()
    outcome = run("plot", copy, *arguments)
    assert outcome.code == code
    assert words in outcome.err
