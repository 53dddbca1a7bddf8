"""Describes each cause: the detail that follows "because", and the next step."""

from __future__ import annotations

import re

from mnist_cli.gpu.advice import row_for
from mnist_cli.gpu.archs import build_range
from mnist_cli.gpu.causes import find_cause
from mnist_cli.gpu.nvidia import parsed
from mnist_cli.gpu.obstacle import Cause, Evidence, GpuObstacle

MINIMUM_DRIVER = {12: "525", 13: "580"}
"""Oldest driver for a major version of CUDA (CUDA Toolkit release notes, minor compatibility)."""


def explain(evidence: Evidence) -> GpuObstacle:
    """The cause of a GPU that does not work, in words, with the next step."""
    return describe(find_cause(evidence), evidence)


def describe(cause: Cause, evidence: Evidence) -> GpuObstacle:
    """A cause that is known, in words."""
    row, fields = row_for(cause, evidence), _fields(evidence)
    return GpuObstacle(cause, row.detail.format_map(fields), row.next_step.format_map(fields))


def _fields(evidence: Evidence) -> dict[str, str]:
    """What the texts of :data:`~mnist_cli.gpu.advice.ROWS` may name."""
    build, driver, capability = evidence.build, evidence.driver, evidence.capability
    table, has = driver.table, evidence.supported_cuda
    card = ".".join(map(str, capability or ()))
    return {
        "answer": first_sentence(evidence.answer) or "torch gives no reason",
        "arch": f"sm_{card.replace('.', '')}" if capability else "its architecture",
        "built": build_range(build.archs) or "other cards",
        "capability": f", compute capability {card}" if capability else "",
        "card": evidence.name or evidence.label,
        "closed": " and ".join(driver.closed),
        "driver": f"the NVIDIA driver {driver.version}".rstrip(),
        "enough": _enough(build.cuda),
        "fault": first_sentence(driver.complaint or evidence.answer),
        "gpu": evidence.label,
        "has": has,
        "has_gpu": "this machine has an NVIDIA GPU, but " if driver.cards else "",
        "has_major": str(parsed(has)[0]),
        "mode": evidence.mode,
        "needed": build.cuda,
        "range": _range(evidence.answer),
        "rocm": f"ROCm {build.hip}".rstrip(),
        "supported": f" (it supports CUDA {has})" if has else "",
        "torch": build.version,
        "used": f" ({table[0].used} of {table[0].total} MiB in use)" if len(table) == 1 else "",
        "visible": repr(evidence.visible),
    }


def first_sentence(text: str) -> str:
    """The first sentence of torch's or CUDA's own words; "e.g." does not end one."""
    return re.split(r"(?<!e\.g)\. |\n", text, maxsplit=1)[0].strip().rstrip(".")


def _enough(cuda: str) -> str:
    """The oldest driver for a build of torch."""
    minimum = MINIMUM_DRIVER.get(parsed(cuda)[0])
    return f"version {minimum} or newer" if minimum else "its newest version"


def _range(answer: str) -> str:
    """The GPUs that torch sees, when one beyond them was asked for."""
    found = re.search(r"no such GPU: (\d+)", answer)
    count = int(found[1]) if found else 0
    return {0: "fewer GPUs", 1: "only cuda:0"}.get(count, f"cuda:0 to cuda:{count - 1}")
