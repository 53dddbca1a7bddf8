"""The tables of ``mnist eval`` on terminals of any width, with names of any length and script."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from torch.nn.functional import cross_entropy

from mnist_cli.report.evaluation import calibration_reason, confusion_tables

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Bag")
SETS = {
    "digits": tuple("0123456789"),
    "clothes": CLOTHES,
    "kana": tuple("おきすつなはまやれを"),
    "words": ("短い名前のとても長いクラス名", "Acer pseudoplatanus L. (Bergahorn)", "[red]"),
    "letters": tuple(chr(65 + n) for n in range(47)),
    "one": ("only",),
}


def lines_of(names: tuple[str, ...], width: int) -> tuple[int, list[str]]:
    """How many tables there are, and their lines."""
    count = len(names)
    confusion = [[1000 if i == j else (i * j) % 3 for j in range(count)] for i in range(count)]
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    tables = confusion_tables(confusion, names, width)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return len(tables), console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("names", SETS.values(), ids=list(SETS))
def test_every_count_is_shown_and_every_line_fits(names: tuple[str, ...], width: int) -> None:
    parts, lines = lines_of(names, width)
    assert max(map(cell_len, lines)) <= width
    count = len(names)
    assert sum(line.split().count("1000") for line in lines) == count
    rows = [
        line for line in lines if line.split()[-1:] and line.split()[-1] in ["1000", ".", "1", "2"]
    ]
    assert len(rows) >= count * parts
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("names", [SETS["digits"], SETS["clothes"], SETS["kana"]])
def test_columns_are_equally_wide(names: tuple[str, ...], width: int) -> None:
    parts, lines = lines_of(names, width)
    assert parts == 1
    ends = []
    for row, line in enumerate(lines[-len(names) :]):
        place = line.index("1000", 2 if row else 1)  # the diagonal
        ends.append(cell_len(line[:place]))
    assert len({after - before for before, after in pairwise(ends)}) == 1


@pytest.mark.parametrize(("smoothing", "classes"), [(0.1, 10), (0.2, 4), (0.05, 47)])
def test_smoothing_is_named_where_it_holds_the_confidence_below_the_accuracy(
    smoothing: float, classes: int
) -> None:
    """The confidence in the message is the one at which torch's smoothed loss is least."""
    margin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([margin], max_iter=100, line_search_fn="strong_wolfe")
    rest = torch.zeros(classes - 1, dtype=torch.float64)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.cat([margin, rest])[None]
        loss = cross_entropy(logits, torch.tensor([0]), label_smoothing=smoothing)
        loss.backward()
        return loss

    optimizer.step(closure)
    best = float(torch.cat([margin.detach(), rest]).softmax(0)[0])
    assert f"confidence of {best:.0%}" in calibration_reason(best + 0.01, smoothing, classes)
    assert calibration_reason(best - 0.01, smoothing, classes) == ""
    assert calibration_reason(1.0, 0.0, classes) == ""
