"""What a pickle may name, and what small things may be huge in use."""

from __future__ import annotations

import io
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from mnist_cli.checkpoints.contents import Unacceptable
from mnist_cli.checkpoints.pickles import MAX_DEPTH, judge_contents, judge_pickle


def program_of(document: Any) -> bytes:
    """The pickle that torch.save writes for it."""
    buffer = io.BytesIO()
    torch.save(document, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


FINE = {
    "every dtype": [torch.ones(2, dtype=d) for d in (torch.float64, torch.bfloat16, torch.bool)],
    "a state_dict": nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict(),
    "parameters": OrderedDict(a=nn.Parameter(torch.ones(2))),
    "plain": {"a": [1, 2.5, None, True, "x", (1, 2)], "size": torch.Size([1, 2])},
    "types": {
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "meta": torch.ones(2).to("meta"),
    },
}


@pytest.mark.parametrize("case", FINE)
def test_what_programs_save_is_let_through(case: str) -> None:
    judge_pickle(program_of(FINE[case]))
    judge_contents(FINE[case], 1 << 20)


@pytest.mark.parametrize("value", [bytearray(3), b"bytes", {1, 2}, Counter("ab"), nn.Linear(1, 1)])
def test_what_could_ask_for_memory_or_run_is_not(value: Any) -> None:
    with pytest.raises(Unacceptable, match="other than tensors and plain values"):
        judge_pickle(program_of({"more": value}))


@pytest.mark.parametrize("program", [b"", b"\x80\x02", b"garbage", b"\x80\x02cno newline"])
def test_what_is_no_pickle(program: bytes) -> None:
    with pytest.raises(Unacceptable, match="not a pickle"):
        judge_pickle(program)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_is_bounded() -> None:
    judge_contents(nested(MAX_DEPTH - 1), 0)
    with pytest.raises(Unacceptable, match="nested"):
        judge_contents(nested(MAX_DEPTH + 1), 0)


def test_what_is_shared_counts_as_often_as_it_is_reached() -> None:
    line = ["x" * 1000] * 100
    judge_contents([line] * 10, 0)
    with pytest.raises(Unacceptable, match="too many"):
        judge_contents([line] * 100, 0)


def test_a_list_that_holds_itself_ends() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Unacceptable, match="nested"):
        judge_contents(circle, 0)


def test_tensors_are_as_large_as_what_they_hold() -> None:
    tensor = torch.zeros(1000)
    judge_contents([tensor, tensor[::2]], 10_000)
    with pytest.raises(Unacceptable, match="more than 10,000 bytes"):
        judge_contents([tensor] * 3, 10_000)
    with pytest.raises(Unacceptable, match="more elements than the file holds"):
        judge_contents({"a": torch.zeros(1).expand(2)}, 10_000)
