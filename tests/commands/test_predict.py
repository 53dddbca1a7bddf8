"""``mnist predict``: pictures in, classes out; one bad file does not affect the others."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import Run, finish, start
from torchvision.transforms.v2.functional import normalize

from mnist_cli import catalogue
from mnist_cli.data import bundled
from mnist_cli.networks import registry as models

TEST = bundled.read("test")


def save(index: int, path: str, side: int = 112) -> None:
    """A digit of the bundled test set, dark on light and larger."""
    large = Image.fromarray(255 - TEST.images[index]).resize((side, side), Image.Resampling.BICUBIC)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    large.save(path)


def network(run_directory: Path) -> torch.nn.Module:
    weights = torch.load(run_directory / "best.pt", weights_only=True)["model"]["weights"]
    built = models.build("conv2", 10).eval()
    built.load_state_dict(weights)
    return built


def test_the_probabilities_are_the_networks_own(run: Run, trained: Path) -> None:
    """Of an image that is in MNIST's form already, by plain torch."""
    form = np.zeros((28, 28), np.uint8)
    form[4:24, 13:17] = 255  # its centre of mass is at 13.5 and 14.5: no pixel need be moved
    Image.fromarray(form).save("one.png")
    document = run("predict", "one.png", "--checkpoint", trained, "--json").document
    spec = catalogue.get("digits")
    with torch.no_grad():
        image = torch.as_tensor(form).view(1, 1, 28, 28).float() / 255
        logits = network(trained)(normalize(image, [spec.mean], [spec.std]))
    expected = logits.double().softmax(1).squeeze(0).tolist()
    assert [one["path"] for one in document] == ["one.png"]
    assert document[0]["probabilities"] == pytest.approx(expected, abs=0.05)
    assert document[0]["digit"] == int(np.argmax(document[0]["probabilities"]))
    assert sum(document[0]["probabilities"]) == pytest.approx(1)
    assert document[0]["box"] == {"top": 4, "left": 13, "bottom": 24, "right": 17}


def test_digits_in_pictures_are_classified_about_as_well_as_the_test_set(
    run: Run, trained: Path
) -> None:
    count = 100
    for index in range(count):
        save(index, f"pictures/{index}.png")
    direct = network(trained)
    spec = catalogue.get("digits")
    with torch.no_grad():
        images = torch.as_tensor(TEST.images[:count]).unsqueeze(1).float() / 255
        answers = direct(normalize(images, [spec.mean], [spec.std])).argmax(1).numpy()
    document = run("predict", "pictures", "--checkpoint", trained, "--json").document
    assert [one["path"] for one in document] == [f"pictures/{index}.png" for index in range(count)]
    said = np.array([one["digit"] for one in document])
    right = (said == TEST.labels[:count]).mean()
    assert right > (answers == TEST.labels[:count]).mean() - 0.15


def test_bad_files_are_reported_and_the_others_classified(run: Run, trained: Path) -> None:
    save(0, "good.png")
    Path("text.png").write_text("hello")
    Path("empty").mkdir()
    Image.new("L", (50, 50), 200).save("blank.png")
    names = ["text.png", "good.png", "empty", "blank.png", "missing.png"]
    outcome = run("predict", *names, "--checkpoint", trained, "--json")
    assert outcome.code == 3
    assert [one["path"] for one in outcome.document] == names
    assert [name for name, one in zip(names, outcome.document, strict=True) if "digit" in one] == [
        "good.png"
    ]
    for name, one in zip(names, outcome.document, strict=True):
        if name != "good.png":
            assert one["error"]["code"] == 3
            assert name in one["error"]["message"]
            assert one["error"]["message"] in outcome.err


def test_subfolders_are_ignored_with_a_warning(run: Run, trained: Path) -> None:
    for name in "dbca":
        Path(f"pictures/{name}").mkdir(parents=True)
    save(0, "pictures/good.png")
    outcome = run("predict", "pictures", "--checkpoint", trained)
    assert "warning: pictures: subfolders are ignored: a, b, c, …\n" in outcome.err


