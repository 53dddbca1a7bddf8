"""Turns a run in progress into a checkpoint's document and back, so that resuming keeps its bits.

:mod:`mnist_cli.checkpoints.checkpoint` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mnist_cli.base.seeding import derive
from mnist_cli.base.version import __version__
from mnist_cli.checkpoints.checkpoint import FORMAT, GARBLED, VERSION, Checkpoint, DataInfo
from mnist_cli.checkpoints.weight_check import not_finite
from mnist_cli.config.names import ModelName
from mnist_cli.devices.cpu_arithmetic import fingerprint
from mnist_cli.devices.device import hardware_name
from mnist_cli.devices.kinds import random_state, set_random_state
from mnist_cli.errors import CheckpointError, NonFiniteError, first_line
from mnist_cli.networks import ensemble, own_network
from mnist_cli.runs.results import MEANS
from mnist_cli.training import norms
from mnist_cli.training.state import TrainState

_NAMES = {
    "threads": "threads per operation",  # a run with halves has two groups of threads
    "arithmetic": "fingerprint of the CPU's arithmetic",
}
"""Clearer names for entries of an environment."""


def capture(
    state: TrainState, data: DataInfo, augment_generator: torch.Generator
) -> dict[str, Any]:
    """Everything that resuming, evaluating and inspecting need, as plain types and tensors.

    Tensors stay on the device; writing the document copies them.
    """
    running = state.running
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": state.config.to_plain(),
        "model": {
            "name": state.config.model.label,
            "weights": {k: w.detach() for k, w in state.model.state_dict().items()},
            **_source(state.config.model),
        },
        "ema": None if state.ema is None else dict(state.ema.state_dict()),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "scaler": dict(state.scaler.state_dict()),
        "generators": _generator_states(state.device, augment_generator),
        "position": {"epoch": state.epoch, "batch": state.batch, "step": state.step},
        "running": {
            "sums": running.sums,
            "images": running.images,
            "steps": running.steps,
            "norms": running.norms,
        },
        "steps": state.log.to_document(),
        "seconds": state.clock.seconds,
        "metrics": [result.to_plain() for result in state.history],
        "data": data.to_plain(),
        "environment": environment(state),
        **({"start": dict(state.start)} if state.start else {}),
    }


def check_weights(state: TrainState, classes: int) -> None:
    """Refuse to save weights that no command would read; waits for the device.

    The guard checks the loss and the gradient of a step, not the weights after it.

    Raises:
        NonFiniteError: a weight holds NaN or infinity where a fresh one does not.
    """
    config, weights = state.config, state.model.state_dict()
    if _surely_finite(weights.values()):
        return
    fresh = ensemble.expected_weights(config.model, classes, config.ensemble)
    if name := not_finite(weights, fresh):
        raise NonFiniteError(
            f"weight '{name}' holds NaN or infinity after step {state.step}; last.pt keeps an "
            "earlier step",
            "Lower the learning rate (lr), or clip the gradient (clip_norm = 1).",
        )


def _surely_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether the sums of all tensors, of any shape, are finite: waits for the device once."""
    numbers = (one.abs() if one.is_complex() else one for one in tensors)
    sums = [one.sum(dtype=torch.float32) for one in numbers if one.is_floating_point()]
    return not sums or bool(torch.stack(sums).isfinite().all())


def _source(model: ModelName) -> dict[str, Any]:
    """The source of the user's own network: for information only, never loaded."""
    return {"source": own_network.provenance(model)} if model.is_own else {}


def environment(state: TrainState) -> dict[str, Any]:
    """Everything that can change the bits of a result, apart from the configuration."""
    device = state.device
    return {
        "mnist_cli": __version__,
        "torch": str(torch.__version__),
        "device": device.type,
        "device_name": hardware_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **({"arithmetic": fingerprint(state.precision.dtype)} if device.type == "cpu" else {}),
        "threads": torch.get_num_threads(),
        "precision": state.precision.name,
        "deterministic": state.config.deterministic,
        "cuda_graph": state.captured,
        "ranks": state.ranks.size,
        "halves": state.pair is not None,
    }


def _generator_states(device: torch.device, augment: torch.Generator) -> dict[str, Tensor | None]:
    """States (bytes,), uint8 on the CPU, of every generator that training draws from."""
    own = {} if device.type == "cpu" else {device.type: random_state(device)}
    augmentation = {"augment": augment.get_state()}
    return {"torch": torch.get_rng_state(), "cuda": None, "mps": None, **own, **augmentation}


