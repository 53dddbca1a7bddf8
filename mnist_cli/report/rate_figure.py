"""The figure of ``mnist train --find-lr``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cli.report.figure_style import logarithmic, new_figure
from mnist_cli.report.themes import colours

if TYPE_CHECKING:
    from mnist_cli.training.rate_finder import RateTrial


def save_rate_trial(trial: RateTrial, configured: float, *paths: Path, title: str) -> None:
    """Draw the loss over the learning rate, with the proposed rate and the configured one."""
    with new_figure(paths, (6.4, 4), title) as figure:
        axes = figure.subplots()
        axes.plot(
            trial.rates, trial.losses, lw=0.8, color=colours().train, alpha=0.5, label="each step"
        )
        axes.plot(trial.rates, trial.smoothed, color=colours().train, label="smoothed")
        if trial.proposal is not None:
            axes.axvline(
                trial.proposal,
                color=colours().validation,
                label=f"steepest descent: {trial.proposal:.2g}",
            )
        axes.axvline(configured, color=colours().quiet, ls=":", label=f"configured: {configured:g}")
        axes.set(xlabel="learning rate", ylabel="training loss (nats), without label smoothing")
        axes.set_ylim(0, 1.5 * max(trial.smoothed[0], min(trial.smoothed)))
        logarithmic(axes, x=True)
        axes.legend()
