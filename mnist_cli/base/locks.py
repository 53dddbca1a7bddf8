"""Locks on files, which the system frees when their process dies."""

from __future__ import annotations

import errno
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

_REFUSED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""Errors of network and FUSE file systems without locks; filelock handles ENOSYS itself."""
_LOOKS = 0.2
"""Seconds that it takes to find and remove the marker of a process that has ended."""


def acquire(path: Path, timeout: float) -> BaseFileLock:
    """Lock the file ``path``, which is made if it does not exist, and return the held lock.

    Waits up to ``timeout`` seconds for another process. On a file system without locks, a marker
    file beside it holds the process's ID and host. A marker does not count if its process ran on
    this machine and has ended.

    Raises:
        Timeout: another process holds the lock.
        OSError: the file cannot be written.
    """
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.held"))
        lock.acquire(timeout=max(timeout, _LOOKS))
    return lock
