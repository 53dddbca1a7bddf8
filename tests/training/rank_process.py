"""One of two ranks: does everything that test_distributed asks about, and leaves the answers."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from bits import SECONDS, flat
from program import wait_until
from rounding import in_float64, moves, smooth, weights_of
from small_runs import CPU, FP32, MOVED, NORMALISATION, config, loaded, loader_of, split, state_of
from torch import Tensor

from mnist_cli.base.signals import StopRequest
from mnist_cli.config.names import ModelName
from mnist_cli.data.batches import Batching, build_loader
from mnist_cli.devices.device import Precision
from mnist_cli.errors import Interrupted, MnistError, NonFiniteError
from mnist_cli.runs.directory import RunDirectory
from mnist_cli.training.callback import Callback, ObservedRun, Progress
from mnist_cli.training.compute import Compute
from mnist_cli.training.distributed.group import Group, joined
from mnist_cli.training.distributed.norm import synchronised
from mnist_cli.training.distributed.rank_environment import rank_place_of
from mnist_cli.training.loop import StepResult, fit
from mnist_cli.training.rank_agreement import check_alike, shared_checkpoint
from mnist_cli.training.ranks import ALONE, Ranks
from mnist_cli.training.run import RunRequest, drive
from mnist_cli.training.scoring import predict
from mnist_cli.training.session import Session
from mnist_cli.training.starting import find_start
from mnist_cli.training.state import fresh_state


def own(name: str) -> str:
    """A network of the user's own."""
    return f"{Path(__file__).with_name('rank_networks.py')}:{name}"


OWN_NETWORKS = (own("Unused"), own("Flat"), own("Deep"))
NETWORKS = ("conv2", "example", "oriented", "conv4", *OWN_NETWORKS)
GRADIENTS = [
    (name, count)
    for name in ("conv2", "conv4", *OWN_NETWORKS)
    for count in (8, 7, 1)
    if (name, count) != (own("Flat"), 1)  # one value a channel
]
COUNT = 17
"""Two batches of eight, and one of a single image: the first rank has none of that."""
BF16 = Precision("bf16", "cpu")
RESUMED = ("example", own("Remembering"))
"""One with dropout, which each rank draws otherwise, and one with buffers that each rank computes."""


def shared(ranks: Ranks) -> Compute:
    return Compute(CPU, FP32, ranks=ranks)


def settings(model: str, **values: Any) -> Any:
    """One epoch of plain gradient descent: the weights then hold the sum of its gradients."""
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.01}
    return config(model=model, epochs=1, **plain, **values)


def trained(
    model: str, ranks: Ranks = ALONE, *, exact: bool = False, **values: Any
) -> dict[str, Any]:
    """How far an epoch moves weights and buffers, and its figures; ``exact`` is in float64.

    The last batch has one image, or two, where one would be one value a channel.
    """
    chosen = settings(model, **values)
    state = fresh_state(chosen, shared(ranks), 10)
    for module in state.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # each rank draws its own
    if exact:
        in_float64(state.model)
    start = weights_of(state.model)
    count = COUNT + (model == own("Flat"))
    loader = build_loader(Batching.of(chosen), split(count), NORMALISATION, ranks.part)
    with smooth():
        events = list(fit(state, loader, split(13, 2, "val"), NORMALISATION))
    result = events[-1].to_plain()  # type: ignore[union-attr]
    leaves = {path.lstrip("/"): leaf for path, leaf in flat(result).items()}
    figures = {k: v for k, v in leaves.items() if k not in SECONDS and isinstance(v, int | float)}
    weights = weights_of(state.model)
    return {"weights": weights, "moved": moves(weights, start), "figures": figures}


def gradients(
    model: str,
    ranks: Ranks,
    count: int,
    precision: Precision = FP32,
    device: torch.device = CPU,
    *,
    exact: bool = False,
) -> dict[str, Tensor | None]:
    """What one batch of ``count`` images gives: forward and backward alone, by hand.

    ``exact`` is in float64.
    """
    network = state_of(settings(model)).model.to(device)
    if exact:
        in_float64(network)
    forward = ranks.forward(network, own=ModelName(model).is_own)
    data = split(count).to(device)
    mine = ranks.part.of(count)
    images = NORMALISATION(data.images[mine].float())
    with precision.autocast(), smooth():
        scores = forward(images)
    scores = scores if exact else scores.float()
    loss = torch.nn.functional.cross_entropy(scores, data.labels[mine])
    ranks.weigh(loss, scores, count).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def augmented(ranks: Ranks, **values: Any) -> list[Tensor]:
    chosen = config(**MOVED, **values)
    loader = build_loader(Batching.of(chosen), split(COUNT), NORMALISATION, ranks.part)
    return [images for images, _ in loader.epoch(0)]


def evaluated(ranks: Ranks, count: int = 13, model: str = "conv4") -> Tensor:
    """The network's answers for so many images, in batches of four."""
    state = state_of(settings(model))
    precision = state.precision
    return predict(
        state.model,
        split(count, 2, "val"),
        NORMALISATION,
        batch_size=4,
        precision=precision,
        ranks=ranks,
    )


def poisoned(ranks: Group) -> str:
    """Train where the second rank's first image makes its scores infinite."""
    chosen = settings("conv2")
    state = fresh_state(chosen, shared(ranks), 10)
    loader = loader_of(chosen)
    original = loader.epoch
    if ranks.rank == 1:
        loader.epoch = lambda *place: ((i * torch.inf, y) for i, y in original(*place))  # type: ignore[method-assign]
    try:
        list(fit(state, loader, None, NORMALISATION))
    except NonFiniteError as error:
        return error.message
    return ""


