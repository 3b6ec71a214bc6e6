"""`PipeEnd`: what waits for the program at the other end of a pipe, until it is given up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakSet, finalize

from esrgan.errors import MediaError
from esrgan_video.prefetch import Prefetch


class PipeEnd[T]:
    """One end of a pipe, which a thread of its own reads or writes.

    A call that blocks cannot be broken off: only waiting for the thread that is in it can. The thread must go past
    Python's buffer, see `unbuffered`: it would hold the buffer's lock when Python ends, which is fatal.

    Args:
        work: run in the thread; gives what was read, or written.
        depth: results held at most, at least 1.
    """

    def __init__(self, work: Iterable[T], depth: int) -> None:
        self._results = Prefetch(work, depth)
        self._is_given_up = False
        finalize(self, self._results.abandon)
        _ends.add(self)

    def result(self, default: T) -> T:
        """Wait for the next result; `default` behind the last one.

        Raises:
            MediaError: the waiting was given up.
        """
        found = next(self._results, default)
        if self._is_given_up:
            raise MediaError("the pipe was given up")
        return found

    def give_up(self) -> None:
        """Let whoever waits for a result wait no longer. The thread ends when the other end goes away."""
        self._is_given_up = True
        self._results.abandon()


_ends: WeakSet[PipeEnd[Any]] = WeakSet()


def unbuffered(file: Any) -> Any:
    """What lies below the buffer of standard input or output."""
    return getattr(file, "raw", file)


@contextlib.contextmanager
def giving_up_pipes() -> Iterator[None]:
    """Where an error or an interrupt ends the block, end the waiting for pipes in other threads too."""
    try:
        yield
    except BaseException:
        for end in list(_ends):
            end.give_up()
        raise
