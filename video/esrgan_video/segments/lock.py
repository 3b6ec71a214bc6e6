"""One run at a time: a file that the system unlocks when its holder ends, however that ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from esrgan.errors import UsageError

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: Path, *, target: Path) -> Iterator[None]:
    """Hold the lock `path`, made if it is missing, and removed in the end.

    Args:
        path: the lock's file.
        target: what is worked on, for the message.

    Raises:
        UsageError: another process holds it.
        OSError: the file cannot be made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(descriptor):
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise UsageError(f"another run is writing {target} (process {holder}): wait for its end, or end it")
            if _is_at(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it between our two steps
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        _log.warning("this file system has no locks (%s): see to it that only one run writes here", error.strerror)
    return True
