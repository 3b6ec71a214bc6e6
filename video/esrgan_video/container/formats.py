"""The containers that can be written, by extension, and opening files that are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esrgan.errors import MediaError, UsageError
from esrgan_video.pipes.names import PIPE
from esrgan_video.pipes.source import open_pipe

if TYPE_CHECKING:
    from av.container import InputContainer

_TEXT_DEMUXERS = frozenset({"tty", "bin", "xbin", "idf", "adf", "vt"})
"""FFmpeg draws any text file as video with these."""


@dataclass(frozen=True)
class ContainerFormat:
    """A container that can be written."""

    suffix: str
    """File name extension, with its dot."""
    muxer: str
    """FFmpeg's name of the muxer."""
    probe_codec: str
    """A video codec that it takes without codec-specific data: what a test header is made with."""
    text_codec: str
    """The encoder of its plain text subtitles."""
    flags: frozenset[str]
    """Dispositions of streams that it has a place for."""
    milliseconds: bool
    """Whether times are stored in whole milliseconds."""
    pictures: bool = False
    """Whether cover art can be a stream."""
    attachments: bool = False
    """Whether it holds files: fonts, pictures."""


_FLAGS = frozenset({"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"})
_MATROSKA_FLAGS = _FLAGS | {"original", "descriptions"}
_MP4_FLAGS = _FLAGS | {"captions", "descriptions"}


FORMATS = {
    container.suffix: container
    for container in (
        ContainerFormat(".mkv", "matroska", "vp9", "subrip", _MATROSKA_FLAGS, milliseconds=True, attachments=True),
        ContainerFormat(".mp4", "mp4", "vp9", "mov_text", _MP4_FLAGS, milliseconds=False, pictures=True),
        ContainerFormat(".mov", "mov", "mjpeg", "mov_text", frozenset({"default"}), milliseconds=False),
        ContainerFormat(".webm", "webm", "vp9", "webvtt", frozenset({"default", "forced"}), milliseconds=True),
    )
}
"""The containers that can be written, the one that holds the most first."""


def format_of(path: Path) -> ContainerFormat:
    """The container that the extension of `path` names.

    Raises:
        UsageError: the extension is not one that can be written.
    """
    container = FORMATS.get(path.suffix.lower())
    if container is None:
        raise UsageError(
            f"cannot write {path}: unknown video extension {path.suffix or '(none)'!r}; use {', '.join(FORMATS)}"
        )
    return container


def open_input(path: Path) -> InputContainer:
    """Open a file, or standard input, for reading.

    Raises:
        UsageError: there is no such file, or it is a folder.
        MediaError: it is empty, unreadable, or nothing that FFmpeg knows.
    """
    import av

    if path == PIPE:
        return open_pipe()
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a video file")
    try:
        if path.stat().st_size == 0 and path.is_file():
            raise MediaError(f"{path} is empty (0 bytes)")
        # An absolute path cannot be mistaken for a protocol ("a:b.mp4").
        container = av.open(str(path.absolute()))
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except av.error.FFmpegError as error:
        raise MediaError(f"cannot read {path}: {reason(error)}; it is damaged or not a video") from error
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror or error}") from error
    if container.format.name in _TEXT_DEMUXERS:
        container.close()
        raise MediaError(f"cannot read {path}: it is text, not a video")
    return container


def reason(error: Exception) -> str:
    """The short text of an error of FFmpeg or the system, for a message."""
    return str(getattr(error, "strerror", None) or error)
