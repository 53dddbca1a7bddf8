"""A network of the user's own: a class in a Python file, run, checked and built.

The class subclasses :class:`torch.nn.Module` and maps images (N, 1, 28, 28), float and normalised,
to scores (N, classes). It is built as ``Net(classes=K)`` where its ``__init__`` takes ``classes``
or ``num_classes``, else as ``Net()``. Where its scores are log-probabilities, a class attribute
``log_probabilities = True`` says so. Its first weights come from torch's generator, which is
seeded: what it draws elsewhere does not repeat.

The file is executed, with all that a program may do. Whoever calls this has the file's name from
the user, never from a checkpoint: :mod:`mnist_cli.checkpoints.checkpoint` sees to that. A file is run
once a process, so that a run keeps the code it began with.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnist_cli.config.names import ModelName
from mnist_cli.errors import UsageError
from mnist_cli.networks.source import load, running, siblings

CLASSES = ("classes", "num_classes")
"""What the argument may be called that says how many classes there are."""

USUAL_CLASSES = 10
TRIED = 8
"""Numbers of classes that are tried where weights alone say how many there are."""


def build(model: str, classes: int) -> nn.Module:
    """The network ``path/net.py:Net`` with fresh weights, on the CPU, in training mode.

    Raises:
        UsageError: the file, the class or what it computes is not as it must be.
    """
    check(model, classes)
    return _construct(_place(model), classes)


def expected_weights(model: str, classes: int) -> Mapping[str, Tensor]:
    """Names, shapes and types of the network's weights.

    Raises:
        UsageError: see :func:`build`.
    """
    with torch.random.fork_rng(devices=[]):
        return build(model, classes).state_dict()


@cache
def check(model: str, classes: int | None) -> int:
    """Try a throw-away network on batches of noise, and say how many classes it tells apart.

    Args:
        model: as in ``path/net.py:Net``.
        classes: how many there must be; None is as many as it has by itself.

    Raises:
        UsageError: see :func:`build`.
    """
    place = _place(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = _construct(place, classes)
        _require_plain_weights(place, network)
        scores = [_scores(place, network, count, training) for count, training in _TRIALS]
    if not scores[0].requires_grad:
        raise UsageError(
            f"{place.label}: no gradient flows from its scores to any weight",
            "It needs a parameter, and a way from there without detach() or no_grad().",
        )
    with _running(place, "fails on the way back to its weights"):
        scores[0].sum().backward()
    width = scores[0].shape[1]
    siblings(place.path)
    if classes is not None and width != classes:
        raise UsageError(
            f"{place.label} tells {width} classes apart, where {classes} are to be told",
            f"Let it take the number: def __init__(self, {CLASSES[0]}).",
        )
    return width


_TRIALS = ((3, True), (3, False), (1, False))
"""Images a batch, and whether in training mode: there a batch norm asks for more than one."""


def try_on_none(model: str, classes: int) -> None:
    """Train a throw-away network on a batch of no images, as a rank has where too few are left.

    Raises:
        UsageError: it fails, or gives figures that are not finite.
    """
    place = _place(model)
    with torch.random.fork_rng(devices=[]):
        network = _construct(place, classes)
        scores = _scores(place, network, 0, training=True)
        with _running(place, "fails on 0 images in training mode"):
            scores.sum().backward()
    gradients = ((name, p.grad) for name, p in network.named_parameters())
    for name, tensor in chain(network.named_buffers(), gradients):
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise UsageError(
                f"{place.label}: training on 0 images leaves NaN or infinity in '{name}'"
            )


def count_classes(model: str, weights: Mapping[str, Tensor]) -> int:
    """How many classes another program's weights tell apart, if they are this network's.

    Found by trying what first dimensions the weights have, the last ones first.

    Raises:
        UsageError: see :func:`build`.
    """
    place = _place(model)
    if _takes_classes(network_class(place)) is None:
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
    """What a checkpoint keeps of the source, as plain values: information, never instruction."""
    place = _place(model)
    return {
        "path": str(place.path),
        "class": place.class_name,
        "sha256": load(place.path).sha256,
        "siblings": dict(siblings(place.path)),
    }


def changes(model: str, recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, how the source differs from the one that a checkpoint recorded.

    Raises:
        UsageError: see :func:`build`.
    """
    now = provenance(model)
    label, told = _place(model).label, []
    if recorded.get("class") != now["class"]:
        told.append(f"{label} is another class than the {recorded.get('class')!s:.60} of then")
    if recorded.get("sha256") != now["sha256"]:
        then = str(recorded.get("sha256"))
        told.append(
            f"{_place(model).path.name} has changed (SHA-256 {then:.12}… then, "
            f"{now['sha256']:.12}… now)"
        )
    before = recorded.get("siblings")
    for name, sha256 in now["siblings"].items():
        if not isinstance(before, Mapping) or before.get(name) != sha256:
            told.append(f"{name}, which it imports, has changed")
    return tuple(told)


