"""The keys of the configuration: name, type, default, bounds, meaning, and the option of ``mnist train``.

One source for all of them: :class:`mnist_cli.config.schema.TrainConfig` validates what is declared
here, :mod:`mnist_cli.options` makes options of it, and docs/reference.md lists it. A new
key is one declaration. Imports no pydantic, so that ``--help`` can read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mnist_cli import catalogue
from mnist_cli.config.choices import Loader, Optimizer, Precision, Schedule, known_models
from mnist_cli.config.names import ModelName

GENERAL, RECIPE, STOPPING = None, "Recipe", "Stopping and saving"
DATA, COMPUTE = "Data", "Compute"


@dataclass(frozen=True)
class Option:
    """How ``mnist train`` offers a key as an option.

    Attributes:
        panel: the heading in ``--help``; None is the general one.
        short: a short spelling, such as ``-e``.
        metavar: the placeholder of the value in ``--help``; empty takes it from the type.
        name: its name without dashes; empty takes the key's.
    """

    panel: str | None
    short: str = ""
    metavar: str = ""
    name: str = ""


@dataclass(frozen=True)
class Key:
    """What a key means, and what its value may be.

    Attributes:
        default: its value if nothing sets it.
        help: sentences for ``--help``, messages and the reference.
        option: its option; None leaves it to ``--set`` and files.
        ge: the least number allowed; ``gt`` excludes the bound itself.
        gt: see ``ge``.
        le: the greatest number allowed; ``lt`` excludes the bound itself.
        lt: see ``le``.
        pattern: a regular expression that a text must match.
    """

    default: Any
    help: str
    option: Option | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    pattern: str | None = None

    __is_annotated_types_grouped_metadata__ = True
    """Makes pydantic read the bounds by iteration."""

    def __iter__(self) -> Iterator[Any]:
        """The bounds as pydantic knows them."""
        from pydantic import Field

        bounds = Field(ge=self.ge, gt=self.gt, le=self.le, lt=self.lt, pattern=self.pattern)
        yield from bounds.metadata


def key(*values: Any, **bounds: Any) -> Any:
    """A :class:`Key`, which type checkers take for the value that :func:`_table` makes of it."""
    return Key(*values, **bounds)


def _table(keys: type) -> type:
    """Turn each key into an annotated type and its default value, which pydantic reads."""
    hints = get_type_hints(keys)
    declared = {name: vars(keys)[name] for name in hints}
    keys.__annotations__ = {name: Annotated[hints[name], key] for name, key in declared.items()}
    for name, one in declared.items():
        setattr(keys, name, one.default)
    return keys


@_table
class Keys:
    """Every key with its type and default; None defers to the optimiser's or schedule's own."""

    # Network and data
    dataset: str = key(
        "auto",
        f"Data set: auto, {', '.join(catalogue.names())}; or your own: a folder of image folders, "
        "one per class; a folder of IDX files; or a CSV, npz or Parquet file. auto is MNIST. It "
        "falls back to scikit-learn's digits if MNIST is neither on disk nor downloadable.",
        Option(DATA, metavar="NAME|PATH"),
    )
    model: ModelName = key(
        ModelName("conv4"),
        f"Network: {known_models()}.",
        Option(GENERAL, metavar="NAME|FILE.py:CLASS"),
    )
    start: str | None = key(
        None,
        "Checkpoint to start from: its weights and its network, with a fresh optimiser. A file, a "
        "run or its number; other programs' files too. A last layer for another number of classes "
        "is reinitialised.",
        Option(GENERAL, metavar="CHECKPOINT", name="from"),
        pattern=r"\S",
    )
    seed: int = key(0, "Seed of every random choice.", Option(GENERAL), ge=0, lt=2**63)
    epochs: int = key(3, "Passes over the training set.", Option(RECIPE, "-e"), ge=1, le=100_000)
    train_size: int = key(0, "Number of training images; 0 uses all.", ge=0)
    prefer_hard: float = key(
        0.0,
        "How strongly the choice of train_size images prefers hard ones; 0 gives all the same "
        "probability. A small classifier estimates how hard each image is; images with wrong "
        "labels count as hard.",
        ge=0,
        le=100,
    )
    val_size: int | None = key(
        None,
        "Number of images held out from the training set to choose best.pt; 0 holds out none. "
        "Default: 5000, or a tenth of a set smaller than 50,000; the images in val/ of your own "
        "data.",
        ge=0,
    )
    ensemble: int = key(
        1,
        "Number of networks to train at once; they start from different weights and vote.",
        Option(RECIPE),
        ge=1,
        le=100,
    )

    # Batches
    loader: Loader = key(
        "device",
        "device: the data set stays on the device as uint8; dataloader: torch's DataLoader, "
        "image by image.",
        Option(DATA),
    )
    workers: int = key(
        0,
        "Worker processes of the dataloader; 0 loads in the main process.",
        Option(DATA),
        ge=0,
        le=256,
    )
    batch_size: int = key(64, "Images per batch.", Option(RECIPE, "-b"), ge=1, le=2**31 - 1)
    accumulate: int = key(
        1,
        "Batches whose gradients are averaged for one step: a step on N times batch_size images, "
        "in the memory of one batch.",
        Option(RECIPE),
        ge=1,
        le=10_000,
    )
    # With 1000 images, a layer's output exceeds 32 MiB, above which glibc returns freed memory to
    # the system. Evaluation took 1.3 to 1.7 times as long, since pages were mapped again.
    eval_batch_size: int = key(250, "Images per batch in evaluation.", ge=1, le=2**31 - 1)
    drop_last: bool = key(False, "Skip an epoch's last batch if it is not full.")

    # Augmentation of the training images; 0 is off
    shift: float = key(2.0, "Shift by up to this number of pixels in each direction.", ge=0, le=28)
    rotate: float = key(
        10.0, "Rotate by up to this number of degrees in each direction.", ge=0, le=180
    )
    scale: float = key(0.1, "Scale by up to this fraction, larger or smaller.", ge=0, lt=1)
    shear: float = key(5.0, "Shear by up to this number of degrees in each direction.", ge=0, le=80)
    erase: float = key(0.0, "Probability of erasing a random rectangle.", ge=0, le=1)

    # Optimiser
    optimizer: Optimizer = key(
        "sgd", "Optimiser. muon: Muon for matrices, AdamW for the rest.", Option(RECIPE)
    )
    lr: float = key(
        0.15, "Learning rate; the peak of the schedule.", Option(RECIPE, metavar="RATE"), gt=0
    )
    weight_decay: float = key(5e-4, "L2 penalty (adamw, muon: decoupled).", ge=0)
    momentum: float | None = key(None, "sgd, muon: momentum.", ge=0, lt=1)
    nesterov: bool | None = key(None, "sgd, muon: Nesterov momentum.")
    ns_steps: int | None = key(None, "muon: Newton-Schulz iterations per step.", ge=1, le=100)
    muon_filters: bool | None = key(
        None,
        "muon: Muon instead of AdamW updates the filters of convolutions, and other parameters of "
        "3 to 5 dimensions, as rows of a matrix.",
    )
    beta1: float | None = key(None, "adam, adamw, muon: decay of the mean.", ge=0, lt=1)
    beta2: float | None = key(None, "adam, adamw, muon: decay of the square.", ge=0, lt=1)
    rho: float | None = key(None, "adadelta: decay of the squares.", ge=0, lt=1)
    eps: float | None = key(None, "adam, adamw, adadelta, muon: added to the denominator.", gt=0)

    # Schedule of the learning rate, by the step
    schedule: Schedule = key("onecycle", "Schedule of the learning rate.", Option(RECIPE))
    warmup: float = key(0.0, "Epochs of linear warm-up before the schedule (not onecycle).", ge=0)
    step_epochs: int | None = key(None, "step: epochs between two drops.", ge=1)
    gamma: float | None = key(None, "step: factor of each drop.", gt=0, le=1)
    peak_at: float | None = key(
        None, "onecycle: fraction of the run at which lr is reached.", gt=0, lt=1
    )
    initial_factor: float | None = key(
        None, "onecycle: first learning rate divided by lr.", gt=0, le=1
    )
    final_factor: float | None = key(
        None, "cosine, onecycle: last learning rate divided by lr.", ge=0, le=1
    )

    # Loss and weights
    label_smoothing: float = key(0.1, "Share of the target spread over all classes.", ge=0, lt=1)
    clip_norm: float = key(0.0, "Clip the gradient to this 2-norm; 0 disables it.", ge=0)
    ema: float = key(
        0.0,
        "Decay per step of an average of the weights, used in evaluation; 0 disables it.",
        ge=0,
        lt=1,
    )

    # When to stop before the last epoch. Learning-rate schedules still plan for all epochs.
    max_steps: int = key(
        0,
        "Stop after this number of steps, even within an epoch; 0 disables it.",
        Option(STOPPING),
        ge=0,
    )
    max_time: float = key(
        0.0,
        "Stop after this number of seconds of training, even within an epoch; 0 disables it.",
        Option(STOPPING, metavar="SECONDS"),
        ge=0,
    )
    early_stopping: int = key(
        0,
        "Stop after this number of epochs without a better validation accuracy; 0 disables it.",
        Option(STOPPING),
        ge=0,
    )
    target_accuracy: float = key(
        0.0,
        "Stop when the validation accuracy reaches this, for example 0.99; 0 disables it.",
        Option(STOPPING, metavar="FRACTION"),
        ge=0,
        le=1,
    )

    # Device and computation
    device: str = key(
        "auto",
        "Device to compute on. auto chooses one. If a named device is unavailable, the command fails.",
        Option(COMPUTE, metavar="auto|cpu|cuda|cuda:N|mps"),
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
    )
    precision: Precision = key(
        "auto",
        "Precision. auto selects bf16 if the hardware supports it, else fp32.",
        Option(COMPUTE),
    )
    channels_last: bool = key(
        True,
        "Keep images and weights in channels-last memory order. Default: true, but false for "
        "a network of your own, which may rely on the usual order (x.view).",
    )
    compile: bool = key(False, "Compile the network with torch.compile.", Option(COMPUTE))
    cuda_graph: Literal["auto"] | bool = key(
        "auto",
        "CUDA: capture steps in a graph and replay it. auto does so wherever possible.",
        Option(COMPUTE),
    )
    deterministic: bool = key(
        False,
        "CUDA: use deterministic algorithms, at lower speed. With --no-cuda-graph, runs are then "
        "bitwise identical. CPU runs always are, except with --compile.",
        Option(COMPUTE),
    )
    threads: int = key(0, "CPU threads; 0 uses torch's default.", Option(COMPUTE), ge=0, le=1024)
    halves: Literal["auto"] | bool = key(
        "auto",
        "CPU: compute the two halves of each batch at the same time, each with half of the "
        "threads. Batch norm normalises each half separately. auto does so if it is possible: with "
        "conv2, conv4, oriented (any width) or example-2018, in one process, without ensemble, "
        "accumulate and compile.",
    )
    checkpoint_every: int = key(
        0,
        "Steps between checkpoints, in addition to one per epoch; 0 disables them.",
        Option(STOPPING),
        ge=0,
    )
    log_every: int = key(
        0,
        "Steps between rows of metrics.jsonl, counted in each epoch; 0 writes about 100 rows per "
        "run.",
        Option(STOPPING),
        ge=0,
    )


KEYS: Mapping[str, Key] = {
    name: annotated.__metadata__[0] for name, annotated in Keys.__annotations__.items()
}
"""By name, in the order of files."""


def flag(name: str) -> str:
    """A key's option as it is typed: ``--batch-size``."""
    option = KEYS[name].option if name in KEYS else None
    return f"--{(option and option.name) or name.replace('_', '-')}"


def kinds(name: str) -> tuple[Any, ...]:
    """The types of a key's values; None is not one of them: ``(Literal["auto"], bool)``."""
    kind = get_args(Keys.__annotations__[name])[0]
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(member for member in members if member is not type(None))


def is_truth(name: str) -> bool:
    """Whether a key's value may be true or false."""
    return bool in kinds(name)


def words(name: str) -> tuple[str, ...]:
    """The words that a key allows; empty if its value is not one of a set of words."""
    return tuple(
        word for kind in kinds(name) if get_origin(kind) is Literal for word in get_args(kind)
    )
