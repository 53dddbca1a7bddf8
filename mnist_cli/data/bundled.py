"""scikit-learn's handwritten digits as a small MNIST, for machines with neither files nor network.

The test set of UCI's "Optical Recognition of Handwritten Digits": 1,797 digits of 8×8 pixels with
values 0 to 16. They are enlarged to MNIST's geometry: a box of 20×20 in the middle of 28×28.

The split separates writers. The file holds one form after another, each filled in by one writer:
the labels repeat the same sequence of about 130. A random split would test on the writers of the
training set. Source of the bounds between forms: scikit-learn's course,
inria.github.io/scikit-learn-mooc, "Sample grouping": 0, 130, 256, 386, 516, 646, 776, 915, 1029,
1157, 1287, 1415, 1545, 1667. The last three forms are the test set: 382 images. UCI counts 13
writers for 14 forms, so one writer may have filled in two.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_cli.catalogue.spec import HEIGHT, WIDTH, SplitName
from mnist_cli.data.records import Arrays

FIRST_TEST_IMAGE = 1_415
BOX = 20


def read(split: SplitName) -> Arrays:
    """The digits of ``split``: images (N, 28, 28), uint8; labels (N,), int64."""
    rows = _table()[slice(FIRST_TEST_IMAGE) if split == "train" else slice(FIRST_TEST_IMAGE, None)]
    small = rows[:, :-1].reshape(-1, 8, 8)
    return Arrays(enlarge(small), rows[:, -1].astype(np.int64))


def _table() -> npt.NDArray[np.float64]:
    """scikit-learn's file of (1797, 65) numbers: the 64 pixels of a digit, then its label.

    The file is read without importing scikit-learn, which takes about a second.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack((digits.data, digits.target))


def enlarge(small: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Bring (N, 8, 8) with values 0 to 16 to (N, 28, 28), uint8, 0 to 255.

    Bicubic; Pillow clips overshoots. It resamples 8 bits in integers, so that every machine gets
    the same pixels.
    """
    from PIL import Image

    top, left = (HEIGHT - BOX) // 2, (WIDTH - BOX) // 2
    large = np.zeros((len(small), HEIGHT, WIDTH), dtype=np.uint8)
    for source, target in zip(np.rint(small * (255 / 16)).astype(np.uint8), large, strict=True):
        box = Image.fromarray(source).resize((BOX, BOX), Image.Resampling.BICUBIC)
        target[top : top + BOX, left : left + BOX] = np.asarray(box)
    return large
