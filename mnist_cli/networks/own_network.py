"""A network of the user's own: a class in a Python file, run, checked and built.

The class subclasses :class:`torch.nn.Module` and maps images (N, 1, 28, 28), float and normalised,
to scores (N, classes). It is built as ``Net(classes=K)`` if its ``__init__`` takes ``classes`` or
``num_classes``, else as ``Net()``. If its scores are log-probabilities, a class attribute
``log_probabilities = True`` says so. Its first weights come from torch's generator, which is
seeded: random numbers from elsewhere do not repeat.

The file is executed and may do anything. Its name must come from the user, never from a checkpoint;
:mod:`mnist_cli.checkpoints.checkpoint` ensures that. A file runs once a process, so that a run keeps
the code it began with.
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
"""Names of the argument for the number of classes."""

USUAL_CLASSES = 10
TRIED = 8
"""Numbers of classes that are tried for weights without a checkpoint."""


def build(model: str, classes: int) -> nn.Module:
    """The network ``path/net.py:Net`` with fresh weights, on the CPU, in training mode.

    Raises:
        UsageError: the file cannot be run, or the class is not such a network.
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
    """Try a throw-away network on batches of noise, forward and back; return its number of classes.

    Args:
        model: as in ``path/net.py:Net``.
        classes: the number that it must have; None accepts the class's default.

    Raises:
        UsageError: as :func:`build`.
    """
    model_name = ModelName(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = _construct(model_name, classes)
        _require_plain_weights(model_name, network)
        scores = [_scores(model_name, network, count, training) for count, training in _TRIALS]
    if not scores[0].requires_grad:
        raise UsageError(
            f"{model_name.label}: no gradient flows from its scores to any weight",
            "It needs parameters, and scores that depend on them without detach() or no_grad().",
        )
    with _running(model_name, "fails in the backward pass"):
        scores[0].sum().backward()
    width = scores[0].shape[1]
    siblings(model_name.path)
    if classes is not None and width != classes:
        raise UsageError(
            f"{model_name.label} has {width} outputs, but the data set has {classes} classes",
            f"Accept the number: def __init__(self, {CLASSES[0]}).",
        )
    return width


_TRIALS = ((3, True), (3, False), (1, False))
"""Images per batch, and training mode, in which batch norms need more than one image."""


def try_on_none(model: str, classes: int) -> None:
    """Train a throw-away network on a batch of no images, which a rank may get from a small rest.

    Raises:
        UsageError: it fails, or a buffer or gradient is then not finite.
    """
    model_name = ModelName(model)
    with torch.random.fork_rng(devices=[]):
        network = _construct(model_name, classes)
        scores = _scores(model_name, network, 0, training=True)
        with _running(model_name, "fails on 0 images in training mode"):
            scores.sum().backward()
    gradients = ((name, p.grad) for name, p in network.named_parameters())
    for name, tensor in chain(network.named_buffers(), gradients):
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise UsageError(
                f"{model_name.label}: training on 0 images leaves NaN or infinity in '{name}'"
            )


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
    """What a checkpoint says about the source, as plain values; no program runs it from there."""
    model_name = ModelName(model)
    return {
        "path": str(model_name.path),
        "class": model_name.class_name,
        "sha256": load(model_name.path).sha256,
        "siblings": dict(siblings(model_name.path)),
    }


def changes(model: str, recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, how the source differs from the one that a checkpoint recorded.

    Raises:
        UsageError: as :func:`build`.
    """
    now, model_name, found = provenance(model), ModelName(model), []
    if recorded.get("class") != now["class"]:
        found.append(f"{model_name.label} is another class than {recorded.get('class')!s:.60}")
    if recorded.get("sha256") != now["sha256"]:
        then = str(recorded.get("sha256"))
        found.append(
            f"{model_name.path.name} has changed (SHA-256 {then:.12}… then, {now['sha256']:.12}… now)"
        )
    before = recorded.get("siblings")
    for name, sha256 in now["siblings"].items():
        if not isinstance(before, Mapping) or before.get(name) != sha256:
            found.append(f"{name}, which it imports, has changed")
    return tuple(found)


def network_class(model_name: ModelName) -> type[nn.Module]:
    """The class of that name.

    Raises:
        UsageError: the file cannot be run, or has no such class; the hint lists its classes.
    """
    module = load(model_name.path).module
    found = getattr(module, model_name.class_name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    listed = ", ".join(_classes_of(module)) or "none that subclasses torch.nn.Module"
    if found is None:
        raise UsageError(
            f"{model_name.path} has no class {model_name.class_name}", f"It has: {listed}."
        )
    what = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
    raise UsageError(
        f"{model_name.label} is {what} that does not subclass torch.nn.Module"
        if isinstance(found, type)
        else f"{model_name.label} is {what}, not a class that subclasses torch.nn.Module",
        f"The classes there: {listed}.",
    )


def _running(model_name: ModelName, doing: str) -> AbstractContextManager[None]:
    return running(model_name.label, doing, model_name.path.parent)


def _classes_of(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]


# --- building and trying


def _construct(model_name: ModelName, classes: int | None) -> nn.Module:
    kind = network_class(model_name)
    taken = _takes_classes(kind)
    with _running(model_name, "cannot be built"):
        network = kind(**({taken: classes} if taken and classes is not None else {}))
    if any(is_lazy(one) for one in chain(network.parameters(), network.buffers())):
        with _running(model_name, "fails on an image"), torch.no_grad():
            network.eval()(torch.zeros(1, 1, 28, 28, dtype=torch.float32))
    return network.train()


def _takes_classes(kind: type[nn.Module]) -> str | None:
    """The name of its argument for the number of classes, if it has one."""
    parameters = inspect.signature(kind).parameters
    return next((name for name in CLASSES if name in parameters), None)


def _require_plain_weights(model_name: ModelName, network: nn.Module) -> None:
    """Refuse what checkpoints cannot hold, and what averages and ensembles cannot copy."""
    with _running(model_name, "cannot be copied"):
        copy.deepcopy(network)
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{model_name.label}: '{name}' of its state_dict is a {type(value).__name__}, not a tensor",
                "A checkpoint holds only tensors; do not use get_extra_state.",
            )


def _scores(model_name: ModelName, network: nn.Module, count: int, training: bool) -> Tensor:
    """Its scores (count, classes) for images of noise; refuses anything else."""
    mode = "training" if training else "evaluation"
    images = torch.randn(count, 1, 28, 28, dtype=torch.float32, device="cpu")
    with _running(model_name, f"fails on {count} images in {mode} mode"), torch.enable_grad():
        scores = network.train(training)(images)
    wanted = f"not scores ({count}, classes)"
    if not isinstance(scores, Tensor):
        raise UsageError(
            f"{model_name.label} gives a {type(scores).__name__} in {mode} mode, {wanted}",
            "Let forward return one tensor.",
        )
    if scores.ndim != 2 or scores.shape[0] != count or not scores.shape[1]:
        raise UsageError(
            f"{model_name.label} gives {tuple(scores.shape)} for {count} images in {mode} mode, {wanted}",
            "Keep the batch as the first dimension, as x.flatten(1) does.",
        )
    if not scores.is_floating_point():
        raise UsageError(f"{model_name.label} gives {scores.dtype}, not floating-point scores")
    if not bool(scores.isfinite().all()):
        raise UsageError(
            f"{model_name.label} gives NaN or infinity for noise, untrained, in {mode} mode",
            "Check its first weights, and logarithms and divisions in forward.",
        )
    return scores
