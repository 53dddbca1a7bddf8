"""Phrases that several descriptions of a cause share."""

from __future__ import annotations

import re

from mnist_cli.gpu.obstacle import Evidence

LISTS = "https://pytorch.org/get-started/locally shows the command"
CONTAINER = (
    "For a container, use `docker run --gpus all`; the host needs the NVIDIA Container Toolkit."
)
WITHOUT_GPU = "Without a GPU, --device auto trains on the CPU."
WSL = "In WSL, install the NVIDIA driver on Windows, not inside WSL; then run `wsl --shutdown`."

MINIMUM_DRIVER = {12: "525", 13: "580"}
"""Oldest driver for a major version of CUDA (CUDA Toolkit release notes, minor compatibility)."""

Words = tuple[str, str]
"""The detail and the next step."""


def driver_name(evidence: Evidence) -> str:
    """The driver with its version, if it is known."""
    return f"the NVIDIA driver {evidence.driver.version}".rstrip()


def enough(evidence: Evidence) -> str:
    """The driver that this build of torch needs at least."""
    cuda = evidence.build.cuda
    minimum = MINIMUM_DRIVER.get(int(cuda.partition(".")[0] or 0)) if cuda else None
    return f"version {minimum} or newer" if minimum else "its newest version"


def first_sentence(text: str) -> str:
    """The first sentence of torch's or CUDA's own words; "e.g." does not end one."""
    return re.split(r"(?<!e\.g)\. |\n", text, maxsplit=1)[0].strip().rstrip(".")
