"""Refuses options that do not go together, or that have no effect: a table of rules per command.

    RULES = (
        Excludes(("inference",), ("scaling",), "Give one of them."),
        Needs(("factors",), ("scaling",)),
    )
    contradictions.refuse(context, RULES)

Rules name a command's parameters; the message spells them as they were typed. They also hold for
the same key of the configuration in ``--set``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from mnist_cli.config.keys import KEYS
from mnist_cli.errors import UsageError


@dataclass(frozen=True)
class Excludes:
    """No parameter of ``names`` goes together with another one of ``others``."""

    names: tuple[str, ...]
    others: tuple[str, ...]
    hint: str = "Give one of them."


@dataclass(frozen=True)
class Needs:
    """A parameter of ``names`` has no effect unless one of ``others`` is given."""

    names: tuple[str, ...]
    others: tuple[str, ...]
    hint: str = ""


def given(context: typer.Context) -> dict[str, Any]:
    """The values of the parameters that were typed, by name; no defaults, no environment."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def refuse(
    context: typer.Context, rules: Iterable[Excludes | Needs], **also: bool
) -> dict[str, Any]:
    """Refuse what the rules forbid among the parameters that were typed.

    Args:
        context: of the command.
        rules: what does not go together.
        also: other conditions that the rules name, such as ``torchrun``; whether they hold.

    Returns:
        What was typed, as :func:`given`.

    Raises:
        UsageError: names the options.
    """
    typed = given(context)
    keys = KEYS.keys() & {
        text.partition("=")[0].strip().replace("-", "_") for text in typed.get("assignments") or ()
    }
    present = dict.fromkeys(keys) | typed | {name: True for name, holds in also.items() if holds}

    def shown(name: str) -> str:
        by_key = name in keys - typed.keys()
        return f"--set {name}" if by_key else spelled(context, name, present)

    for rule in rules:
        for name in (one for one in rule.names if one in present):
            others = [one for one in rule.others if one in present and one != name]
            if isinstance(rule, Excludes) and others:
                raise UsageError(
                    f"{shown(name)} and {shown(others[0])} contradict each other", rule.hint
                )
            if isinstance(rule, Needs) and not others:
                wanted = " or ".join(map(shown, rule.others))
                raise UsageError(
                    f"{shown(name)} has no effect without {wanted}",
                    rule.hint or f"Add {wanted}, or omit it.",
                )
    return typed


def spelled(context: typer.Context, name: str, values: Mapping[str, Any]) -> str:
    """A parameter as one types it: ``--format``, ``--no-fold`` if it is False, ``CHECKPOINT``."""
    parameter = next((one for one in context.command.params if one.name == name), None)
    if parameter is None:
        return name
    if parameter.param_type_name == "argument":
        return getattr(parameter, "metavar", None) or name.upper()
    negative = values.get(name) is False and parameter.secondary_opts
    return max(parameter.secondary_opts if negative else parameter.opts, key=len)
