"""Options that several commands share, each defined once, and what they are turned into.

Imports neither torch nor the configuration: it is read for every ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from mnist_cli.api.places import DATA_DIR as DATA_DIR
from mnist_cli.api.places import RUNS as RUNS
from mnist_cli.api.places import named_path
from mnist_cli.base.suggest import did_you_mean
from mnist_cli.config import choices, keys, normalisations
from mnist_cli.config.names import ModelName
from mnist_cli.config.normalisations import MeanStd
from mnist_cli.errors import UsageError
from mnist_cli.options.completing import WORDS, complete, complete_assignments, complete_runs
from mnist_cli.report import themes

Command = Callable[..., None]

COMPUTE, DATA, OUTPUT = keys.COMPUTE, keys.DATA, "Output"


def of_key(name: str, default: str, meaning: str = "") -> Any:
    """The Typer option of a configuration's key, as :mod:`mnist_cli.config.keys` declares it.

    Args:
        name: the key's.
        default: what applies if it is not given, as ``--help`` says it; empty says nothing.
        meaning: its help; the key's by default.
    """
    key, words, flag = keys.KEYS[name], keys.words(name), keys.flag(name)
    assert key.option is not None
    truth = keys.is_truth(name)
    by_type = {int: "N", float: "X"}.get(keys.kinds(name)[0], "")
    metavar = key.option.metavar or "|".join(words) or by_type
    spelled = [f"{flag}/--no-{flag[2:]}"] if truth else [flag, key.option.short]
    return typer.Option(
        *filter(None, spelled),
        metavar=None if truth else metavar,
        help=f"{meaning or key.help} \\[default: {default}]" if default else key.help,
        parser=_parser(name),
        autocompletion=complete_runs if name == "start" else complete(WORDS.get(name, words)),
        rich_help_panel=key.option.panel,
    )


def _parser(name: str) -> Callable[[str], Any] | None:
    """Reads a value that may be typed in upper case; None for numbers, truths and paths."""
    if name == "model":
        return lambda text: choices.plain_model(ModelName.typed(text))
    return str.lower if name == "device" or (keys.words(name) and not keys.is_truth(name)) else None


def default_of(name: str) -> str:
    """The default of a key as TOML has it; empty for None, whose meaning the key's help says."""
    default = keys.KEYS[name].default
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


THE_RUNS = "the run's"

DeviceOption = Annotated[str | None, of_key("device", default_of("device"))]
PrecisionOption = Annotated[str | None, of_key("precision", THE_RUNS)]
NETWORK = "Network, or your own: path/to/net.py:Net. `mnist train --help` lists them."
DATA_SET = "Data set, or a path to your own data. `mnist train --help` lists them."
ModelOption = Annotated[ModelName | None, of_key("model", THE_RUNS, NETWORK)]
DatasetOption = Annotated[str | None, of_key("dataset", THE_RUNS, DATA_SET)]
ThreadsOption = Annotated[int | None, of_key("threads", "the recipe's")]
SeedOption = Annotated[int | None, of_key("seed", f"{THE_RUNS}, or 0")]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="MNIST_DATA_DIR",
        metavar="DIR",
        readable=False,
        callback=named_path,  # shells expand no ~ in a variable's value
        help="Folder of the data sets: a torchvision root, or one with the IDX files.",
        rich_help_panel=DATA,
    ),
]


def _parse_normalise(text: str) -> MeanStd:
    """What ``--normalise`` means.

    Raises:
        UsageError: no known name, and no such numbers.
    """
    try:
        return normalisations.parse(text)
    except UsageError as error:
        raise UsageError(f"--normalise: {error.message}", error.hint) from error


