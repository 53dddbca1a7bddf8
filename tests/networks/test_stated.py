"""The normalisation that the class of a user's own network states."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_files import NET, network_file

from mnist_cli.errors import UsageError
from mnist_cli.networks.stated import stated_normalisation


def stated(folder: Path, *lines: str) -> tuple[float, float] | None:
    """What the class states with these lines in it."""
    body = "".join(f"    {line}\n" for line in lines)
    source = NET.replace("class Net(nn.Module):\n", f"class Net(nn.Module):\n{body}")
    return stated_normalisation(f"{network_file(folder / 'net.py', source)}:Net")


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("normalisation = (0.5, 0.25)", (0.5, 0.25)),
        ("normalisation = [0, 1]", (0.0, 1.0)),
        ("normalization = (0.5, 0.25)", (0.5, 0.25)),
        ("normalisation = 'none'", (0.0, 1.0)),
        ("normalisation = None", None),
        ("normalisation = nn.BatchNorm2d", None),
        ("normalisation = True", None),
        ("def normalisation(self): return 1", None),
        ("mean, std = 0.5, 0.5", None),
    ],
)
def test_what_a_class_states(tmp_path: Path, line: str, pair: tuple[float, float] | None) -> None:
    assert stated(tmp_path, line) == pair


@pytest.mark.parametrize(
    "value", ["0.5", "(0.5,)", "(0.5, 0)", "('a', 1)", "'batch'", "{'mean': 0, 'std': 1}"]
)
def test_another_form_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match=r"net\.py:Net\.normalisation is .*, not a mean") as error:
        stated(tmp_path, f"normalisation = {value}")
    assert "(0.1307, 0.3081)" in error.value.hint


def test_a_network_of_this_program_states_none() -> None:
    assert stated_normalisation("conv4") is None
