"""The program with small made-up data sets in the place of MNIST and Fashion-MNIST."""

from __future__ import annotations

import base64
import pickle
from dataclasses import replace
from pathlib import Path

from made_up import make
from victim import Victim

MADE = make()
"""Replaces MNIST; the checksums of its files are known."""

_OTHER = make(seed=1)
UNKNOWN = replace(
    _OTHER,
    spec=replace(
        _OTHER.spec,
        name="fashion-mnist",
        title="Loose",
        folder="FashionMNIST",
        files=tuple(replace(file, md5=None, archive_md5=None) for file in _OTHER.spec.files),
    ),
)
"""Replaces Fashion-MNIST; its files have no checksums."""

PREPARE = """
import base64, pickle
from mnist_cli import catalogue
from mnist_cli.data import fetch
specs = pickle.loads(base64.b64decode({specs!r}))
catalogue._CATALOGUE.update({{spec.name: spec for spec in specs}})
fetch.fetch.__kwdefaults__.update(connect_timeout=2.0, slow_timeout=2.0)
"""


def preparation() -> str:
    """Python that puts both into the program's catalogue, and shortens its time limits."""
    specs = [replace(MADE.spec, name="mnist"), UNKNOWN.spec]
    return PREPARE.format(specs=base64.b64encode(pickle.dumps(specs)).decode())


def start(folder: Path) -> Victim:
    """The program with these data sets, in a folder of its own."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "")
    return Victim(folder, preparation(), MNIST_DATA_DIR="", **proxies)


BY_NAME = {"mnist": MADE, "fashion-mnist": UNKNOWN}
