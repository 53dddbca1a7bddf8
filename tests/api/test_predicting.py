"""``mnist.predict``: pictures as ``mnist predict`` prepares them, arrays as they are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import mnist_cli as mnist
from mnist_cli import Caution, Run, errors


@pytest.fixture
def drawn(tmp_path: Path) -> list[str]:
    """Photographs, so to speak: a one and a seven, in several modes."""
    paths = []
    for number, mode in enumerate(("L", "RGB", "RGBA", "1", "P", "I;16", "CMYK", "LA")):
        grey = Image.new("L", (90, 120), 235)
        pen = ImageDraw.Draw(grey)
        pen.line([(20, 20), (65, 20), (35, 100)][number % 2 :], fill=30, width=9)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        else:
            picture = grey.convert(mode)
        path = tmp_path / f"{number}.{'tif' if mode == 'CMYK' else 'png'}"
        picture.save(path)
        paths.append(str(path))
    return paths


def test_pictures_are_those_of_the_command(drawn: list[str], run: Run, command: Any) -> None:
    found = mnist.predict(drawn, run)
    printed = command("predict", *drawn, "-k", run.path)
    assert json.loads(json.dumps([one.to_plain() for one in found])) == printed
    assert [one.digit for one in found] == [row["digit"] for row in printed]
    assert sum(found[0].probabilities) == pytest.approx(1)


def test_an_open_picture_is_its_file(drawn: list[str], run: Run) -> None:
    opened = [Image.open(path) for path in drawn]
    for one in opened:
        one.load()
    by_file, by_picture = mnist.predict(drawn, run), mnist.predict(opened, run)
    assert [a.probabilities for a in by_file] == [b.probabilities for b in by_picture]
    assert [a.box for a in by_file] == [b.box for b in by_picture]
    assert by_picture[0].source == drawn[0]
    assert mnist.predict(opened[0].copy(), run)[0].source == "image 1"


def test_several_digits_in_a_picture(
    run: Run, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Image.new("L", (400, 120), 255)
    for place in (30, 150, 270):
        ImageDraw.Draw(page).line([(place, 20), (place + 5, 100)], fill=0, width=10)
    page.save("page.png")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    found = mnist.predict("~/page.png", run, segment=True)
    printed = command("predict", Path("page.png").absolute(), "--segment", "-k", run.path)
    assert json.loads(json.dumps([one.to_plain() for one in found])) == printed
    assert len(found) == 3


def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Eight digits of the bundled set (8, 28, 28)."""
    from mnist_cli.data.load import load

    return load("digits", Path("data")).test.images[:8, 0].numpy()


