"""Exceptions that stand for expected errors, and bugs that do not."""

from __future__ import annotations

import errno

import pytest
import torch

from mnist_cli.errors import CheckpointError, OutOfMemory, OutputError
from mnist_cli.training.expected_errors import expected


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "cannot write the output"),
        (PermissionError(errno.EACCES, "denied", "a.png"), OutputError, "cannot use a.png: denied"),
        (FileNotFoundError(errno.ENOENT, "No usable temp folder"), OutputError, "No usable temp"),
        (MemoryError(), OutOfMemory, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemory, "out of memory"),
        (CheckpointError("as it is"), CheckpointError, "as it is"),
    ],
)
def test_expected_errors_by_exception(error: Exception, kind: type, words: str) -> None:
    known = expected(error)
    assert type(known) is kind
    assert words in known.message


def test_a_bug_is_not_expected() -> None:
    assert expected(ValueError("out of luck")) is None