NormaliseOption = Annotated[
    MeanStd | None,
    typer.Option(
        "--normalise",
        metavar=normalisations.FORMS,
        help="Normalisation of the pixels: mnist (MNIST's mean and standard deviation), none "
        "(ToTensor alone), half (0.5 and 0.5), or a mean and a standard deviation. Default: that "
        "of training if it is known, or else the data set's.",
        parser=_parse_normalise,
        autocompletion=complete(tuple(normalisations.NAMED)),
        rich_help_panel=DATA,
    ),
]
RunsOption = Annotated[
    Path,
    typer.Option(
        "--runs",
        metavar="DIR",
        readable=False,
        help="Folder of the run directories.",
        rich_help_panel=OUTPUT,
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE|RUN",
        help=f"Preset ({', '.join(choices.preset_names())}), TOML file, or run to repeat: a network "
        "and its training. --config example trains as PyTorch's example does. --model example uses only "
        "its network. \\[default: default]",
        autocompletion=complete(choices.preset_names()),
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Set any key of the configuration; repeatable.",
        autocompletion=complete_assignments(),
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout, and everything else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the result only.", rich_help_panel=OUTPUT),
]


def out(metavar: str, meaning: str) -> Any:
    """The option ``--out`` of a command; ``meaning`` is its help."""
    return typer.Option(
        "--out", "-o", metavar=metavar, readable=False, help=meaning, rich_help_panel=OUTPUT
    )


CheckpointArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CHECKPOINT",
        readable=False,
        help="A checkpoint, or a run: its folder, number or name. Default: the newest run under "
        "--runs.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an expected failure.", rich_help_panel=OUTPUT
    ),
]


DarkOption = Annotated[
    bool,
    typer.Option(
        "--dark/--light",
        envvar="MNIST_DARK",
        help="Draw pictures on a dark background.",
        rich_help_panel=OUTPUT,
    ),
]


def with_figures(command: Command) -> Command:
    """Give a command that draws pictures the option ``--dark``, which holds for all of them."""

    @wraps(command)
    def coloured(*values: Any, dark: bool = False, **named: Any) -> None:
        with themes.figures(dark=dark):
            command(*values, **named)

    return _declare(coloured, {"dark": (DarkOption, False)})


def with_keys(command: Command) -> Command:
    """Give a command with ``**keys`` an option for each key of the configuration that has one.

    In ``--help``, these options follow ``--set``, the parameter ``assignments``.
    """
    options = {
        name: (Annotated[_value_type(name) | None, of_key(name, default_of(name))], None)
        for name, key in keys.KEYS.items()
        if key.option is not None
    }
    return _declare(command, options, after="assignments")


def _value_type(name: str) -> Any:
    """The type that Typer reads: words are text here, and the configuration judges them."""
    kinds = keys.kinds(name)
    if bool in kinds:
        return bool
    return str if keys.words(name) else kinds[0]


def with_debug(command: Command) -> Command:
    """Give a command the option ``--debug``, which :mod:`mnist_cli.cli` looks for on failure."""
    if "debug" in signature(command).parameters:
        return command

    @wraps(command)
    def without_debug(*values: Any, debug: bool = False, **named: Any) -> None:
        command(*values, **named)

    return _declare(without_debug, {"debug": (DebugOption, False)})


def _declare(
    command: Command, options: Mapping[str, tuple[Any, object]], after: str | None = None
) -> Command:
    """Declare to Typer options that the command's ``**`` takes: by name, annotation and default."""
    own = [
        one
        for one in signature(command, eval_str=True).parameters.values()
        if one.kind is not Parameter.VAR_KEYWORD
    ]
    added = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)
        for name, (annotation, default) in options.items()
    ]
    place = len(own) if after is None else 1 + [one.name for one in own].index(after)
    own[place:place] = added
    vars(command)["__signature__"] = Signature(own)
    return command


def parse_indices(text: str) -> list[int]:
    """The numbers that ``--indices 3,14,15`` names.

    Raises:
        UsageError: something that is not a number.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--indices {text}: not comma-separated numbers", "As in --indices 3,14,15."
        ) from error


def parse_words(flag: str, text: str | None, known: Sequence[str]) -> list[str]:
    """The words of a comma-separated list, each once; all known ones if it was not given.

    Raises:
        UsageError: a word that is not known.
    """
    if text is None:
        return list(known)
    plain = {word.lower(): word for word in known}
    typed = (word.strip() for word in text.split(","))
    words = list(dict.fromkeys(plain.get(word.lower(), word) for word in typed))
    for word in words:
        if word not in known:
            guess = did_you_mean(word, known)
            raise UsageError(
                f"{flag}: unknown value '{word}'", f"{guess} Choose among {', '.join(known)}."
            )
    return words
