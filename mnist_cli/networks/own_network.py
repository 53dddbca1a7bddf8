"""Builds a network of the user's own, from a class in a Python file that it runs and checks.

The class subclasses :class:`torch.nn.Module` and maps images (N, 1, 28, 28), float and normalised,
to scores (N, classes). It is built as ``Net(classes=K)`` if its ``__init__`` takes ``classes`` or
``num_classes``, else as ``Net()``. If its scores are log-probabilities, a class attribute
``log_probabilities = True`` states this. Its initial weights come from the generators of torch,
Python and NumPy, which are seeded; random numbers from other generators do not repeat.

The file is executed and may do anything. Its name must come from the user, never from a checkpoint;
:mod:`mnist_cli.checkpoints.checkpoint` ensures that. A file runs once per process, so that a run
keeps the code with which it began.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnist_cli.config.names import ModelName
from mnist_cli.errors import Caution, UsageError
from mnist_cli.networks import trial
from mnist_cli.networks.global_state import others_seeded, seeded, settings_kept
from mnist_cli.networks.source import (
    Source,
    changed,
    changed_beside,
    load,
    own_globals,
    run_again,
    running,
    siblings,
)
from mnist_cli.networks.trial import Subject, Trial
from mnist_cli.networks.unregistered import arrays, listed

CLASSES = ("classes", "num_classes")
"""Possible names of the argument for the number of classes."""

USUAL_CLASSES = 10
TRIED = 8
"""How many numbers of classes are tried for weights of another program."""


def build(model: str, classes: int) -> nn.Module:
    """The network ``path/net.py:Net`` with fresh weights, on the CPU, in training mode.

    Raises:
        UsageError: the file cannot be run, or the class is not a suitable network.
    """
    check(model, classes)
    return _construct(ModelName(model), classes)


def expected_weights(model: str, classes: int) -> Mapping[str, Tensor]:
    """Names, shapes and types of the network's weights.

    Raises:
        UsageError: as :func:`build`.
    """
    with torch.random.fork_rng(devices=[]):
        return build(model, classes).state_dict()


@cache
def check(model: str, classes: int | None) -> int:
    """Try temporary networks on batches of noise; return the number of classes.

    Scores that are not finite give a warning; see :func:`require_trainable`.

    Args:
        model: as in ``path/net.py:Net``.
        classes: the required number of classes; None accepts the class's default.

    Raises:
        UsageError: as :func:`build`.
    """
    model_name = ModelName(model)
    tried = _tried(model_name, classes)
    width = tried.width
    siblings(model_name.path)
    if tried.not_finite is not None:
        warnings.warn(tried.not_finite.message, Caution, stacklevel=2)
    if classes is not None and width != classes:
        raise UsageError(
            f"{model_name.label} has {width} outputs, but the data set has {classes} classes",
            f"Accept the number: def __init__(self, {CLASSES[0]}).",
        )
    return width


@cache
def _tried(model_name: ModelName, classes: int | None) -> Trial:
    return trial.try_out(_subject(model_name, classes))


def renew() -> None:
    """Run changed files again, for a process that stays alive while its user edits them.

    Python does not import the files again that such a file imports from its folder.
    """
    if beside := changed_beside():
        warnings.warn(
            f"{', '.join(one.name for one in beside)} has changed, but Python keeps what it has "
            "imported: restart the process to use it",
            Caution,
            stacklevel=2,
        )
    if changed():
        for function in (load, siblings, check, _tried):
            function.cache_clear()


def require_trainable(model: str, classes: int) -> None:
    """Refuse to train a network whose scores are not finite before its first step.

    Warns if resumed runs would differ.

    Raises:
        UsageError: the scores are not finite, or as :func:`build`.
    """
    model_name = ModelName(model)
    tried = _tried(model_name, classes)
    if tried.not_finite is not None:
        raise tried.not_finite
    if tried.differs:
        warnings.warn(f"{model_name.label} {tried.differs}", Caution, stacklevel=2)


def try_on(model: str, classes: int, count: int) -> None:
    """Train a temporary network on a batch of ``count`` images, such as an epoch's last batch.

    Raises:
        UsageError: training fails, or leaves a buffer or gradient that is not finite.
    """
    model_name = ModelName(model)
    subject = _subject(model_name, classes)
    with seeded(0):
        network = subject.build(False)
        before = {name: one.isfinite().all() for name, one in network.named_buffers()}
        trial.train(subject, network, count)
    gradients = ((name, p.grad) for name, p in network.named_parameters())
    for name, tensor in chain(network.named_buffers(), gradients):
        if (
            tensor is not None
            and before.get(name, True)
            and not bool(tensor.to_dense().isfinite().all())
        ):
            raise UsageError(
                f"{model_name.label}: training on {count} images leaves NaN or infinity in '{name}'"
            )


def _subject(model_name: ModelName, classes: int | None) -> Subject:
    """The network's class, for its trial."""
    modules: dict[bool, ModuleType] = {}

    def build(again: bool) -> nn.Module:
        modules[again] = (
            _as_elsewhere(model_name.path) if again else _loaded(model_name.path).module
        )
        return _construct(model_name, classes, network_class(model_name, modules[again]))

    def shared(network: nn.Module) -> Mapping[str, object]:
        home = next((m for m in modules.values() if m.__name__ == type(network).__module__), None)
        return own_globals(home) if home else {}

    return Subject(model_name.label, build, shared, partial(_running, model_name))


