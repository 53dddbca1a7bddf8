"""Normalisations as text: names and numbers, what is refused, and the way back to text."""

from __future__ import annotations

import pytest

from mnist_cli.config import normalisations
from mnist_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("mnist", (0.1307, 0.3081)),
        ("none", (0.0, 1.0)),
        ("HALF", (0.5, 0.5)),
        ("0.1307,0.3081", (0.1307, 0.3081)),
        (" 0.5, 1 ", (0.5, 1.0)),
        ("-1,2e-3", (-1.0, 0.002)),
    ],
)
def test_what_a_text_means(text: str, pair: tuple[float, float]) -> None:
    assert normalisations.parse(text) == pair


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("imagenet", "'imagenet' is not a normalisation"),
        ("", "'' is not a normalisation"),
        ("0.5", "'0.5' is not a normalisation"),
        ("0.5,0.5,0.5", "'0.5,0.5,0.5' is not a normalisation"),
        ("0.5;0.5", "'0.5;0.5' is not a normalisation"),
        ("nan,1", "mean nan and standard deviation 1"),
        ("0,inf", "mean 0 and standard deviation inf"),
        ("0,0", "mean 0 and standard deviation 0"),
        ("0,-1", "mean 0 and standard deviation -1"),
        ("0,1e-40", "mean 0 and standard deviation 1e-40"),
        ("1e300,1", "mean 1e\\+300 and standard deviation 1"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        normalisations.parse(text)


@pytest.mark.parametrize("pair", [(0.1307, 0.3081), (0.0, 1.0), (0.5, 0.5), (0.25, 0.125)])
def test_the_text_of_a_pair_is_read_as_it(pair: tuple[float, float]) -> None:
    assert normalisations.parse(normalisations.spelled(*pair)) == pair


OURS = {"producer": "mnist_cli 1.0", "mean": "0.5", "std": "0.25"}


@pytest.mark.parametrize(
    ("metadata", "pair"),
    [
        (OURS, (0.5, 0.25)),
        ({}, None),
        ({"mean": "0.5", "std": "0.25"}, None),
        (OURS | {"producer": "another program"}, None),
        (OURS | {"std": "0"}, None),
        (OURS | {"mean": "[0.5]"}, None),
        ({"producer": "mnist_cli 1.0"}, None),
    ],
)
def test_what_the_metadata_of_a_file_state(
    metadata: dict[str, str], pair: tuple[float, float] | None
) -> None:
    assert normalisations.from_metadata(metadata) == pair
