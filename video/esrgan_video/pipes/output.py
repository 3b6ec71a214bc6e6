"""Standard output as a file that raw video is written to."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Buffer, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

from esrgan_video.pipes.ends import PipeEnd, unbuffered


class Output(PipeEnd[int]):
    """Standard output; what is given to it has been taken when a call returns.

    Args:
        target: the file below.
        asked: what the thread is to write, each without waiting for more; `None` ends it.
    """

    def __init__(self, target: Any, asked: SimpleQueue[Sequence[Buffer] | None]) -> None:
        self._asked = asked
        raw = unbuffered(target)
        super().__init__((sum(_written(raw, part) for part in parts) for parts in iter(asked.get, None)), 1)

    def write(self, data: Buffer) -> int:
        """Write all of `data`; returns its bytes.

        Raises:
            OSError: what the system says.
            MediaError: the reader takes nothing, and nobody waits for it any more.
        """
        self._asked.put([data])
        return self.result(0)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """Write all of `parts`; raises what `write` does."""
        self._asked.put(list(parts))
        self.result(0)

    def flush(self) -> None:
        """Nothing is held back."""


def _written(raw: Any, data: Buffer) -> int:
    """Write all of `data`, of which the system may take a part at a time; returns its bytes."""
    left = memoryview(data).cast("B")
    while left:
        left = left[raw.write(left) :]
    return memoryview(data).nbytes


@contextlib.contextmanager
def standard_output() -> Iterator[Output]:
    """Standard output, for one thread."""
    sys.stdout.buffer.flush()
    asked: SimpleQueue[Sequence[Buffer] | None] = SimpleQueue()
    try:
        yield Output(sys.stdout.buffer, asked)
    finally:
        asked.put(None)
