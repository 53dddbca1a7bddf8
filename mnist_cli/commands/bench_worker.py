"""The process of a recipe in ``mnist bench``: like ``mnist train``, it draws the run's curves."""

from __future__ import annotations

import sys

from mnist_cli.report import curve_process

if __name__ == "__main__":
    # As in `mnist train`, before torch is imported.
    drawing = curve_process.begin() if sys.argv[1:] == ["train"] else None
    from mnist_cli.benchmark.worker import main
    from mnist_cli.report.training import LearningCurves, TrainingReport

    report = TrainingReport(silent=True)
    main(report, LearningCurves(report, drawing))
