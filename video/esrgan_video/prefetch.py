"""Two ways to let stages of a pipeline run at once: fetch ahead in a thread, or consume in a thread.

Both hold at most `depth` items, pass errors on at once, and end their thread before they return.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from esrgan_video.closing import Closing

_WAKE_UP = 0.5
"""Seconds after which a waiting thread looks around: where locks cannot be interrupted, Ctrl-C waits no longer."""


class Prefetch[T](Closing):
    """Runs an iterable in a thread, up to `depth` items ahead of the reader.

    Iterating gives the items in order. An error of the iterable is raised by the next `next()`, before
    items that still wait. Leaving the context, or `close`, stops the thread after the item it is at.

    Args:
        source: run in the thread, and closed there if it is a generator.
        depth: items held at most, at least 1.
    """

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._channel = _Channel[T](depth)
        self._source = source
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._channel)

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        self._channel.close()
        self._thread.join()

    def abandon(self) -> None:
        """End the iteration without waiting for the thread, which ends when the item that it is at has come."""
        self._channel.close()

    def _run(self) -> None:
        iterator = iter(self._source)
        try:
            for item in iterator:
                if not self._channel.put(item):
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader must see it
            self._channel.end(error)
        else:
            self._channel.end()
        finally:
            if hasattr(iterator, "close"):
                with suppress(BaseException):  # an error while giving up has nobody to go to
                    iterator.close()


class Drain[T, R]:
    """Feeds a function that consumes an iterator, in a thread; the feeder waits when `depth` items are pending.

    Leaving the context without `finish` breaks the function off: its iterator raises inside it.

    Args:
        function: run in the thread with an iterator over what is put.
        depth: items held at most, at least 1.
    """

    def __init__(self, function: Callable[[Iterator[T]], R], depth: int) -> None:
        self._channel = _Channel[T](depth)
        self._function = function
        self._result: list[R] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; raises the function's error if it has failed."""
        if not self._channel.put(item):
            self._thread.join()
            raise self._failure()

    def finish(self) -> R:
        """Say that nothing follows, wait for the function and return its result, or raise its error."""
        self._channel.end()
        self._join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.end(_BrokenOffError())
        self._thread.join()

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(_WAKE_UP)

    def _failure(self) -> BaseException:
        return self._error or RuntimeError("the consumer stopped before the end")

    def _run(self) -> None:
        try:
            self._result.append(self._function(self._channel))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the feeder must see it
            self._error = error
        finally:
            self._channel.close()


class _BrokenOffError(Exception):
    """Raised inside a draining function whose feeder gave up."""


class _Channel[T]:
    """A bounded queue between two threads that either side can end."""

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self._depth = depth
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room and add `item`; false if the reader is gone."""
        with self._changed:
            while len(self._items) >= self._depth and not self._closed:
                self._changed.wait(_WAKE_UP)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Wait for an item; raises the writer's error at once."""
        with self._changed:
            while not (self._items or self._ended or self._closed):
                self._changed.wait(_WAKE_UP)
            if self._error is not None:
                raise self._error
            if not self._items or self._closed:
                raise StopIteration
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None = None) -> None:
        """The writer's side is done, or has failed. The first error counts, also after an orderly end."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """The reader's side takes nothing any more."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
