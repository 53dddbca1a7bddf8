"""The keys of the configuration: name, type, default, bounds, meaning, and the option of ``mnist train``.

One source for all of them: :class:`mnist_cli.config.schema.TrainConfig` validates what is declared
here, :mod:`mnist_cli.commands.options` makes options of it, and docs/reference.md lists it. A new
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
        metavar: what stands for the value; empty is by the type.
    """

    panel: str | None
    short: str = ""
    metavar: str = ""


@dataclass(frozen=True)
class Key:
    """What a key means, and what its value may be.

    Attributes:
        help: sentences for ``--help``, messages and the reference.
        option: its option; None leaves it to ``--set`` and files.
        ge: the least number allowed; ``gt`` excludes the bound itself.
        gt: see ``ge``.
        le: the greatest number allowed; ``lt`` excludes the bound itself.
        lt: see ``le``.
        pattern: a regular expression that a text must match.
    """

    help: str
    option: Option | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    pattern: str | None = None

    __is_annotated_types_grouped_metadata__ = True
    """Has pydantic read the bounds by iterating."""

    def __iter__(self) -> Iterator[Any]:
        """The bounds as pydantic knows them."""
        from pydantic import Field

        yield Field(ge=self.ge, gt=self.gt, le=self.le, lt=self.lt, pattern=self.pattern)


class Keys:
    """Every key with its type and default; None defers to the optimiser's or schedule's own."""

    # Network and data
    dataset: Annotated[
        str,
        Key(
            f"Data set: auto, {', '.join(catalogue.names())}; or your own: a folder that holds one "
            "folder of images per class, or IDX files. auto is MNIST; it falls back to "
            "scikit-learn's digits if MNIST is neither on disk nor downloadable.",
            Option(DATA, metavar="NAME|PATH"),
        ),
    ] = "auto"
    model: Annotated[
        ModelName,
        Key(
            f"Network: {known_models()}.",
            Option(GENERAL, metavar="NAME|FILE.py:CLASS"),
        ),
    ] = ModelName("conv4")
    seed: Annotated[int, Key("Seed of every random choice.", Option(GENERAL), ge=0, lt=2**63)] = 0
    epochs: Annotated[
        int, Key("Passes over the training set.", Option(RECIPE, "-e"), ge=1, le=100_000)
    ] = 5
    train_size: Annotated[int, Key("Number of training images; 0 is all.", ge=0)] = 0
    val_size: Annotated[
        int | None,
        Key(
            "Number of images cut from the training set to choose best.pt by; 0 is none. "
            "Default: 5000, or a tenth of a set smaller than 50,000.",
            ge=0,
        ),
    ] = None
    ensemble: Annotated[
        int,
        Key(
            "Number of networks to train at once, from different weights, which vote.",
            Option(RECIPE),
            ge=1,
            le=100,
        ),
    ] = 1

    # Batches
    loader: Annotated[
        Loader,
        Key(
            "device: the data set stays on the device as uint8; dataloader: torch's DataLoader, "
            "image by image.",
            Option(DATA),
        ),
    ] = "device"
    workers: Annotated[
        int,
        Key(
            "Worker processes of the dataloader; 0 loads in the main process.",
            Option(DATA),
            ge=0,
            le=256,
        ),
    ] = 0
    batch_size: Annotated[
        int, Key("Images per optimisation step.", Option(RECIPE, "-b"), ge=1, le=2**31 - 1)
    ] = 128
    # Of 1000 images, layers' outputs are beyond the 32 MiB up to which glibc keeps memory for the
    # next one: evaluating then took 1.3 to 1.7 times as long, for pages that are mapped anew.
    eval_batch_size: Annotated[int, Key("Images per batch in evaluation.", ge=1, le=2**31 - 1)] = (
        250
    )
    drop_last: Annotated[bool, Key("Skip an epoch's last batch if it is not full.")] = False

    # Augmentation of the training images; 0 is off
    shift: Annotated[
        float, Key("Shift by up to this number of pixels in each direction.", ge=0, le=28)
    ] = 2.0
    rotate: Annotated[
        float, Key("Rotate by up to this number of degrees in each direction.", ge=0, le=180)
    ] = 10.0
    scale: Annotated[float, Key("Scale by up to this fraction, larger or smaller.", ge=0, lt=1)] = (
        0.1
    )
    shear: Annotated[
        float, Key("Shear by up to this number of degrees in each direction.", ge=0, le=80)
    ] = 5.0
    erase: Annotated[float, Key("Probability of erasing a random rectangle.", ge=0, le=1)] = 0.0

    # Optimiser
    optimizer: Annotated[
        Optimizer,
        Key("Optimiser. muon: Muon for matrices, AdamW for the rest.", Option(RECIPE)),
    ] = "sgd"
    lr: Annotated[
        float,
        Key("Learning rate; the highest of the schedule.", Option(RECIPE, metavar="RATE"), gt=0),
    ] = 0.2
    weight_decay: Annotated[float, Key("L2 penalty (adamw, muon: decoupled).", ge=0)] = 5e-4
    momentum: Annotated[float | None, Key("sgd, muon: momentum.", ge=0, lt=1)] = None
    nesterov: Annotated[bool | None, Key("sgd, muon: Nesterov's momentum.")] = None
    ns_steps: Annotated[
        int | None, Key("muon: Newton-Schulz iterations per step.", ge=1, le=100)
    ] = None
    beta1: Annotated[float | None, Key("adam, adamw, muon: decay of the mean.", ge=0, lt=1)] = None
    beta2: Annotated[float | None, Key("adam, adamw, muon: decay of the square.", ge=0, lt=1)] = (
        None
    )
    rho: Annotated[float | None, Key("adadelta: decay of the squares.", ge=0, lt=1)] = None
    eps: Annotated[
        float | None, Key("adam, adamw, adadelta, muon: added to the denominator.", gt=0)
    ] = None

    # Schedule of the learning rate, by the step
    schedule: Annotated[Schedule, Key("Schedule of the learning rate.", Option(RECIPE))] = (
        "onecycle"
    )
    warmup: Annotated[
        float, Key("Epochs of linear warm-up before the schedule (not onecycle).", ge=0)
    ] = 0.0
    step_epochs: Annotated[int | None, Key("step: epochs between two drops.", ge=1)] = None
    gamma: Annotated[float | None, Key("step: factor of each drop.", gt=0, le=1)] = None
    peak_at: Annotated[
        float | None, Key("onecycle: fraction of the run at which lr is reached.", gt=0, lt=1)
    ] = None
    initial_factor: Annotated[
        float | None, Key("onecycle: first learning rate divided by lr.", gt=0, le=1)
    ] = None
    final_factor: Annotated[
        float | None, Key("cosine, onecycle: last learning rate divided by lr.", ge=0, le=1)
    ] = None

    # Loss and weights
    label_smoothing: Annotated[
        float, Key("Share of the target spread over all classes.", ge=0, lt=1)
    ] = 0.1
    clip_norm: Annotated[float, Key("Clip the gradient to this 2-norm; 0 is off.", ge=0)] = 0.0
    ema: Annotated[
        float,
        Key(
            "Decay per step of an average of the weights, used in evaluation; 0 is off.",
            ge=0,
            lt=1,
        ),
    ] = 0.0

    # When to stop before the last epoch
    early_stopping: Annotated[
        int,
        Key(
            "Stop after this number of epochs without a better validation accuracy; 0 is off.",
            Option(STOPPING),
            ge=0,
        ),
    ] = 0
    target_accuracy: Annotated[
        float,
        Key(
            "Stop when the validation accuracy reaches this, for example 0.99; 0 is off.",
            Option(STOPPING, metavar="FRACTION"),
            ge=0,
            le=1,
        ),
    ] = 0.0

    # Device and computation
    device: Annotated[
        str,
        Key(
            "Device to compute on. Only auto may choose; a named device is used, or the command "
            "fails.",
            Option(COMPUTE, metavar="auto|cpu|cuda|cuda:N|mps"),
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        ),
    ] = "auto"
    precision: Annotated[
        Precision,
        Key(
            "Precision. auto is bf16 if the hardware computes in it, else fp32.",
            Option(COMPUTE),
        ),
    ] = "auto"
    channels_last: Annotated[
        bool,
        Key(
            "Keep images and weights in channels-last memory order. Default: true, but false for "
            "a network of your own, which may rely on the usual order (x.view)."
        ),
    ] = True
    compile: Annotated[bool, Key("Compile the network with torch.compile.", Option(COMPUTE))] = (
        False
    )
    cuda_graph: Annotated[
        Literal["auto"] | bool,
        Key(
            "CUDA: capture steps in a graph and replay it. Default: auto, wherever possible.",
            Option(COMPUTE),
        ),
    ] = "auto"
    deterministic: Annotated[
        bool,
        Key(
            "CUDA: the same bits in each run, slower. A CPU always repeats its bits.",
            Option(COMPUTE),
        ),
    ] = False
    threads: Annotated[
        int, Key("CPU threads; 0 is torch's choice.", Option(COMPUTE), ge=0, le=1024)
    ] = 0
    checkpoint_every: Annotated[
        int,
        Key(
            "Batches between checkpoints, in addition to one per epoch; 0 is off.",
            Option(STOPPING),
            ge=0,
        ),
    ] = 0