FORMS = {
    "uint8": lambda x: x,
    "int64": lambda x: x.astype(np.int64),
    "float32": lambda x: x.astype(np.float32) / 255,
    "float64": lambda x: x / 255,
    "channel": lambda x: x[:, None],
    "read only": lambda x: np.frombuffer(x.tobytes(), np.uint8).reshape(x.shape),
    "strided": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "tensor": lambda x: torch.from_numpy(x),
    "tensor of floats": lambda x: (torch.from_numpy(x).float() / 255).requires_grad_(),
    "list": list,
    "list of channels": lambda x: list(x[:, None]),
    "mixed list": lambda x: [x[0], torch.from_numpy(x[1:3]), x[3:] / 255],
    "generator": lambda x: (one for one in x),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_arrays(name: str, run: Run) -> None:
    given = images()
    model = mnist.load(run)
    with torch.no_grad():
        expected = model(torch.from_numpy(given)[:, None]).double().softmax(1)
    found = mnist.predict(FORMS[name](given.copy()), run)
    assert [one.probabilities for one in found] == [tuple(row) for row in expected.tolist()]
    assert np.array_equal(found[3].image, given[3])


def test_arrays_may_be_masks(run: Run) -> None:
    mask = images()[0] > 100
    expected = mnist.predict(mask.astype(np.uint8) * 255, run)
    assert mnist.predict(mask, run)[0].probabilities == expected[0].probabilities
    with pytest.warns(Caution, match="levels 0 and 1 of 255"):
        mnist.predict(mask.astype(np.uint8), run)
    with pytest.warns(Caution, match="mostly light"):
        mnist.predict(~mask, run)


def test_a_cell_that_is_run_again_warns_again(run: Run) -> None:
    model = mnist.load(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            mnist.predict(255 - images(), model)
    assert [one.filename for one in caught] == [__file__] * 3


def test_modules_predict_as_their_run(run: Run) -> None:
    expected = mnist.predict(images(), run)
    for model in (mnist.load(run), run.path, run.checkpoint):
        found = mnist.predict(images(), model)
        assert [one.probabilities for one in found] == [one.probabilities for one in expected]
    network = mnist.load(run).network
    scale = tuple(vars(mnist.load(run).normalisation).values())
    plain = mnist.predict(images(), network, normalise=scale)
    assert plain[0].probabilities == expected[0].probabilities
    assert mnist.predict(images(), runs=run.path.parent)[0].digit == expected[0].digit


def test_pictures_and_arrays_keep_their_order(drawn: list[str], run: Run) -> None:
    given = [drawn[1], images()[0], Image.open(drawn[0]), images()[1:3]]
    found = mnist.predict(given, run)
    names = [drawn[1], "image 2", drawn[0], "image 4[0]", "image 4[1]"]
    assert [one.source for one in found] == names
    assert mnist.predict([], run) == []
    assert mnist.predict(np.zeros((0, 28, 28)), run) == []


def test_rows_of_a_data_file(run: Run) -> None:
    rows = images().reshape(8, 784)
    header = ",".join(f"pixel{n}" for n in range(784))
    np.savetxt("test.csv", rows, fmt="%d", delimiter=",", header=header, comments="")
    for one in ("test.csv", rows.reshape(8, 28, 28)):
        with pytest.raises(errors.UsageError, match=r"segment finds digits in pictures, but each"):
            mnist.predict(one, run, segment=True)
    found = mnist.predict("test.csv", run)
    expected = mnist.predict(images(), run)
    assert [one.probabilities for one in found] == [one.probabilities for one in expected]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((27, 28), np.uint8), errors.UsageError, "image 1 has the shape (27, 28)"),
        (np.zeros(784, np.uint8), errors.UsageError, "shape (784,)"),
        (np.zeros((28, 28, 1), np.uint8), errors.UsageError, "shape (28, 28, 1)"),
        (np.zeros((2, 3, 28, 28)), errors.UsageError, "with 3 channels"),
        (np.zeros((1, 1, 1, 28, 28)), errors.UsageError, "shape (1, 1, 1, 28, 28)"),
        (np.full((28, 28), 255.0), errors.UsageError, "from 255 to 255, not from 0 to 1"),
        (torch.full((28, 28), -0.42), errors.UsageError, "do not normalise"),
        (np.full((28, 28), 256), errors.UsageError, "not from 0 to 255"),
        (np.full((28, 28), -1), errors.UsageError, "not from 0 to 255"),
        (np.full((28, 28), np.nan), errors.DataError, "image 1 has values that are not finite"),
        (np.full((28, 28), np.inf), errors.DataError, "not finite"),
        (np.zeros((28, 28), complex), errors.UsageError, "array of complex128"),
        (np.full((28, 28), "x"), errors.UsageError, "not of grey levels"),
        (np.full((28, 28), None), errors.UsageError, "array of object"),
        (np.ma.masked_all((28, 28)), errors.DataError, "masked values"),
        (torch.zeros(28, 28, device="meta"), errors.UsageError, "is not an array of numbers"),
        (torch.zeros(28, 28).to_sparse(), errors.UsageError, "is not an array of numbers"),
        ([np.zeros((28, 28), np.uint8), 3], errors.UsageError, "3 is not an image (int)"),
        ([[0] * 28] * 28, errors.UsageError, "is not an image (list)"),
        (3, errors.UsageError, "3 is not an image"),
        (None, errors.UsageError, "None is not an image"),
        (b"png", errors.UsageError, "is not an image (bytes)"),
        ({"a": 1}, errors.UsageError, "is not an image (dict)"),
        ("-", errors.UsageError, "'-' is not the path of a picture"),
        ("missing.png", errors.DataError, "missing.png does not exist"),
        (["missing.png", "gone.png"], errors.DataError, "2 of 2 images cannot be used"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_image(
    wrong: object, error: type[errors.MnistError], message: str, run: Run
) -> None:
    with pytest.raises(error) as refused:
        mnist.predict(wrong, run)
    assert type(refused.value) is error
    assert message in refused.value.message + refused.value.hint


def test_runs_and_checkpoints_are_no_pictures(run: Run) -> None:
    for one in (run, run.path, run.checkpoint, run.path.parent):
        with pytest.raises(errors.UsageError, match=r"The images come first: predict\(images, "):
            mnist.predict(one, runs=run.path.parent)  # the newest run would classify
    with pytest.raises(errors.UsageError, match="device has no effect on a module"):
        mnist.predict(images(), mnist.load(run), device="cpu")


def test_how_predictions_show_themselves(run: Run, drawn: list[str]) -> None:
    found = mnist.predict([drawn[0], images()], run)
    assert len(repr(found).splitlines()) == 3
    assert len(repr(found[0]).splitlines()) == 2
    assert found._repr_html_().count("<img") == 9
    assert "color" not in found._repr_html_()
    assert repr(mnist.predict([], run)) == "0 predictions"
    many = type(found)(list(found) * 1000)
    assert len(repr(many)) < 500
    assert many._repr_html_().count("<img") == 20
    hostile = Path("<b>x.png")
    Image.open(drawn[0]).save(hostile)
    assert "<b>x" not in mnist.predict(hostile, run)._repr_html_()


def test_the_image_in_the_table_is_the_image() -> None:
    import base64
    import io

    from mnist_cli.api.predicting import _picture

    image = images()[0]
    data = base64.b64decode(_picture(image).partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)


def test_pictures_that_cannot_be_decoded_are_named(drawn: list[str], run: Run) -> None:
    cut = Path("cut.png")
    cut.write_bytes(Path(drawn[0]).read_bytes()[:60])
    with Image.open(drawn[0]) as closed:
        pass
    with Image.open(cut) as opened:
        for picture in (opened, closed):
            with pytest.raises(errors.DataError, match="cannot be read as a picture"):
                mnist.predict(picture, run)
