"""Gradient graphs in lines on the terminal: every figure is there, and nothing commands it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import render_graphs
from render_graphs import stats

from mnist_cli.autograd.comparing import compare
from mnist_cli.autograd.diagnosing import Diagnosis, ParameterRow
from mnist_cli.autograd.graph import Comparison, GradGraph, Verdict
from mnist_cli.autograd.numeric import EntryCheck, GradientCheck
from mnist_cli.autograd.query import path_to
from mnist_cli.report import gradients

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def chain(module: str = "fc", name: str = "fc.weight", norm: float = 0.5) -> GradGraph:
    """A loss, one operation of a module, and its weight."""
    return render_graphs.graph(
        [[1], [2, None], []],
        name={0: "SumBackward0", 1: "MulBackward0"},
        module={1: module, 2: module},
        parameter={2: name},
        grad_in={0: (stats(1.0),), 1: (stats(2.0),), 2: (stats(norm),)},
    )


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_parameters_stand_beside_their_weights(capsys: Printed) -> None:
    table = [
        ParameterRow("fc.weight", (2, 3), 0.5, 4.0, 0.125, 0.2, 0.25),
        ParameterRow("fc.bias", (), None, None, None, None, None),
    ]
    gradients.print_parameters(table)
    _, first, second = rows(capsys.readouterr().out)
    assert first == ["fc.weight", "2×3", "0.5", "4", "0.125", "25.00%"]
    assert second == ["fc.bias", "scalar", "-", "-", "-", "-"]


@pytest.mark.parametrize("equal", [True, False])
def test_a_verdict_counts_what_is_equal(capsys: Printed, equal: bool) -> None:
    wrong = Comparison("b", equal, 0.0 if equal else 0.25, 0 if equal else 1234)
    verdict = Verdict(
        equal, 7, (Comparison("a", True, 0.0, 0), wrong), (wrong,), () if equal else ("why [so]",)
    )
    gradients.print_verdict(verdict)
    text = capsys.readouterr().out
    count = "2 of 2" if equal else "1 of 2"
    assert f"7 nodes called by hand, {count} parameters' gradients bit-equal" in text
    assert ("DIFFERS" in text) is not equal
    assert ("0.25  1,234" in text) is not equal
    assert ("why [so]" in text) is not equal  # brackets are no markup
    assert f"bit-equal at {int(equal)} of 1 nodes" in text


def test_findings_and_health(capsys: Printed) -> None:
    gradients.print_diagnoses(())
    assert "gradients look healthy" in capsys.readouterr().out
    found = Diagnosis("vanishing", "fc", "It vanishes [at node 3].", 3)
    gradients.print_diagnoses([found], renumbered=True)
    text = capsys.readouterr().out
    assert "vanishing  It vanishes [at node 3]." in text
    assert "ids above" in text
    assert "healthy" not in text


def test_equal_advice_is_given_once(capsys: Printed) -> None:
    first = Diagnosis("vanishing", "a", "A vanishes.", 3, advice="Try [this].")
    gradients.print_diagnoses([first, replace(first, message="B vanishes.")])
    lines = capsys.readouterr().out.split("\n")
    start = lines.index("vanishing  A vanishes.")
    assert lines[start + 1 : start + 3] == ["vanishing  B vanishes.", "  Try [this]."]


def test_a_path_has_the_norm_at_each_step(capsys: Printed) -> None:
    gradients.print_path(path_to(chain(), "fc.weight"))
    _, *steps = rows(capsys.readouterr().out)
    assert [step[0] for step in steps] == ["SumBackward0", "MulBackward0", "parameter"]
    assert [float(step[-3]) for step in steps[:2]] == [1.0, 2.0]
    assert float(steps[2][-2]) == 0.5


def test_two_equal_graphs(capsys: Printed) -> None:
    gradients.print_comparison(compare(chain(), chain(), tolerance=0.0), ("one", "two"))
    text = capsys.readouterr().out
    assert text.startswith("A one\nB two\n")
    assert "no node differs by more than 0" in text
    assert ["fc.weight", "0.5", "0.5", "0", "-"] in rows(text)


def test_two_graphs_that_differ(capsys: Printed) -> None:
    found = compare(chain(), chain(norm=1.0), tolerance=0.1)
    gradients.print_comparison(found, ("one", "two"), ["epoch: 1 and 2"])
    text = capsys.readouterr().out
    assert "differs  epoch: 1 and 2" in text
    assert ["AccumulateGrad", "of", "fc.weight", "fc", "#2", "#2", "0.5", "1", "0.5"] in [
        row[:9] for row in rows(text)
    ]
    assert (
        "the first node to differ by more than 0.1 is AccumulateGrad of fc.weight in fc "
        "(A #2, B #2): 0.5 and 1, 0.5 in its" in text
    )


def test_a_long_list_of_nodes_is_cut(capsys: Printed) -> None:
    def graph(norm: float) -> GradGraph:
        count = gradients.MOST_NODES + 5
        norms = {number: (stats(norm),) for number in range(count)}
        return render_graphs.graph(
            [[number + 1] for number in range(count - 1)] + [[]],
            grad_in=norms,
            parameter={count - 1: None},
        )

    gradients.print_comparison(compare(graph(1.0), graph(3.0)), ("one", "two"))
    text = capsys.readouterr().out
    assert "and 5 more nodes" in text
    assert f"Step{gradients.MOST_NODES - 1}Backward0" in text
    assert f"Step{gradients.MOST_NODES}Backward0" not in text


def test_a_hostile_dump_commands_no_terminal(capsys: Printed) -> None:
    evil = "\x1b[2J\x07[bold]x[/]\u202e\ud800\n"
    first, second = chain(evil, evil), chain(evil, evil, norm=9.0)
    gradients.print_comparison(compare(first, second), (evil, "two"), [f"model: {evil} and b"])
    gradients.print_comparison(compare(first, chain()), ("one", "two"))
    text = capsys.readouterr().out
    assert "\\x1b[2J" in text
    assert "[bold]x[/]" in text
    assert not {"\x1b", "\x07", "\u202e", "\ud800"} & set(text)


def test_checks_against_differences(capsys: Printed) -> None:
    exact = EntryCheck((0,), 0.5, 0.5, 0.0, kink=False)
    wrong = EntryCheck((1,), 0.5, 0.75, 0.333, kink=False)
    kink = EntryCheck((2,), 0.0, 1.0, math.inf, kink=True)
    gradients.print_checks([GradientCheck("a", (exact, wrong)), GradientCheck("b", (kink,))])
    _, first, second, last = rows(capsys.readouterr().out)
    assert first == ["a", "2", "0.33", "0.5", "0.75", "0"]
    assert second == ["b", "1", "-", "-", "-", "1"]
    assert last == ["worst", "relative", "error:", "0.33", "in", "a"]
    gradients.print_checks([GradientCheck("a", (exact,))])
    assert "worst relative error: none above rounding\n" in capsys.readouterr().out
