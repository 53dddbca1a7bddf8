"""The picture of a sweep, and the words below its table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.axes import Axes

from mnist_cli.report.sweep_figures import save_sweep
from mnist_cli.report.sweep_table import as_good


@pytest.mark.parametrize(
    ("values", "style"),
    [((0.01, 0.1), "-"), (("sgd", "adam"), ""), ((False, True), ""), ((0, "adam"), "")],
)
def test_means_are_joined_along_numbers_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, values: tuple[object, ...], style: str
) -> None:
    def setting(value: object) -> SimpleNamespace:
        return SimpleNamespace(
            values={"key": value}, runs=[run], mean=lambda _: SimpleNamespace(mean=0.5, error=0.1)
        )

    run = SimpleNamespace(figure=lambda _: 0.5)
    settings, sweep = [setting(value) for value in values], SimpleNamespace(name="it")
    result: Any = SimpleNamespace(keys=("key",), settings=settings, runs=[run, run], sweep=sweep)
    joined, original = [], Axes.errorbar

    def drawn(axes: Axes, *points: Any, **style: Any) -> Any:
        bars = original(axes, *points, **style)
        joined.append(bars.lines[0].get_linestyle())
        return bars

    monkeypatch.setattr(Axes, "errorbar", drawn)
    save_sweep(result, tmp_path / "it.png")
    assert joined == [style or "None"]


def test_equals_of_the_best_setting_are_said() -> None:
    def settings(*rates: float) -> list[Any]:
        return [SimpleNamespace(values={"lr": rate}) for rate in rates]

    assert as_good([]) == ""
    assert as_good(settings(0.1)) == " (equal: lr 0.1)"
    assert as_good(settings(0.1, 0.2, 0.3)) == " (equal: lr 0.1 and 2 more)"
