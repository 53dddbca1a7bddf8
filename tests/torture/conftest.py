"""Faults from outside the program, and the table of their results.

``make test`` tries each fault a few times. ``make torture`` (``TORTURE=full``) tries it often enough
to trust the result, and prints the table of docs/reliability.md.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from readers import lay_picture
from small_world import start
from tally import Tally
from victim import Victim
from warm import WORKERS, Warm, Whole, train_whole

COLUMNS = ("fault", "tries", "survived", "worst case")


SKIPPED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test, or a fixture of it, has skipped it."""
    report = yield
    item.stash[SKIPPED] = item.stash.get(SKIPPED, False) or report.skipped
    return report


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The row of this test, named by the first line of its docstring."""
    title = (request.function.__doc__ or request.function.__name__).splitlines()[0].strip(" .")
    row = Tally(title, os.environ.get("TORTURE") == "full")
    yield row
    if request.node.stash.get(SKIPPED, False):
        return
    request.node.user_properties.append(
        ("torture", [row.fault, str(row.tries), str(row.survived), row.worst])
    )
    assert row.tries, "nothing was tried"
    assert row.survived == row.tries, row.worst


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    """Starts the program in forks of a warm process."""
    return Warm(tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="session")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run = train_whole(warm, folder)
    lay_picture(folder)
    return run


@pytest.fixture(scope="session")
def whole_with_workers(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed run whose images come from a DataLoader's workers."""
    return train_whole(warm, tmp_path_factory.mktemp("workers") / "run", *WORKERS)


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The program in a folder of its own, with no data named."""
    program = Victim(tmp_path_factory.mktemp("victim"), MNIST_DATA_DIR="")
    lay_picture(program.folder)
    return program


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The program with small made-up data sets in a folder of its own."""
    return start(tmp_path_factory.mktemp("world"))


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
