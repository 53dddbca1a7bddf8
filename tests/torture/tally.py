"""One row of the table of faults."""

from __future__ import annotations

from dataclasses import dataclass


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

    def note(self, worst: str) -> None:
        """Say what the worst case was, unless something was not survived, which is worse."""
        if self.survived == self.tries:
            self.worst = worst

    def check(self, survived: bool, case: str) -> None:
        """Count a try; the test fails at its end if one was not survived."""
        self.tries += 1
        self.survived += survived
        if not survived:
            self.worst = case
