"""The process of a recipe in ``mnist bench``: it starts, reads and draws as ``mnist train`` does."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from mnist_cli.base.signals import garbage_kept
from mnist_cli.commands import early
from mnist_cli.errors import MnistError
from mnist_cli.report import curve_process

if __name__ == "__main__":
    task, order = sys.argv[1], json.load(sys.stdin)
    drawing = None
    if task == "train":  # as `mnist train` does before torch is imported
        drawing = curve_process.begin()
        with suppress(MnistError):  # it is reported when the data are needed
            early.begin_reading(order["settings"]["dataset"], Path(order["data_dir"]))
    with garbage_kept():
        from mnist_cli.benchmark.worker import main
        from mnist_cli.report.training import LearningCurves, TrainingReport

    report = TrainingReport(silent=True)
    main(task, order, report, LearningCurves(report, drawing))