def test_many_digits_in_reading_order(run: Run, trained: Path) -> None:
    page = np.full((260, 500), 255, np.uint8)
    for place in range(6):
        save(place, "it.png", side=112)
        top, left = divmod(place, 3)
        page[10 + 125 * top :, 150 * left :][:112, :112] = np.asarray(Image.open("it.png"))
    Image.fromarray(page).save("page.png")
    outcome = run("predict", "page.png", "--segment", "--csv", "--checkpoint", trained)
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert outcome.code == 0
    assert [(int(row["top"]) // 125, int(row["left"]) // 150) for row in rows] == [
        divmod(place, 3) for place in range(6)
    ]
    for row in rows:
        likeliest = max(range(10), key=lambda digit: float(row[f"p_{digit}"]))
        assert int(row["digit"]) == likeliest


def test_what_is_no_digit_is_left_out_and_said(run: Run, trained: Path) -> None:
    """The list of JSON has an object per digit still; its first names the rest of the picture."""
    page = np.full((200, 400), 255, np.uint8)
    for place in range(3):
        save(place, "it.png", side=112)
        page[20:132, 10 + 130 * place :][:, :112] = np.asarray(Image.open("it.png"))
    page[170:174] = 0
    page[150:158, 300:308] = 0
    Image.fromarray(page).save("page.png")
    asked = ("predict", "page.png", "--segment", "--checkpoint", trained)
    outcome = run(*asked, "--json")
    assert outcome.code == 0
    assert all({"path", "digit", "probabilities"} <= set(one) for one in outcome.document)
    assert ["left_out" in one for one in outcome.document] == [True, False, False]
    left_out = outcome.document[0]["left_out"]
    assert any(abs(one["box"]["left"] - 300) < 3 and one["pieces"] == 1 for one in left_out)
    assert all(one["why"] in outcome.err for one in left_out)
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--csv").out)))
    said = [row for row in rows if not row["digit"]]
    assert [row["error"] for row in said] == [f"left out: {one['why']}" for one in left_out]
    assert [int(row["top"]) for row in said] == [one["box"]["top"] for one in left_out]


def test_a_csv_line_for_a_failure(run: Run, trained: Path) -> None:
    outcome = run("predict", "missing.png", "--csv", "--checkpoint", trained)
    (row,) = csv.DictReader(io.StringIO(outcome.out))
    assert (outcome.code, row["digit"], row["class"], row["bottom"]) == (3, "", "", "")
    assert row["error"] == "the picture missing.png does not exist"


def test_the_picture_is_shown_and_the_checkpoint_named(run: Run, trained: Path) -> None:
    save(3, "three.png")
    outcome = run("predict", "three.png", "--runs", trained.parent)
    assert outcome.code == 0
    assert str(trained / "best.pt") in outcome.err
    assert outcome.out.count("%") > 10  # shades of the picture
    assert len(run("predict", "three.png", "--runs", trained.parent, "-q").out.splitlines()) == 2


def test_standard_input(run: Run, trained: Path) -> None:
    save(3, "three.png")
    with Path("three.png").open() as picture:
        process = start("predict", "-", "--json", "--checkpoint", trained, stdin=picture)
        outcome = finish(process)
    assert outcome.code == 0
    known = run("predict", "three.png", "--json", "--checkpoint", trained).document
    assert outcome.document[0]["digit"] == known[0]["digit"]
    assert outcome.document[0]["path"] == "-"


def test_an_answer_below_60_percent_is_unsure(run: Run, trained: Path) -> None:
    for index in range(20):
        save(index, f"pictures/{index}.png")
    document = run("predict", "pictures", "--checkpoint", trained, "--json").document
    unsure = [max(one["probabilities"]) < 0.6 for one in document]
    assert [one["unsure"] for one in document] == unsure
    assert any(unsure)
    outcome = run("predict", "pictures", "--checkpoint", trained, "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["unsure"] for row in rows] == [str(one).lower() for one in unsure]
    outcome = run("predict", "pictures", "--checkpoint", trained)
    assert outcome.out.count("(unsure)") == sum(unsure)
    assert f"unsure, below 60%: {sum(unsure)} of 20" in outcome.err


def test_nothing_written_is_said_and_the_others_are_classified(run: Run, trained: Path) -> None:
    save(3, "three.png")
    cell = np.zeros((50, 50), np.uint8)
    cell[:, 47:] = 255
    Image.fromarray(cell).save("cell.png")
    outcome = run("predict", "cell.png", "three.png", "--checkpoint", trained, "--json")
    assert outcome.code == 3
    assert outcome.document[0]["error"]["message"] == "cell.png: nothing is written on it"
    assert "digit" in outcome.document[1]


def test_what_is_not_read_of_a_file_is_said(run: Run, trained: Path) -> None:
    save(3, "three.png")
    page = Image.open("three.png")
    page.save("pages.tif", save_all=True, append_images=[page])
    outcome = run("predict", "pages.tif", "--checkpoint", trained, "--json")
    assert outcome.document[0]["remarks"] == ["only the first of several pages or frames is read"]
    assert "pages.tif: only the first of several pages or frames is read" in outcome.err


def test_runs_checkpoints_and_plots_are_no_pictures(run: Run, trained: Path) -> None:
    Path("plots").mkdir()
    for name in ("curves.png", "filters.png"):
        Image.new("L", (9, 9)).save(f"plots/{name}")
    best = trained / "best.pt"
    for name, what in (
        (trained, "a run"),
        ("1", "a run"),
        (trained.parent, "a folder of runs"),
        (best, "a checkpoint"),
    ):
        outcome = run("predict", name, "--runs", trained.parent)
        assert outcome.code == 2
        assert f"{name} is {what}, not a picture" in outcome.err
        assert "mnist predict IMAGE -k " in outcome.err
    outcome = run("predict", "plots", "--checkpoint", trained)
    assert (outcome.code, "plots of a run" in outcome.err) == (2, True)
    outcome = run("predict", "", "--checkpoint", trained)
    assert outcome.code == 2
