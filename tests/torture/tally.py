"""One row of the table of faults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """One row of the table: the fault, how often it was tried, and how often it was survived.

    ``full`` is true under ``make torture``. ``worst`` describes the worst case.
    """

    fault: str
    full: bool
    tries: int = 0
    survived: int = 0
    worst: str = ""

    def times(self, short: int, full: int) -> int:
        """The number of tries."""
        return full if self.full else short

    def note(self, worst: str) -> None:
        """Describe the worst case, unless a try was not survived: that one is worse."""
        if self.survived == self.tries:
            self.worst = worst

    def check(self, survived: bool, case: str) -> None:
        """Count a try; the test fails at its end if one was not survived."""
        self.tries += 1
        self.survived += survived
        if not survived:
            self.worst = case
