"""Encoders that take a machine for themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Undo what an encoder that is opened inside changes about the scheduling of this process's threads.

    As root, as in most containers, SVT-AV1 gives the thread that opens it, and its own, real-time priority: what such a
    thread or one that it starts later computes leaves no core to anything else, and one that spins until another one is
    done waits forever. Where the caller runs in real time by the user's will, all stays as it is.
    """
    if not hasattr(os, "sched_getscheduler") or not _TASKS.is_dir() or _is_real_time(0):
        yield
        return
    try:
        yield
    finally:
        for task in _TASKS.iterdir():
            with suppress(ProcessLookupError, PermissionError):  # it may have ended meanwhile
                if _is_real_time(int(task.name)):
                    os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def _is_real_time(thread: int) -> bool:
    """Whether a thread of the system runs in real time; 0 is the one that asks."""
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK in (os.SCHED_FIFO, os.SCHED_RR)
