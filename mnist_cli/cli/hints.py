"""What was probably meant by an option, a command or a word that does not exist.

Read only after a usage error. Names from other programs are in :mod:`mnist_cli.base.suggest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mnist_cli import catalogue
from mnist_cli.base.suggest import nearest
from mnist_cli.config.choices import preset_names, width_of
from mnist_cli.config.keys import KEYS, flag, kinds
from mnist_cli.config.names import ModelName

PHRASES = {
    "--device cuda": "gpu cuda use_cuda use_gpu gpu_id gpu_ids",
    "--device cpu": "cpu no_cuda no_gpu use_cpu disable_cuda no_accel",
    "--device mps": "mps use_mps",
    "--precision fp16": "fp16 half",
    "--precision bf16": "bf16",
    "--precision fp32": "fp32 no_amp",
    "--set beta1=0.9 --set beta2=0.999": "betas",
    "--optimizer adam": "adam",
    "--optimizer sgd": "sgd",
    "--split val": "val valid validation",
    "--split test": "test",
    "--split train": "train",
    "--no-fold": "unfold expand",
    "--version": "v",
}
"""By what to type, the options of other programs that it replaces; without dashes."""

NOTES = {
    "--set": {
        "dropout dropout_rate drop p_drop": "Dropout is part of a network: write your own, and "
        "name it with --model net.py:Net.",
        "loss criterion loss_fn objective": "The loss is always cross-entropy; --set "
        "label_smoothing changes it.",
        "augment augmentation no_augment transforms": "The keys shift, rotate, scale, shear and "
        "erase augment images, as in --set rotate=15.",
        "classes num_classes": "The data set determines the number of classes.",
        "list list_presets list_models": "`mnist config list` lists the presets, `mnist train "
        "--help` the networks.",
        "cv folds kfold": "A validation set is held out; --set val_size sets its size.",
    },
    "--seeds": {"resume continue": "The same command continues an interrupted sweep."},
    "--port": {
        "host hostname address bind listen ip share public": "Only this machine can open the page. "
        "Over SSH, `mnist draw` prints the command that forwards it to yours.",
    },
    "--scaling": {
        "seeds runs n repeat repeats trials": "Give the number of runs after the recipe's name: "
        "`mnist bench fast:10`.",
    },
}
"""Why a command lacks an option of other programs. The outer key is an option that it has, the inner
one lists the names of the option that it lacks."""

COMMANDS = {
    "train": "fit run learn training start finetune",
    "train --resume": "resume continue",
    "sweep": "tune grid gridsearch search optimize hyperparameters multirun optuna",
    "eval": "test evaluate val validate score accuracy",
    "predict": "infer inference classify recognise recognize read label",
    "draw": "serve web gui demo app ui paint gradio",
    "inspect-grad --gradcheck": "gradcheck",
    "inspect-grad --replay": "replay",
    "inspect-grad": "grad grads gradient gradients graph autograd backward",
    "plot --only saliency": "saliency explain",
    "plot --only confusion": "confusion",
    "plot": "visualise visualize viz picture pictures figures curves plots",
    "model": "summary torchinfo layers architecture network net models",
    "export": "onnx save to-onnx",
    "bench": "benchmark speed time timeit profile",
    "runs": "list ls history experiments results log logs",
    "runs compare": "compare diff",
    "runs rm": "rm remove delete",
    "data": "dataset datasets",
    "data fetch": "fetch download get",
    "data verify": "verify",
    "data convert": "convert",
    "data path": "path",
    "config": "preset presets recipe recipes cfg settings configs",
    "doctor": "info check checks env environment system devices gpu status health",
    "runs show": "show",
}
"""By command, what other programs call it."""

WITHIN = {
    "mnist runs": {
        "": "list ls all table",
        "compare": "diff",
        "rm": "delete remove del",
        "show": "info view describe",
    },
    "mnist data": {
        "fetch": "download get pull",
        "verify": "check validate",
        "show": "view display sample samples ls list",
        "path": "where dir",
        "convert": "export",
    },
    "mnist config": {"show": "print get view cat", "list": "ls names presets recipes"},
}
"""The same within a group; an empty name is the group itself."""

ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "checkpoint": ("checkpoint target", "checkpoint ckpt weights run"),
    "data set": ("name source", "dataset data name"),
    "picture": ("pictures", "image images picture pictures img input file"),
    "run": ("targets run_folder folders run_folders", "run runs checkpoint"),
    "network": ("target", "model network net"),
    "recipe": ("recipes recipe", "config recipe preset"),
}
"""What commands take without an option: the names of their arguments, and options that people try."""


def about_option(option: str, typed: Sequence[str], command: Any) -> str:
    """A hint at the option of ``command`` that ``option`` may mean; empty if none is near."""
    flags = {one for parameter in command.params for one in _flags(parameter)}
    plain = option.lstrip("-").lower().replace("-", "_")
    if phrase := _replaced(plain, {known: names.split() for known, names in PHRASES.items()}):
        return f"Did you mean {phrase}?" if phrase.split()[0] in flags else ""
    if note := _note(plain, flags):
        return note
    if plain in preset_names() and "--config" in flags:
        return f"Did you mean --config {plain}?"
    if noun := _argument(plain, command):
        return f"Name the {noun} without an option: {_value_of(option, typed)}".rstrip(": ") + "."
    known = [*flags, *(KEYS if "--set" in flags else ())]
    near = nearest(option, known)
    if near in KEYS:
        value = _value_of(option, typed)
        if kinds(near) == (int,) and not value.isdecimal():  # as in val_split=0.1
            value = "VALUE"
        assigned = f"--set {near}={value or 'VALUE'}"
        return f"Did you mean {flag(near) if flag(near) in flags else assigned}?"
    reads_runs = near == "--runs" and "--set" not in flags
    if near and not (reads_runs and nearest(plain, ["out"])):  # --runs names a folder to read
        return f"Did you mean {near}?"
    return ""


def _note(plain: str, flags: set[str]) -> str:
    """Why a command with these options has none of the name; empty if there is no note."""
    notes = (note for flag, known in NOTES.items() if flag in flags for note in known.items())
    return next((note for names, note in notes if plain in names.split()), "")


def _argument(plain: str, command: Any) -> str:
    """The meaning of the argument that replaces an option; empty if none does."""
    names = {one.name for one in command.params if one.param_type_name == "argument"}
    for noun, (arguments, words) in ARGUMENTS.items():
        meant = plain in words.split() or nearest(plain, [noun])
        if meant and not names.isdisjoint(arguments.split()):
            return noun
    return ""


def about_command(word: str, path: str, commands: Iterable[str]) -> str:
    """A hint at the command of the group ``path`` that ``word`` may mean; empty if none is near."""
    known = list(commands)
    table = WITHIN.get(path, {}) if path != "mnist" else COMMANDS
    usual = {ours: theirs.split() for ours, theirs in table.items()}
    found = _replaced(word.lower(), usual)
    if found is not None and (not found or found.split()[0] in known):
        return f"Did you mean `{f'{path} {found}'.strip()}`?"
    shown = {"mnist runs": word.isdecimal(), "mnist config": word.lower() in preset_names()}
    if shown.get(path) and "show" in known:
        return f"Did you mean `{path} show {word}`?"
    near = nearest(word, known)
    return f"Did you mean `{path} {near}`?" if near else ""


def about_words(words: Sequence[str], typed: Sequence[str], command: Any) -> str:
    """A hint at the option that ``words`` may belong to; empty if that is not clear.

    ``words`` are the arguments of the line ``typed`` that the command does not take.
    """
    flags = {one for parameter in command.params for one in _flags(parameter)}
    first = words[0]
    if first.startswith("=") and first in typed[1:]:
        before = typed[typed.index(first) - 1]
        value = "".join(words).lstrip("=")
        return f"Write {before}={value}, without blanks around the equals sign."
    place = typed.index(first) if first in typed else 0
    option, value = typed[place - 2 : place] if place > 1 else ("", "")
    if option in ("--set", "-s") and value in KEYS:
        return f"Did you mean --set {value}={first}?"
    key, equals, _ = first.partition("=")
    if equals and key.lstrip("-") in KEYS and "--set" in flags:
        return f"Did you mean --set {first}?"
    given = {one for word in typed if word not in words for one in _options_for(word)}
    meant = [one for one in _options_for(first) if one in flags - given]
    swept = option in ("--set", "-s") or option.lstrip("-").replace("-", "_") in KEYS
    if command.name == "sweep" and swept and (not meant or option in meant):
        return f"Separate the values with commas: {option} {','.join([value, *words])}."
    if meant:
        return f"Did you mean {meant[0]} {first}?"
    single = [one for one in command.params if one.param_type_name == "argument" and one.nargs == 1]
    return f"Give only one {single[0].metavar}." if single else ""


def _options_for(word: str) -> list[str]:
    """The options that accept a word as their value."""
    lower = word.lower()
    found = {
        "--config": lower in preset_names() or lower.endswith(".toml"),
        "--model": width_of(lower) is not None or ModelName(word).is_own,
        "--dataset": lower == "auto" or catalogue.find(word) is not None,
        "--device": lower in ("cpu", "cuda", "mps"),
        "--from": lower.endswith((".pt", ".pth")),
        "--out": lower.endswith((".onnx", ".pt2", ".safetensors", ".png", ".svg")),
    }
    return [option for option, fits in found.items() if fits]


def _flags(parameter: Any) -> list[str]:
    return (
        []
        if parameter.param_type_name == "argument"
        else [*parameter.opts, *parameter.secondary_opts]
    )


def _value_of(option: str, typed: Sequence[str]) -> str:
    """The value that was typed for an option; empty if none was."""
    for word, after in zip(typed, [*typed[1:], "-"], strict=True):
        flag, equals, value = word.partition("=")
        if flag == option:
            return value if equals else "" if after.startswith("-") else after
    return ""


def _replaced(word: str, table: dict[str, list[str]]) -> str | None:
    return next((ours for ours, theirs in table.items() if word in theirs), None)