def unlike(ranks: Group) -> str:
    """A rank that was started with another batch size and other data."""
    data = loaded(29 + ranks.rank)
    state = state_of(settings("conv2", batch_size=8 + 2 * ranks.rank, threads=ranks.rank))
    try:
        check_alike(state.config, shared(ranks), data)
    except MnistError as error:
        return error.message
    return ""


def single(ranks: Group) -> str:
    """A batch norm over one value a channel, on all ranks together."""
    norm = synchronised(torch.nn.Sequential(torch.nn.BatchNorm1d(3))).train()
    try:
        norm(torch.ones(1, 3)[ranks.part.of(1)])
    except ValueError as error:
        return str(error)
    return ""


def stopped_and_not(folder: Path, model: str, ranks: Ranks) -> list[str]:
    """A run that the second rank is asked to stop, and resumed; and the same never stopped."""
    chosen = config(model=model, ema=0.9)
    for number in range(2):
        run = RunDirectory(folder / f"{ModelName(model).label}-{number}")
        run.path.mkdir(exist_ok=True)
        session, stop = Session(chosen, loaded(), shared(ranks), run), StopRequest()
        with contextlib.suppress(Interrupted):
            for event in session.events(stop):
                if number and ranks.rank and isinstance(event, StepResult) and event.batch == 2:
                    stop.signal = signal.SIGINT
    checkpoint = shared_checkpoint(lambda: run.last, model, ranks)
    session = Session(chosen, loaded(), shared(ranks), run, checkpoint)
    position = f"{session.state.epoch}/{session.state.batch}"
    events = session.events(StopRequest())
    return [position, *session.differences, *(type(event).__name__ for event in events)]


class StopAtStep(Callback):
    """Ends the run after two steps, and counts its calls."""

    every = 1
    calls = 0

    def on_step(self, run: ObservedRun, progress: Progress) -> bool:
        self.calls += 1
        return progress.step == 2


def called(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """A run in which each rank has a callback that asks to stop."""
    (folder / "called").mkdir(exist_ok=True)
    session = Session(config(), loaded(), shared(ranks), RunDirectory(folder / "called"))
    callback = StopAtStep()
    summary = drive(session, RunRequest(folder, folder, callbacks=(callback,)))
    return {
        "calls": callback.calls,
        "steps": session.state.step,
        "reason": summary.stop_reason if summary else None,
    }


def started(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """A run that starts from a file which the second rank looks for in vain: what it starts with."""
    theirs = folder / "theirs.pt"
    if ranks.leads:
        torch.save(state_of(settings("conv4", seed=77)).model.state_dict(), theirs)
    chosen = settings("conv2", start=str(theirs if ranks.leads else folder / "elsewhere.pt"))
    start = find_start(chosen, folder, None, ranks)
    assert start is not None
    chosen = start.configured(chosen)
    check_alike(chosen, shared(ranks), loaded())
    session = Session(chosen, loaded(), shared(ranks), RunDirectory(folder / "s"), start=start)
    before = session.score_start()
    assert before is not None
    return {"weights": dict(session.state.model.state_dict()), "before": vars(before)}


def check_agreement(ranks: Group) -> None:
    """The ranks agree and share; the end of the process that started one of them stops both."""
    assert [ranks.agree(2 * ranks.rank), ranks.agree(15 if ranks.leads else 2)] == [2, 15]
    assert ranks.share(b"from 0" if ranks.leads else b"") == b"from 0"
    assert ranks.share() == b""
    assert ranks.earliest(["conv2", "conv1"][ranks.rank], ["", "conv1", "conv2"]) == "conv1"
    gone = os.getppid() if ranks.leads else -1
    for parent, agreed in ((0, 0), (os.getppid(), 0), (gone, signal.SIGTERM)):
        assert Group(ranks.rank, ranks.size, parent).agree(0) == agreed


def listening(process: str | int = "self") -> list[str]:
    """The addresses, as /proc/net/tcp writes them, on which a process listens."""
    links = [path for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()]
    mine = {str(path.readlink()) for path in links}
    rows = [line.split() for table in ("tcp", "tcp6") for line in _table(table)]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine]


def _table(name: str) -> list[str]:
    path = Path("/proc/net") / name
    return path.read_text().splitlines()[1:] if path.is_file() else []


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    place = rank_place_of()
    assert place is not None
    with joined(place, 60) as ranks:
        check_agreement(ranks)
        model = state_of(settings("conv4")).model
        twin = synchronised(model)
        assert [*map(id, twin.parameters())] == [*map(id, model.parameters())]
        answers = {
            "trained": {name: trained(name, ranks) for name in NETWORKS},
            "moved": trained("conv2", ranks, **MOVED),
            **{
                f"gradients in {precision.name}": {
                    f"{name}/{count}": gradients(name, ranks, count, precision)
                    for name, count in GRADIENTS
                }
                for precision in (FP32, BF16)
            },
            "single": single(ranks),
            "few evaluated": evaluated(ranks, 3, own("Unused")),
            "remembered": trained(own("Remembering"), ranks),
            "augmented": augmented(ranks),
            "by DataLoader": augmented(ranks, loader="dataloader"),
            "evaluated": evaluated(ranks),
            "poisoned": poisoned(ranks),
            "unlike": unlike(ranks),
            "resumed": {name: stopped_and_not(folder, name, ranks) for name in RESUMED},
            "started": started(folder, ranks),
            "called": called(folder, ranks),
            "folder": str(folder),
            "listening": listening(),
        }
        if ranks.leads:  # which the other does not wait for
            wait_until((folder / "1.pt").exists)
    torch.save(answers, folder / f"{place.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # as a rank of the program ends: torch's threads may abort an orderly exit
