"""Deletes a run."""

from __future__ import annotations

import shutil

from mnist_cli.base.files import explain_os_error
from mnist_cli.runs.directory import LOCK, RunDirectory


def remove(run: RunDirectory) -> None:
    """Delete a run that no process writes.

    The checkpoints are deleted first: after a kill, the rest does not pass for a usable run, and
    can still be removed.

    Raises:
        OutputError: another process writes it, or something in it cannot be deleted.
    """
    with run.locked():
        try:
            inside = [path for path in run.path.iterdir() if not path.name.startswith(LOCK)]
            for path in sorted(inside, key=lambda path: path.suffix != ".pt"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, run.path, "remove") from error
    try:  # after the lock is released: Windows removes no file that is open
        shutil.rmtree(run.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain_os_error(error, run.path, "remove") from error
