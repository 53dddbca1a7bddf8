"""Finds the cards for which a build of torch has kernels, by ``torch.cuda.get_arch_list()``.

``sm_86`` is machine code for compute capability 8.6 and later ones within 8.x. ``compute_90`` is
PTX, which the driver compiles for 9.0 and anything newer. ``sm_90a`` runs only on 9.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Capability = tuple[int, int]


def parse(arch: str) -> tuple[str, Capability, str] | None:
    """``sm_90a`` as ("sm", (9, 0), "a"); None for anything but an NVIDIA architecture."""
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    return (found[1], (int(found[2]), int(found[3])), found[4]) if found else None


def supports(archs: Iterable[str], capability: Capability) -> bool:
    """Whether one of the architectures of a build runs on a card of this capability."""
    return any(_fits(arch, capability) for arch in archs)


def _fits(arch: str, card: Capability) -> bool:
    known = parse(arch)
    if known is None:
        return False
    kind, code, suffix = known
    if suffix == "a":
        return code == card
    if kind == "compute" and not suffix:
        return card >= code
    return code[0] == card[0] and card[1] >= code[1]


def is_newer_than_build(archs: Iterable[str], capability: Capability) -> bool:
    """Whether the card is newer than everything in the build."""
    codes = _codes(archs)
    return bool(codes) and capability > codes[-1]


def build_range(archs: Iterable[str]) -> str:
    """The capabilities of a build in words: ``7.5, 8.0, 8.6 and 9.0``; "" if there are none."""
    words = [f"{major}.{minor}" for major, minor in _codes(archs)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _codes(archs: Iterable[str]) -> Sequence[Capability]:
    return sorted({known[1] for arch in archs if (known := parse(arch))})