_HINTS = get_type_hints(Keys, include_extras=True)

KEYS: Mapping[str, Key] = {name: hint.__metadata__[0] for name, hint in _HINTS.items()}
"""By name, in the order of files."""


def kinds(name: str) -> tuple[Any, ...]:
    """The types of a key's values; None is not one of them: ``(Literal["auto"], bool)``."""
    kind = get_args(_HINTS[name])[0]
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(member for member in members if member is not type(None))


def words(name: str) -> tuple[str, ...]:
    """The words that a key's value is one of; empty if it is something else."""
    return tuple(
        word for kind in kinds(name) if get_origin(kind) is Literal for word in get_args(kind)
    )


def permitted(name: str) -> str:
    """The value of a key in words: ``a whole number from 1 to 20``, or the words it may be."""
    key = KEYS[name]
    if {int, float} & set(kinds(name)):
        return number(whole=int in kinds(name), ge=key.ge, gt=key.gt, le=key.le, lt=key.lt)
    listed = words(name) or (key.option.metavar if key.option else "").split("|")
    return ", ".join(listed)


def number(
    *,
    whole: bool,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> str:
    """A number within bounds in words: ``a whole number from 1 to 20``."""
    kind = "a whole number" if whole else "a number"
    if ge is not None and le is not None:
        return f"{kind} from {_figure(ge)} to {_figure(le)}"
    words = {"at least": ge, "above": gt, "at most": le, "below": lt}
    bounds = [f"{word} {_figure(bound)}" for word, bound in words.items() if bound is not None]
    within = " and ".join(bounds)
    return f"{kind} of {within}" if within.startswith("at") else f"{kind} {within}".rstrip()


def _figure(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
