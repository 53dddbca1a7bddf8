"""Judge the graphs of the zoo that are named as arguments: a line of JSON for each."""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from zoo.judged import outcome
from zoo.registry import HELD, ZOO, Graph, MissingError

MODULES = (
    "algebra",
    "compiled",
    "functions",
    "hooks",
    "kinds",
    "networks",
    "parametrised",
    "situations",
    "vision",
)


def every() -> dict[str, Graph]:
    """All graphs by name."""
    for name in MODULES:
        import_module(f"zoo.{name}")
    return ZOO


def verdict(one: Graph) -> str:
    torch.manual_seed(7)
    try:
        made = one.make()
    except MissingError as error:
        return f"missing: {error}"
    except NotImplementedError as error:
        return f"refused: {error}"
    return outcome(*made, by_backward=one.by_backward)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    zoo = every()
    # An inspection searches Python's objects, of which these packages are many.
    gc.collect()
    gc.freeze()
    for name in names or zoo:
        start = time.perf_counter()
        try:
            answer = verdict(zoo[name])
        except Exception as error:
            answer = f"fails: {type(error).__name__}: {str(error)[:300]}"
        HELD.close()
        seconds = round(time.perf_counter() - start, 2)
        print(json.dumps([name, answer, seconds]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
