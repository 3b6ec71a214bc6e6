"""Opening standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

from esrgan.errors import MediaError, UsageError

if TYPE_CHECKING:
    from av.container import InputContainer

_FORMATS = {b"YUV4MPEG2": "yuv4mpegpipe", b"nut/multimedia container\0": "nut"}
"""FFmpeg's names, by what a stream begins with."""
_HEAD = max(map(len, _FORMATS))
_BUFFER = 1 << 20


class _Stream:
    """What was read to know the format, then the rest. It cannot be sought in, and PyAV sees that."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, count: int) -> bytes:
        """At most `count` bytes, none at the end."""
        taken, self._head = self._head[:count], self._head[count:]
        return taken or self._rest.read(count)


def open_pipe() -> InputContainer:
    """Open the y4m or NUT stream that comes through standard input.

    Raises:
        UsageError: standard input is a terminal.
        MediaError: nothing comes, or something else.
    """
    import av

    if sys.stdin.isatty():
        raise UsageError("- reads a video from standard input, which is a terminal: pipe y4m or NUT into it")
    head = sys.stdin.buffer.read(_HEAD)
    name = next((name for begin, name in _FORMATS.items() if head.startswith(begin)), None)
    if name is None:
        what = f"begins with {head[:12]!r}" if head else "is empty"
        raise MediaError(f"standard input {what}: y4m or NUT is read from a pipe; give other files by name")
    try:
        return av.open(_Stream(head, sys.stdin.buffer), "r", format=name, buffer_size=_BUFFER)
    except av.error.FFmpegError as error:
        raise MediaError(f"cannot read standard input: {error.strerror}; it is damaged") from error
