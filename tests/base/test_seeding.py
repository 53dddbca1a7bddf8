"""Seeds by purpose."""

from __future__ import annotations

import hashlib

from mnist_cli.base.seeding import derive


def test_the_derivation_is_sha256_of_what_is_written_out() -> None:
    digest = hashlib.sha256(b"7/image/3/41").hexdigest()
    assert derive(7, "image", 3, 41) == int(digest[:16], 16) // 2


def test_purposes_epochs_and_seeds_never_share_a_stream() -> None:
    seeds = [
        derive(seed, purpose, *numbers)
        for seed in (0, 1, 11)
        for purpose in ("order", "augment", "epoch", "weights")
        for numbers in ((), (0,), (1,), (11,), (1, 1), (0, 11), (10, 1))
    ]
    assert len(set(seeds)) == len(seeds)