def network_class(place: ModelName) -> type[nn.Module]:
    """The class that is named.

    Raises:
        UsageError: the file cannot be run, or has no such class; those that it has are listed.
    """
    module = load(place.path).module
    found = getattr(module, place.class_name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    listed = ", ".join(_classes_of(module)) or "none that subclasses torch.nn.Module"
    if found is None:
        raise UsageError(f"{place.path} has no class {place.class_name}", f"It has: {listed}.")
    what = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
    raise UsageError(
        f"{place.label} is {what} that does not subclass torch.nn.Module"
        if isinstance(found, type)
        else f"{place.label} is {what}, not a class that subclasses torch.nn.Module",
        f"The classes there: {listed}.",
    )


def _place(model: str) -> ModelName:
    place = ModelName(model)
    if not place.is_own:
        raise UsageError(f"'{model}' names no network in a file", "As in path/to/net.py:Net.")
    return place


def _running(place: ModelName, doing: str) -> AbstractContextManager[None]:
    return running(place.label, doing, place.path.parent)


def _classes_of(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]


# --- building and trying


def _construct(place: ModelName, classes: int | None) -> nn.Module:
    kind = network_class(place)
    arguments = _arguments(place, kind, classes)
    with _running(place, "cannot be built"):
        network = kind(**arguments)
    if any(is_lazy(one) for one in chain(network.parameters(), network.buffers())):
        with _running(place, "fails on an image"), torch.no_grad():
            network.eval()(torch.zeros(1, 1, 28, 28, dtype=torch.float32))
    return network.train()


def _takes_classes(kind: type[nn.Module]) -> str | None:
    """The name of the argument that says how many classes there are, if it has one."""
    parameters = inspect.signature(kind).parameters
    return next((name for name in CLASSES if name in parameters), None)


def _arguments(place: ModelName, kind: type[nn.Module], classes: int | None) -> dict[str, int]:
    taken = _takes_classes(kind)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty
        and (parameter.kind in named or parameter.kind is parameter.POSITIONAL_ONLY)
        and name != taken
    ]
    if missing:
        raise UsageError(
            f"{place.label} needs {', '.join(missing)} to be built",
            f"It is built as {place.class_name}({CLASSES[0]}=10), or as {place.class_name}() where it takes "
            "no number of classes; give everything else a default.",
        )
    return {taken: classes} if taken is not None and classes is not None else {}


def _require_plain_weights(place: ModelName, network: nn.Module) -> None:
    """A checkpoint holds tensors, and an average or an ensemble copies the network."""
    with _running(place, "cannot be copied"):
        copy.deepcopy(network)
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{place.label}: '{name}' of its state_dict is a {type(value).__name__}, no tensor",
                "A checkpoint holds tensors alone; leave get_extra_state out.",
            )


def _scores(place: ModelName, network: nn.Module, count: int, training: bool) -> Tensor:
    """What it makes of ``count`` images of noise; refused unless scores (N, classes)."""
    mode = "training" if training else "evaluation"
    images = torch.randn(count, 1, 28, 28, dtype=torch.float32, device="cpu")
    with _running(place, f"fails on {count} images in {mode} mode"), torch.enable_grad():
        scores = network.train(training)(images)
    wanted = f"where scores ({count}, classes) should be"
    if not isinstance(scores, Tensor):
        raise UsageError(
            f"{place.label} gives a {type(scores).__name__} in {mode} mode, {wanted}",
            "Let forward return one tensor.",
        )
    if scores.ndim != 2 or scores.shape[0] != count or not scores.shape[1]:
        raise UsageError(
            f"{place.label} gives {tuple(scores.shape)} for {count} images in {mode} mode, {wanted}",
            "Keep the batch as the first dimension, as x.flatten(1) does.",
        )
    if not scores.is_floating_point():
        raise UsageError(f"{place.label} gives {scores.dtype}, where scores are floating point")
    if not bool(scores.isfinite().all()):
        raise UsageError(
            f"{place.label} gives NaN or infinity for noise, untrained, in {mode} mode",
            "Look at its first weights, and at logarithms and divisions in forward.",
        )
    return scores
