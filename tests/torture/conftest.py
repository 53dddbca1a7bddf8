"""Faults done to the program from outside, and the table of what came of them.

``make test`` runs each fault in a short form; ``make torture`` (``TORTURE=full``) as often as it
takes to believe it, and prints the table that docs/reliability.md holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

COLUMNS = ("fault", "tries", "survived", "worst case")


@dataclass
class Tally:
    """One row of the table: what was done, how often, and how often it was survived.

    ``full`` says whether this is the long form. Set ``worst`` to the worst case that was met.
    """

    fault: str
    full: bool
    tries: int = 0
    survived: int = 0
    worst: str = ""

    def times(self, short: int, full: int) -> int:
        """How often to try."""
        return full if self.full else short

    def check(self, survived: bool, case: str) -> None:
        """Count a try; the test fails at its end if one was not survived."""
        self.tries += 1
        self.survived += survived
        if not survived:
            self.worst = case


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The row of this test; the first line of its docstring is the fault's name."""
    title = (request.function.__doc__ or request.function.__name__).splitlines()[0].strip(" .")
    row = Tally(title, os.environ.get("TORTURE") == "full")
    yield row
    request.node.user_properties.append(
        ("torture", [row.fault, str(row.tries), str(row.survived), row.worst])
    )
    assert row.tries, "nothing was tried"
    assert row.survived == row.tries, row.worst


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, from the reports, which reach the main process from parallel ones too."""
    if os.environ.get("TORTURE") != "full":
        return
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "torture" and getattr(report, "when", "") == "teardown"
    ]
    terminalreporter.section("torture")
    for row in [COLUMNS, ["---"] * len(COLUMNS), *sorted(rows)]:
        terminalreporter.line("| " + " | ".join(row) + " |")
