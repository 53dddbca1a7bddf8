"""``mnist train --find-lr``: a learning rate proposed from a short training."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.base.files import check_writable
from mnist_cli.commands.opening import naming_the_flag

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.training.rate_finder import RateTrial
    from mnist_cli.training.run import RunRequest

PICTURE = "find-lr.png"


def find_lr(settings: TrainConfig, request: RunRequest, *, as_json: bool, quiet: bool) -> None:
    """Try rising learning rates, draw the losses, and print the proposal."""
    from mnist_cli.base.signals import stop_on_signals
    from mnist_cli.report import lessons
    from mnist_cli.report.console import print_json, stdout, warn
    from mnist_cli.training.rate_finder import try_rates
    from mnist_cli.training.run import begin

    check_writable(request.runs)
    with tempfile.TemporaryDirectory(prefix="mnist-find-lr-") as folder:
        hidden = dataclasses.replace(request, runs=Path(folder))
        with naming_the_flag(), begin(settings, hidden) as session, stop_on_signals() as stop:
            trial = try_rates(session, stop)
    picture = _draw(trial, settings, request)
    if as_json:
        print_json(
            dataclasses.asdict(trial)
            | {"configured": settings.lr, "picture": None if picture is None else str(picture)}
        )
        return
    out = stdout(wide=True)
    if trial.proposal is None:
        warn("the loss fell at no learning rate: nothing is proposed; try `mnist inspect-grad`")
    else:
        out.print(
            f"[bold green]proposed learning rate {trial.proposal:.2g}[/] (the recipe has "
            f"{settings.lr:g}): there the loss fell most steeply"
        )
        out.print(f"upper limit {trial.lowest:.2g}: there the loss was lowest")
        out.print(f"to use it   mnist train … --lr {trial.proposal:.2g}")
    if picture is not None:
        out.print(f"picture     {picture}")
    if not quiet:
        lessons.point_to("find-lr")


def _draw(trial: RateTrial, settings: TrainConfig, request: RunRequest) -> Path | None:
    from mnist_cli.base.packages import import_failure

    try:
        from mnist_cli.report.run_figures import save_rate_trial
    except ImportError as error:
        request.note(f"{PICTURE} is not drawn: {import_failure(error)}")
        return None
    path = request.runs / PICTURE
    title = f"Learning rates of {settings.model.label} with {settings.optimizer}"
    save_rate_trial(trial, settings.lr, path, title=title)
    return path