def restore(
    checkpoint: Checkpoint, state: TrainState, augment_generator: torch.Generator
) -> list[str]:
    """Bring a fresh state to the position of the checkpoint; generators last.

    Returns:
        Differences that can change the bits between this machine and the one that wrote the
        checkpoint, in the words of :func:`differences`.

    Raises:
        CheckpointError: a part of the checkpoint does not fit the state.
    """
    try:
        document = checkpoint.document
        now = environment(state)
        # Older programs record none of these: no graphs, no ranks, and the rest is unknown.
        older = {**now, "cuda_graph": False, "ranks": 1}
        then = {**older, **document["environment"]}
        fresh = {name: tensor.cpu().clone() for name, tensor in state.model.state_dict().items()}
        state.model.load_state_dict(document["model"]["weights"])
        if name := not_finite(state.model.state_dict(), fresh):  # reading checks averages alone
            raise ValueError(f"weight '{name}' holds NaN or infinity")
        if state.ema is not None:
            state.ema.load_state_dict(document["ema"])
        for optimizer, saved in zip(state.optimizers, document["optimizers"], strict=True):
            _restore_optimizer(optimizer, saved)
        if state.scaler.is_enabled():
            state.scaler.load_state_dict(document["scaler"])
        position, running = document["position"], document["running"]
        state.epoch, state.batch = int(position["epoch"]), int(position["batch"])
        state.step = int(position["step"])
        results = state.epoch, state.epoch + bool(state.batch)
        if min(state.batch, state.step) < 0 or len(checkpoint.history) not in results:
            raise ValueError("its position does not fit its metrics")
        _restore_sums(running["sums"], state.running.sums)
        state.running.images, state.running.steps = int(running["images"]), int(running["steps"])
        state.running.norms = _restored_norms(running.get("norms"), state)
        if "steps" in document:
            state.log.restore(document["steps"], state.running.sums)
        state.clock.seconds = float(document["seconds"])
        limit = state.config.max_time
        state.out_of_time = bool(limit) and state.clock.seconds >= limit
        state.start = _restored_start(document.get("start"))
        state.history[:] = checkpoint.history
        moved = _restore_generators(document["generators"], state, augment_generator)
    except GARBLED as error:
        raise CheckpointError(
            f"{checkpoint.path} cannot be resumed: {first_line(error)}",
            "It can still be evaluated: mnist eval.",
        ) from error
    return differences(then, now) + moved


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences between environments, such as ``threads per operation: 4 then, 2 now``.

    Only the entries of ``now`` are compared.
    """
    return [
        f"{_NAMES.get(key, key)}: {then.get(key)!s:.40} then, {value!s:.40} now"
        for key, value in now.items()
        if then.get(key) != value
    ]


def _restore_sums(saved: Tensor, sums: Tensor) -> None:
    """Copy sums (M,); if an older program saved fewer, the rest begin at 0.

    Within an epoch, the missing loss without label smoothing is NaN: it is unknown.
    """
    if saved.ndim != 1 or len(saved) > len(sums):
        raise ValueError(f"its sums are {tuple(saved.shape)}, not {tuple(sums.shape)}")
    sums[: len(saved)].copy_(saved)
    place = tuple(MEANS).index("plain_loss")
    if len(saved) <= place and bool(saved.any()):
        sums[place] = torch.nan


def _restore_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load the optimiser's state of each parameter; torch checks neither shapes nor settings.

    Settings come from the configuration, apart from the learning rate of the last step.
    """
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, fresh in zip(optimizer.param_groups, settings, strict=True):
        group.update(fresh, lr=float(group["lr"]))
    for parameter, buffers in optimizer.state.items():
        for name, value in buffers.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(
                    f"the optimiser's {name} has {tuple(value.shape)} for a weight of "
                    f"{tuple(parameter.shape)}"
                )
            if isinstance(value, Tensor) and not bool(value.isfinite().all()):
                raise ValueError(f"the optimiser's {name} holds NaN or infinity")


def _restored_start(saved: object) -> dict[str, str] | None:
    """Path and SHA-256 of the checkpoint that the run started from, if any."""
    if saved is None:
        return None
    if not isinstance(saved, Mapping):
        raise TypeError("its start is not a table")
    return {key: str(saved[key]) for key in ("path", "sha256")}


def _restored_norms(saved: Tensor | None, state: TrainState) -> Tensor | None:
    """Norms (P, 3) of an epoch's middle step; None before that step."""
    if saved is None:
        return None
    expected = (len(norms.trained(state.model)), 3)
    plain = saved.is_floating_point() and saved.shape == expected
    if not plain or not bool(saved.isfinite().all()):
        raise ValueError(
            f"its norms are {saved.dtype}, {tuple(saved.shape)}, or not finite; not {expected}"
        )
    return saved.to(state.device)


def _restore_generators(
    states: Mapping[str, Any], state: TrainState, augment: torch.Generator
) -> list[str]:
    """Set every generator to its saved state; on another kind of device, reseed it.

    The new seed is derived from the run's seed and position, so it repeats. The difference is
    reported only within an epoch, because each epoch seeds its generators.
    """
    torch.set_rng_state(states["torch"])
    augmentation = states["augment"]
    here = state.device.type
    common = ("torch", "augment")
    then = next((k for k, one in states.items() if k not in common and one is not None), "cpu")
    if then == here:
        if here != "cpu":
            set_random_state(state.device, states[here])
        augment.set_state(augmentation)
        return []
    place = (state.config.seed, "moved", state.epoch, state.batch)
    torch.manual_seed(derive(*place))
    if augmentation.shape == augment.get_state().shape:  # a CPU generator, of loader = dataloader
        augment.set_state(augmentation)
    else:
        augment.manual_seed(derive(*place, 1))
    rest = (
        f"random numbers: {here} draws other numbers than {then} does for the rest of epoch "
        f"{state.epoch + 1}"
    )
    return [rest] if state.batch else []
