"""`Workspaces`: memory for passes, taken from the system once and not again for each pass."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import threading
from collections.abc import Iterator

_MAY_BE_RECLAIMED = getattr(mmap, "MADV_FREE", None)
"""Advice that memory is not needed for now: the system takes it where it is short of memory, and else leaves it."""
_IN_LARGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)


class Workspaces:
    """Memory that one pass leaves to the next.

    To hand out a page, and to clear it, takes the system as long as computing with it for some layers: a tenth of the
    time of a pass over a large picture. Between passes the memory counts as free, so that other programs can have it
    and plans can be made with it; where the system has no such promise, nothing is kept.

    A pass of any thread may take one.
    """

    def __init__(self) -> None:
        self._idle: list[mmap.mmap] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self, size: int) -> Iterator[int]:
        """The address of at least `size` bytes, a multiple of 4096, which hold anything.

        Raises:
            MemoryError: there is not as much.
        """
        memory = self._take(size)
        start = ctypes.c_char.from_buffer(memory)
        try:
            yield ctypes.addressof(start)
        finally:
            del start
            self._give_back(memory)

    def _take(self, size: int) -> mmap.mmap:
        with self._lock:
            for index, memory in enumerate(self._idle):
                if len(memory) >= size:
                    return self._idle.pop(index)
            self._idle.clear()  # pictures have become larger: these will not do again
        try:
            # Memory that may be shared, which is Python's default, takes none of the advice.
            memory = mmap.mmap(-1, max(1, size), **({} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE}))
        except OSError as error:
            raise MemoryError(f"no {size} bytes for a pass: {error.strerror}") from None
        _advise(memory, _IN_LARGE_PAGES)
        return memory

    def _give_back(self, memory: mmap.mmap) -> None:
        if _advise(memory, _MAY_BE_RECLAIMED):
            with self._lock:
                self._idle.append(memory)


def _advise(memory: mmap.mmap, advice: int | None) -> bool:
    """Whether the system took the advice."""
    if advice is None:
        return False
    try:
        memory.madvise(advice)
    except OSError:  # a kernel that was built without it
        return False
    return True
