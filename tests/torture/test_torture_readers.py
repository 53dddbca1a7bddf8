"""No way in for a stranger's checkpoint is left untried, and each would read a good one."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path

import pytest
from command_tree import commands
from readers import COMMANDS, READERS, WAYS_IN, good, taken_in
from victim import Victim

READ_NONE = {
    "bench",
    "doctor",
    "data fetch",
    "data verify",
    "data show",
    "data path",
    "data convert",
    "runs compare",
    "runs show",
    "runs rm",
    "config show",
    "config list",
    "sweep",
}
"""Commands that open no checkpoint."""
NO_CHECKPOINT = {
    *("data_dir", "runs", "out", "plots", "png", "picture", "config", "folders", "model"),
    *("recipe", "run_folder", "run_folders"),
}
"""Parameters that name a folder, a file to write, a recipe or the source of a network."""
SAYS_SO = re.compile(r"checkpoint|\bFILE\b|\bRUN\b|\.pt\b")
PLACE = Path("the/file.pt")


def may_name_a_checkpoint(name: str, annotation: typing.Any) -> bool:
    """Whether a parameter takes a path, or a text that is said to be one."""
    if name in NO_CHECKPOINT or typing.get_origin(annotation) is not typing.Annotated:
        return False
    kind, told, *_ = typing.get_args(annotation)
    if "Path" in str(kind):
        return True
    return "str" in str(kind) and bool(SAYS_SO.search(f"{told.metavar} {told.help}"))


def ways_in(command: str) -> set[tuple[str, str]]:
    """The parameters of a command by which a checkpoint may come in."""
    parameters = inspect.signature(COMMANDS[command], eval_str=True).parameters
    return {
        (command, name)
        for name, parameter in parameters.items()
        if may_name_a_checkpoint(name, parameter.annotation)
    }


def tried() -> set[tuple[str, str]]:
    """The parameters that get the file in :data:`readers.WAYS_IN`, as Typer parses its words."""
    found = set()
    for make in WAYS_IN.values():
        command, *words = map(str, make(PLACE))
        values = commands()[f"mnist {command}"].make_context(command, words).params
        found |= {(command, name) for name, value in values.items() if holds_the_place(value)}
    return found


def holds_the_place(value: object) -> bool:
    inner = value if isinstance(value, list | tuple) else [value]
    return any(str(one) == str(PLACE) for one in inner)


def test_every_command_is_known_to_read_checkpoints_or_not_to() -> None:
    assert set(READERS) == {make(PLACE)[0] for make in READERS.values()}
    assert set(READERS) | READ_NONE == set(COMMANDS)
    assert not set(READERS) & READ_NONE


def test_every_way_in_for_a_checkpoint_is_tried() -> None:
    missing = set().union(*(ways_in(command) for command in COMMANDS)) - tried()
    assert not missing, f"add them to readers.py, or to NO_CHECKPOINT: {missing}"


@pytest.mark.parametrize("command", READERS)
def test_a_way_in_by_any_name_would_be_noticed(command: str) -> None:
    assert ways_in(command), "the parameter that reads its checkpoint is not seen as one"


@pytest.mark.parametrize("name", WAYS_IN)
def test_the_good_one_is_read(victim: Victim, name: str) -> None:
    """What all attacks are worth: each reader, under the same cap, reads the whole file."""
    (end,) = victim.run(WAYS_IN[name](good(victim)))
    if name == "inspect-grad --grad":  # takes one tensor: read, and no checkpoint
        assert end.refused(4), end.err
        assert "not one tensor" in end.message
    else:
        assert taken_in(name, end), end.err
