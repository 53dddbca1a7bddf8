"""The program behind docs/predict.md makes the pictures that the page names, and they are read."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pictures import Pixels, seven
from PIL import Image

from mnist_cli.vision.digits import digits_in
from mnist_cli.vision.image_files import decode

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def trials() -> ModuleType:
    return loaded("predict_trials")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_table_holds_kinds_that_the_program_makes(trials: ModuleType) -> None:
    page = (DOCS / "predict.md").read_text(encoding="utf-8")
    _, *table = re.findall(r"^\| (.+?) \| [\d,]+ \| [\d.]+% \|$", page, re.MULTILINE)
    scenes = [name for name in table if not name.startswith("printed digits")]
    assert len(scenes) > 10
    assert scenes == [name for name in trials.SCENES if name in scenes]


def test_each_kind_still_shows_the_digit(trials: ModuleType) -> None:
    """What is found of a seven looks like the seven, in most pictures of each kind.

    In the middle one of seven the two forms correlate by 0.54 at least: where a shadow's edge lies across it.
    """
    small = Image.fromarray(255 - seven(side=112, width=14)).resize((28, 28), Image.Resampling.BOX)
    image = np.clip(np.asarray(small).astype(float) - 15, 0, 240) * 255 / 240
    image = image.astype(np.uint8)
    sevens = np.stack([image] * 7), np.full(7, 7)

    @cache  # several kinds have nothing random
    def form(file: bytes) -> Pixels:
        (digit,) = digits_in(decode(file, "seven"), "seven")
        return digit.form.ravel()

    plain, *_ = trials.scene_samples(trials.SCENES["dark on light, ten times as large"], *sevens)
    for name, scene in trials.SCENES.items():
        samples = trials.scene_samples(scene, *sevens)
        alike = (np.corrcoef(form(one.file), form(plain.file))[0, 1] > 0.5 for one in samples)
        assert len(list(islice(filter(None, alike), 4))) == 4, name


def test_printed_digits_come_from_several_kinds_of_font(trials: ModuleType) -> None:
    names = {path.stem for path in trials.fonts()}
    assert {"DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono", "STIXGeneral", "cmr10"} <= names


def test_the_pages_of_the_second_table_are_drawn(trials: ModuleType) -> None:
    """``trials`` is loaded because the program imports it."""
    pages = loaded("page_trials")
    page = (DOCS / "predict.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| ([^|]+?) \| [\d,]+ \| [\d,]+ \| [\d,]+ \|$", page, re.MULTILINE)
    assert [name for name in named if name in pages.PAGES] == list(pages.PAGES)
    assert pages.distance("1234", "1324") == 2
    images = np.zeros((1, 28, 28), np.uint8)
    images[:, 4:24, 12:16] = 255
    digits = pages.Digits(images, np.array([1]), np.random.default_rng(0))
    draw, light = pages.PAGES["ruled paper, dark lines"]
    file, text = pages.picture(draw, light, digits)
    assert len(digits_in(decode(file, "page"), "page", segment=True)) == len(text) == 32
