"""Which images have MNIST's form."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from own_files import in_mnist_form
from PIL import Image

from mnist_cli.data.idx import load as load_idx
from mnist_cli.data.mnist_form import has_mnist_form

Images = npt.NDArray[np.uint8]


def as_jpeg(image: Images) -> Images:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def mixed(share: float) -> Images:
    images = in_mnist_form(100)
    images[: round(100 * share)] = 0
    return images


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (in_mnist_form(50), True),
        (in_mnist_form(5001), True),
        (in_mnist_form(1), True),
        (np.stack([as_jpeg(one) for one in in_mnist_form(50)]), True),
        (mixed(0.09), True),
        (mixed(0.11), False),
        (255 - in_mnist_form(50), False),
        (in_mnist_form(50, 24), False),
        (in_mnist_form(50, 16), False),
        (in_mnist_form(50, centred=False), False),
        (in_mnist_form(50).transpose(0, 2, 1), True),
        (np.zeros((3, 28, 28), np.uint8), False),
        (np.full((3, 28, 28), 255, np.uint8), False),
    ],
)
def test_the_form(images: Images, expected: bool) -> None:
    assert has_mnist_form(images) is expected


@pytest.mark.mnist
def test_mnist_has_it(mnist_dir: Path) -> None:
    assert has_mnist_form(load_idx(mnist_dir / "t10k-images-idx3-ubyte.gz").array)
