"""Opening standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from esrgan.errors import MediaError, UsageError
from esrgan_video.pipes.ends import PipeEnd, unbuffered

if TYPE_CHECKING:
    from av.container import InputContainer

_FORMATS = {b"YUV4MPEG2": "yuv4mpegpipe", b"nut/multimedia container\0": "nut"}
"""FFmpeg's names, by what a stream begins with."""
_HEAD = max(map(len, _FORMATS))
_BUFFER = 1 << 20
_AHEAD = 4
"""Buffers that are read before they are asked for, at most."""


class _Stream(PipeEnd[bytes]):
    """Standard input. It cannot be sought in, and PyAV sees that.

    FFmpeg must read it in another thread than the main one: what Ctrl-C raises inside its call is lost, and the video
    that is cut off there taken for the whole.
    """

    def __init__(self, source: Any) -> None:
        raw = unbuffered(source)
        super().__init__(iter(lambda: raw.read(_BUFFER), b""), _AHEAD)
        self._next = b""

    def read(self, count: int) -> bytes:
        """At most `count` bytes, none at the end.

        Raises:
            MediaError: it cannot be read, or nobody waits for it any more.
        """
        try:
            found = self._next or self.result(b"")
        except OSError as error:
            raise MediaError(f"cannot read standard input: {error.strerror or error}") from error
        self._next = found[count:]
        return found[:count]

    def begin(self, count: int) -> bytes:
        """The first `count` bytes, fewer if there are no more; they are read once more."""
        found = b""
        while len(found) < count and (more := self.read(_BUFFER)):
            found += more
        self._next = found
        return found[:count]


def open_pipe() -> InputContainer:
    """Open the y4m or NUT stream that comes through standard input.

    Raises:
        UsageError: standard input is a terminal.
        MediaError: nothing comes, or something else.
    """
    import av

    if sys.stdin.isatty():
        raise UsageError("- reads a video from standard input, which is a terminal: pipe y4m or NUT into it")
    stream = _Stream(sys.stdin.buffer)
    head = stream.begin(_HEAD)
    name = next((name for begin, name in _FORMATS.items() if head.startswith(begin)), None)
    if name is None:
        what = f"begins with {head[:12]!r}" if head else "is empty"
        raise MediaError(f"standard input {what}: y4m or NUT is read from a pipe; give other files by name")
    try:
        return av.open(stream, "r", format=name, buffer_size=_BUFFER)
    except av.error.FFmpegError as error:
        raise MediaError(f"cannot read standard input: {error.strerror}; it is damaged") from error
