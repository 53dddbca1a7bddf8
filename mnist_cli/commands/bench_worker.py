"""The process of a recipe in ``mnist bench``: like ``mnist train``, it draws the run's curves."""

from __future__ import annotations

from mnist_cli.benchmark.worker import main
from mnist_cli.report.training import LearningCurves, TrainingReport

if __name__ == "__main__":
    report = TrainingReport(silent=True)
    main(report, LearningCurves(report))
