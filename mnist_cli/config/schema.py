"""The configuration of a training run: one frozen, validated object, composed from layers.

The layers are the defaults, a preset or TOML file, ``--set`` and flags, or a checkpoint's own
(:mod:`mnist_cli.config.sources`), the later ones winning. Every value remembers which layer it
came from, so that a message about it can name the flag or the file's line.

Imports no torch: ``--help`` and a wrong flag answer at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mnist_cli.config.choices import (
    DEVICE,
    Loader,
    Optimizer,
    Precision,
    Schedule,
    is_known_model,
    unknown_model,
)
from mnist_cli.config.messages import conflict as _conflict
from mnist_cli.config.messages import explain, unknown_key
from mnist_cli.config.names import EXAMPLE, is_own_network
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
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
    },
}
"""The keys that each optimiser takes, with the values they have where none is given."""

SCHEDULE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "constant": {},
    "step": {"step_epochs": 1, "gamma": 0.7},
    "cosine": {"final_factor": 0.0},
    "onecycle": {"peak_at": 0.3, "initial_factor": 0.04, "final_factor": 4e-6},
}
"""The keys that each schedule takes; the one-cycle's are torch's OneCycleLR defaults."""

AUGMENTATIONS = ("shift", "rotate", "scale", "shear", "erase")

CHOOSERS = {"optimizer": OPTIMIZER_DEFAULTS, "schedule": SCHEDULE_DEFAULTS}

_NUMBERS = (int, float, int | None, float | None)


class TrainConfig(BaseModel):
    """Everything that decides what a training run computes, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What is trained on what
    dataset: str = Field(
        "auto",
        description="data set; auto is MNIST, or the bundled digits if MNIST is not available; "
        "or a path to your own",
    )
    model: str = Field("conv4", description=f"name of a network, or your own, {EXAMPLE}")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random choice")
    epochs: int = Field(5, ge=1, le=100_000, description="passes over the training set")
    train_size: int = Field(0, ge=0, description="number of training images; 0 is all")
    val_size: int | None = Field(
        None,
        ge=0,
        description="number of images cut from the training set to choose best.pt by; 0 is none. "
        "Default: 5000, or a tenth of a set smaller than 50,000",
    )

    ensemble: int = Field(
        1,
        ge=1,
        le=100,
        description="number of networks to train at once, from different weights, which vote",
    )

    # Batches
    loader: Loader = Field(
        "device",
        description="device: the data set stays on the device as uint8; dataloader: torch's DataLoader",
    )
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="worker processes of loader = dataloader; 0 loads in the main process",
    )
    batch_size: int = Field(128, ge=1, le=2**31 - 1, description="images per optimisation step")
    # Of 1000 images, layers' outputs are beyond the 32 MiB up to which glibc keeps memory for the
    # next one: evaluating then took 1.3 to 1.7 times as long, for pages that are mapped anew.
    eval_batch_size: int = Field(
        250, ge=1, le=2**31 - 1, description="images per batch in evaluation"
    )
    drop_last: bool = Field(False, description="skip an epoch's last batch if it is not full")

    # Augmentation of the training images; 0 is off
    shift: float = Field(
        2.0, ge=0, le=28, description="shift by up to this number of pixels in each direction"
    )
    rotate: float = Field(
        10.0, ge=0, le=180, description="rotate by up to this number of degrees in each direction"
    )
    scale: float = Field(
        0.1, ge=0, lt=1, description="scale by up to this fraction, larger or smaller"
    )
    shear: float = Field(
        5.0, ge=0, le=80, description="shear by up to this number of degrees in each direction"
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability of erasing a random rectangle")

    # Optimiser
    optimizer: Optimizer = Field("sgd", description="muon: Muon for matrices, AdamW for the rest")
    lr: float = Field(0.2, gt=0, description="learning rate; the highest of the schedule")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty (adamw, muon: decoupled)")
    momentum: float | None = Field(None, ge=0, lt=1, description="sgd, muon")
    nesterov: bool | None = Field(None, description="sgd, muon: Nesterov's momentum")
    ns_steps: int | None = Field(
        None, ge=1, le=100, description="muon: Newton-Schulz iterations per step"
    )
    beta1: float | None = Field(
        None, ge=0, lt=1, description="adam, adamw, muon: decay of the mean"
    )
    beta2: float | None = Field(
        None, ge=0, lt=1, description="adam, adamw, muon: decay of the square"
    )
    rho: float | None = Field(None, ge=0, lt=1, description="adadelta: decay of the squares")
    eps: float | None = Field(
        None, gt=0, description="adam, adamw, adadelta, muon: added to the denominator"
    )

    # Schedule of the learning rate, by the step
    schedule: Schedule = Field("onecycle", description="schedule of the learning rate")
    warmup: float = Field(
        0.0, ge=0, description="epochs of linear warm-up before the schedule (not onecycle)"
    )
    step_epochs: int | None = Field(None, ge=1, description="step: epochs between two drops")
    gamma: float | None = Field(None, gt=0, le=1, description="step: factor of each drop")
    peak_at: float | None = Field(
        None, gt=0, lt=1, description="onecycle: fraction of the run at which lr is reached"
    )
    initial_factor: float | None = Field(
        None, gt=0, le=1, description="onecycle: first learning rate over lr"
    )
    final_factor: float | None = Field(
        None, ge=0, le=1, description="cosine, onecycle: last learning rate over lr"
    )

    # Loss and weights
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="share of the target spread over all classes"
    )
    clip_norm: float = Field(0.0, ge=0, description="clip the gradient to this 2-norm; 0 is off")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of an average of the weights, used in evaluation; 0 is off",
    )

    # When to stop before the last epoch
    early_stopping: int = Field(
        0,
        ge=0,
        description="stop after this number of epochs without a better validation accuracy; 0 is off",
    )
    target_accuracy: float = Field(
        0.0, ge=0, le=1, description="stop when the validation accuracy reaches this; 0 is off"
    )

    # On what, and how
    device: str = Field("auto", pattern=f"^({DEVICE})$", description="auto, cpu, cuda, cuda:N, mps")
    precision: Precision = Field(
        "auto", description="auto is bf16 if the hardware computes in it, else fp32"
    )
    channels_last: bool = Field(
        True,
        description="keep images and weights in channels-last memory order. Default: true, but "
        "false for a network of your own, which may rely on the usual order (x.view)",
    )
    compile: bool = Field(False, description="compile the network with torch.compile")
    cuda_graph: Literal["auto"] | bool = Field(
        "auto",
        description="CUDA: capture steps in a graph and replay it; auto does so wherever possible",
    )
    deterministic: bool = Field(False, description="CUDA: the same bits in each run, slower")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0 is torch's choice")
    checkpoint_every: int = Field(
        0, ge=0, description="batches between checkpoints, in addition to one per epoch; 0 is off"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_as_number(cls, values: Any) -> Any:
        for key, value in values.items():
            field = cls.model_fields.get(key)
            if isinstance(value, bool) and field and field.annotation in _NUMBERS:
                raise _conflict(key, f"should be a number, not {str(value).lower()}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _usual_order_for_own_networks(cls, values: Any) -> Any:
        model = values.get("model")
        own = isinstance(model, str) and is_own_network(model)
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
            )
        if self.nesterov and not self.setting("momentum"):
            raise _conflict("nesterov", "needs a momentum above 0")
        if self.warmup and self.schedule == "onecycle":
            raise _conflict(
                "warmup", "schedule = onecycle has its own warm-up; set peak_at instead"
            )
        if self.warmup >= self.epochs:
            raise _conflict("warmup", f"must be shorter than the run of {self.epochs} epochs")
        for key in ("early_stopping", "target_accuracy"):
            if getattr(self, key) and self.val_size == 0:
                raise _conflict(key, "needs a validation set; set val_size above 0")
        return self

    def _reject_foreign_keys(self) -> None:
        for chooser, table in CHOOSERS.items():
            chosen = getattr(self, chooser)
            for key in sorted(_all_keys(table) - set(table[chosen])):
                if getattr(self, key) is not None:
                    takers = ", ".join(name for name, keys in table.items() if key in keys)
                    raise _conflict(
                        key, f"means nothing with {chooser} = {chosen}, only with {takers}"
                    )

    def setting(self, key: str) -> Any:
        """The value of ``key``, or its optimiser's or schedule's default, or None if foreign."""
        value = getattr(self, key)
        if value is not None:
            return value
        defaults = {**OPTIMIZER_DEFAULTS[self.optimizer], **SCHEDULE_DEFAULTS[self.schedule]}
        return defaults.get(key)

    def to_toml(self) -> str:
        """The resolved configuration as TOML text; keys that are not set are left out."""
        return tomlkit.dumps(self.to_plain())

    def to_plain(self) -> dict[str, Any]:
        """The configuration as plain values, as a checkpoint keeps it."""
        return self.model_dump(exclude_none=True)


KEYS: tuple[str, ...] = tuple(TrainConfig.model_fields)


def compose(layers: Iterable[Layer]) -> TrainConfig:
    """Put layers on top of the defaults, the later ones winning, and validate the result.

    Raises:
        UsageError: a key that does not exist, a value that is not allowed, or a contradiction;
            the message names the place it came from and what is allowed.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    typed: set[str] = set()
    for layer in layers:
        _forget_replaced(values, layer, kept=typed)
        typed |= set(layer.values) if layer.typed else set()
        for key, value in layer.values.items():
            place = layer.origin.get(key, "")
            if key not in TrainConfig.model_fields:
                raise unknown_key(key, place, KEYS)
            values[key], origin[key] = value, place
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise explain(error, origin, TrainConfig.model_fields) from None


def _forget_replaced(values: dict[str, Any], layer: Layer, kept: set[str]) -> None:
    """Drop what earlier layers say of an optimiser or schedule that this layer replaces.

    What was typed for this run is ``kept``: with the new optimiser it is a contradiction to tell.
    """
    for chooser, table in CHOOSERS.items():
        chosen = layer.values.get(chooser)
        if isinstance(chosen, str) and chosen in table and chosen != values.get(chooser):
            for foreign in _all_keys(table) - set(table[chosen]) - kept:
                values.pop(foreign, None)


def _all_keys(table: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {key for keys in table.values() for key in keys}