def count_classes(model: str, weights: Mapping[str, Tensor]) -> int:
    """The number of classes of another program's weights, if they are this network's.

    Tries the first dimensions of the weights, from the last weight to the first.

    Raises:
        UsageError: as :func:`build`.
    """
    model_name = ModelName(model)
    if _takes_classes(network_class(model_name)) is None:
        return check(model, None)
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    sizes = dict.fromkeys(t.shape[0] for t in reversed(list(weights.values())) if t.ndim)
    for classes in list(sizes)[:TRIED]:
        with contextlib.suppress(UsageError):
            expected = expected_weights(model, classes)
            if {name: tensor.shape for name, tensor in expected.items()} == shapes:
                return classes
    return USUAL_CLASSES


def provenance(model: str) -> dict[str, Any]:
    """A checkpoint's record of the source, as plain values; no program runs the recorded path."""
    model_name = ModelName(model)
    return {
        "path": str(model_name.path),
        "class": model_name.class_name,
        "sha256": _loaded(model_name.path).sha256,
        "siblings": dict(siblings(model_name.path)),
    }


def changes(model: str, recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """Differences, in words, between the source and a checkpoint's record of it.

    Raises:
        UsageError: as :func:`build`.
    """
    now, model_name, words = provenance(model), ModelName(model), []
    if recorded.get("class") != now["class"]:
        words.append(f"{model_name.label} is a different class from {recorded.get('class')!s:.60}")
    if recorded.get("sha256") != now["sha256"]:
        then = str(recorded.get("sha256"))
        words.append(
            f"{model_name.path.name} has changed (SHA-256 {then:.12}… then, {now['sha256']:.12}… now)"
        )
    before = recorded.get("siblings")
    for name, sha256 in now["siblings"].items():
        if not isinstance(before, Mapping) or before.get(name) != sha256:
            words.append(f"{name}, which it imports, has changed")
    return tuple(words)


def network_class(model_name: ModelName, module: ModuleType | None = None) -> type[nn.Module]:
    """The class of that name, in the file's module or in ``module``.

    Raises:
        UsageError: the file cannot be run, or has no such class; the hint lists its classes.
    """
    module = module or _loaded(model_name.path).module
    value = getattr(module, model_name.class_name, None)
    if isinstance(value, type) and issubclass(value, nn.Module):
        return value
    listed = ", ".join(_classes_of(module)) or "none that subclasses torch.nn.Module"
    if value is None:
        raise UsageError(
            f"{model_name.path} has no class {model_name.class_name}", f"It has: {listed}."
        )
    what = "a class" if isinstance(value, type) else f"a {type(value).__name__}"
    raise UsageError(
        f"{model_name.label} is {what} that does not subclass torch.nn.Module"
        if isinstance(value, type)
        else f"{model_name.label} is {what}, not a class that subclasses torch.nn.Module",
        f"The classes there: {listed}.",
    )


def _loaded(path: Path) -> Source:
    """The file, run; the random numbers that it draws repeat in every process."""
    with settings_kept(path.name), seeded(0):
        return load(path)


def _as_elsewhere(path: Path) -> ModuleType:
    """The file as another process might run it, with other random numbers.

    Without tensors among its globals, the file is not run again: no global could differ.
    """
    module = _loaded(path).module
    if not arrays(own_globals(module)):
        return module
    with settings_kept(path.name), seeded(1):
        return run_again(path, module)


@contextlib.contextmanager
def _running(model_name: ModelName, doing: str) -> Iterator[None]:
    with settings_kept(model_name.label), running(model_name.label, doing, model_name.path.parent):
        yield


def _classes_of(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]


# --- building


def _construct(
    model_name: ModelName, classes: int | None, kind: type[nn.Module] | None = None
) -> nn.Module:
    """A network with fresh weights, drawn from torch's generator or seeded by it."""
    kind = kind or network_class(model_name)
    taken = _takes_classes(kind)
    with others_seeded(torch.initial_seed()):
        with _running(model_name, "cannot be built"):
            network = kind(**({taken: classes} if taken and classes is not None else {}))
        if _without_shape(network):
            with _running(model_name, "fails on an image"), torch.no_grad():
                network.eval()(torch.zeros(1, 1, 28, 28, dtype=torch.float32))
    if unset := _without_shape(network):
        raise UsageError(
            f"{model_name.label}: {listed(unset)}: no shape, since forward in evaluation mode "
            "does not run their lazy modules",
            "Run them there, remove them, or give them their sizes: nn.Linear for nn.LazyLinear.",
        )
    return network.train()


def _without_shape(network: nn.Module) -> list[str]:
    """Parameters and buffers of lazy modules that have not run."""
    entries = chain(network.named_parameters(), network.named_buffers())
    return [name for name, one in entries if is_lazy(one)]


def _takes_classes(kind: type[nn.Module]) -> str | None:
    """The name of the class's argument for the number of classes, if it has one."""
    parameters = inspect.signature(kind).parameters
    return next((name for name in CLASSES if name in parameters), None)
