"""The configuration of a training run: one frozen, validated object, composed from layers.

The layers are the defaults, a preset or TOML file, ``--set`` and flags, or a checkpoint's own
(:mod:`mnist_cli.config.sources`); later ones win. Every value remembers its layer, so that a message
about it names the flag or the line of the file. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mnist_cli.config.choices import is_known_model, unknown_model
from mnist_cli.config.keys import KEYS, Keys, kinds
from mnist_cli.config.messages import conflict as _conflict
from mnist_cli.config.messages import explain, unknown_key
from mnist_cli.config.names import ModelName
from mnist_cli.config.sources import Layer, find_config, from_assignments, from_file, from_flags

__all__ = [
    "KEYS",
    "OPTIMIZER_DEFAULTS",
    "SCHEDULE_DEFAULTS",
    "Layer",
    "TrainConfig",
    "compose",
    "find_config",
    "from_assignments",
    "from_file",
    "from_flags",
]

OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "adadelta": {"rho": 0.9, "eps": 1e-6},
    "muon": {
        "momentum": 0.95,
        "nesterov": True,
        "ns_steps": 5,
        "muon_filters": False,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
    },
}
"""The keys of each optimiser, with their defaults."""

SCHEDULE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "constant": {},
    "step": {"step_epochs": 1, "gamma": 0.7},
    "cosine": {"final_factor": 0.0},
    "onecycle": {"peak_at": 0.3, "initial_factor": 0.04, "final_factor": 4e-6},
}
"""The keys of each schedule, with their defaults; onecycle's are those of torch's OneCycleLR."""

AUGMENTATIONS = ("shift", "rotate", "scale", "shear", "erase")

CHOOSERS = {"optimizer": OPTIMIZER_DEFAULTS, "schedule": SCHEDULE_DEFAULTS}


class TrainConfig(Keys, BaseModel):
    """Everything that determines what a training run computes, and on what device."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    if TYPE_CHECKING:  # pydantic's plugin for mypy knows no fields of a plain base class

        def __init__(self, **values: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _no_truth_as_number(cls, values: Any) -> Any:
        for key, value in values.items():
            if isinstance(value, bool) and key in KEYS and {int, float} & set(kinds(key)):
                raise _conflict(key, f"should be a number, not {str(value).lower()}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _usual_order_for_own_networks(cls, values: Any) -> Any:
        model = values.get("model")
        own = isinstance(model, str) and ModelName(model).is_own
        return {"channels_last": False, **values} if own else values

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        self._reject_foreign_keys()
        if not is_known_model(self.model):
            message, way_out = unknown_model(self.model)
            raise _conflict("model", f"{message}; {way_out[0].lower()}{way_out[1:].rstrip('.')}")
        if self.workers and self.loader != "dataloader":
            raise _conflict(
                "workers",
                f"loader = {self.loader} has no workers; set loader = dataloader or workers = 0",
                "loader",
            )
        if self.nesterov and not self.setting("momentum"):
            raise _conflict("nesterov", "needs a momentum above 0", "momentum")
        if self.warmup and self.schedule == "onecycle":
            raise _conflict(
                "warmup", "schedule = onecycle has its own warm-up; set peak_at instead", "schedule"
            )
        if self.prefer_hard and not self.train_size:
            raise _conflict(
                "prefer_hard",
                "train_size = 0 uses all images; set train_size or prefer_hard = 0",
                "train_size",
            )
        if self.warmup >= self.epochs:
            run = f"the run of {self.epochs} epochs"
            raise _conflict("warmup", f"must be shorter than {run}", "epochs")
        for key in ("early_stopping", "target_accuracy"):
            if getattr(self, key) and self.val_size == 0:
                raise _conflict(key, "needs a validation set; set val_size above 0", "val_size")
        return self

    def _reject_foreign_keys(self) -> None:
        for chooser, table in CHOOSERS.items():
            chosen = getattr(self, chooser)
            for key in sorted(_all_keys(table) - set(table[chosen])):
                if getattr(self, key) is not None:
                    takers = ", ".join(name for name, keys in table.items() if key in keys)
                    raise _conflict(
                        key, f"has no effect with {chooser} = {chosen}, only with {takers}"
                    )

    @property
    def images_per_step(self) -> int:
        """Images of one optimisation step: of all batches whose gradients it averages."""
        return self.batch_size * self.accumulate

    @property
    def augments(self) -> bool:
        """Whether training images are changed at random."""
        return any(getattr(self, key) for key in AUGMENTATIONS)

    def setting(self, key: str) -> Any:
        """The value of ``key``, or its optimiser's or schedule's default, or None if foreign."""
        value = getattr(self, key)
        if value is not None:
            return value
        defaults = {**OPTIMIZER_DEFAULTS[self.optimizer], **SCHEDULE_DEFAULTS[self.schedule]}
        return defaults.get(key)

    def to_plain(self) -> dict[str, Any]:
        """The configuration as plain values, as in a checkpoint."""
        return self.model_dump(exclude_none=True)


def compose(layers: Iterable[Layer]) -> TrainConfig:
    """Put layers on top of the defaults, where later ones win, and validate the result.

    Raises:
        UsageError: a key that does not exist, a value that is not allowed, or a contradiction;
            the message names its source and what is allowed.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    typed: set[str] = set()
    for layer in layers:
        _forget_replaced(values, layer, kept=typed)
        typed |= set(layer.values) if layer.typed else set()
        for key, value in layer.values.items():
            place = layer.origin.get(key, "")
            if key not in KEYS:
                raise unknown_key(key, place)
            values[key], origin[key] = value, place
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise explain(error, origin) from None


def _forget_replaced(values: dict[str, Any], layer: Layer, kept: set[str]) -> None:
    """Drop the keys of an optimiser or schedule that this layer replaces.

    Keys that were typed for this run are ``kept``: beside the new optimiser they are an error.
    """
    for chooser, table in CHOOSERS.items():
        chosen = layer.values.get(chooser)
        if isinstance(chosen, str) and chosen in table and chosen != values.get(chooser):
            for foreign in _all_keys(table) - set(table[chosen]) - kept:
                values.pop(foreign, None)


def _all_keys(table: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {key for keys in table.values() for key in keys}
