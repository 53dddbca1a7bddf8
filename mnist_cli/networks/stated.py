"""The normalisation stated by the class of a user's own network.

The class attribute ``normalisation`` (or ``normalization``) is a mean and a standard deviation as
fractions of 255, ``(0.5, 0.5)``, or a name, ``"none"``. Training and every later command use it.
"""

from __future__ import annotations

from mnist_cli.config import normalisations
from mnist_cli.config.names import ModelName
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.errors import UsageError
from mnist_cli.networks.own_network import network_class

ATTRIBUTES = ("normalisation", "normalization")
PLAIN = (str, int, float, tuple, list, dict, set)
"""Types of a value that is meant as a normalisation; a layer's class, a method or a flag is not."""


def stated_normalisation(model: str) -> MeanStd | None:
    """Mean and standard deviation that the network's class states; None for a network of this program.

    Raises:
        UsageError: the user's file cannot be run, or the attribute has another form.
    """
    name = ModelName(model)
    if not name.is_own:
        return None
    return stated_by(network_class(name), name.label)


def stated_by(kind: type, label: str) -> MeanStd | None:
    """Mean and standard deviation that a class states; None if it states nothing.

    Raises:
        UsageError: the attribute has another form.
    """
    for attribute in ATTRIBUTES:
        value = getattr(kind, attribute, None)
        if isinstance(value, PLAIN) and not isinstance(value, bool):
            return _read(f"{label}.{attribute}", value)
    return None


def _read(what: str, value: object) -> MeanStd:
    try:
        if isinstance(value, str):
            return normalisations.parse(value)
        if isinstance(value, tuple | list) and len(value) == 2:
            return normalisations.checked(float(value[0]), float(value[1]))
    except (UsageError, TypeError, ValueError):
        pass
    names = ", ".join(f'"{name}"' for name in normalisations.NAMED)
    raise UsageError(
        f"{what} is {value!r:.60}, not a mean and a standard deviation above 0",
        f"As in (0.1307, 0.3081); or one of {names}. If it means something else, rename it.",
    )
