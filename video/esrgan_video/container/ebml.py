"""Pixel shape in Matroska and WebM files of codecs that do not store it themselves (VP9, AV1).

FFmpeg's muxer takes it from a field that PyAV does not give access to, so it is added to the finished file: the
Video element gets DisplayWidth, DisplayHeight and DisplayUnit (RFC 9559, sections 5.1.4.1.28.9 to .11). The room comes
from the padding that the muxer leaves after the SeekHead; nothing behind the Tracks element moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from esrgan.errors import MediaError

_SEGMENT, _SEEK_HEAD, _SEEK, _SEEK_POSITION = b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\x4d\xbb", b"\x53\xac"
_TRACKS, _TRACK_ENTRY, _VIDEO = b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_PIXEL_WIDTH, _PIXEL_HEIGHT = b"\xb0", b"\xba"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_VOID, _CRC32, _CLUSTER = b"\xec", b"\xbf", b"\x1f\x43\xb6\x75"
_UNIT_PIXELS, _UNIT_ASPECT_RATIO = 0, 3
_HEADER_BYTES = 1 << 20
"""More than any header that FFmpeg writes before the first cluster, attachments aside."""


@dataclass(frozen=True)
class _Element:
    """An element's place in a buffer."""

    name: bytes
    start: int
    content: int
    end: int


def store_pixel_shape(path: Path, sar: Fraction) -> None:
    """Write the shape of pixels into the first video track of a finished file.

    Args:
        path: a Matroska or WebM file as FFmpeg writes it; changed in place.
        sar: width of a pixel over its height.

    Raises:
        MediaError: the file is laid out in a way that leaves no room.
    """
    with path.open("r+b") as file:
        header = bytearray(file.read(_HEADER_BYTES))
        try:
            _edit(header, sar)
        except (IndexError, StopIteration) as error:
            raise MediaError(f"{path}: there is no room for the shape of pixels ({sar}) in its header") from error
        file.seek(0)
        file.write(header)


def _edit(header: bytearray, sar: Fraction) -> None:
    segment = next(element for element in _elements(header, 0, len(header)) if element.name == _SEGMENT)
    top: dict[bytes, _Element] = {}
    for element in _elements(header, segment.content, len(header)):
        if element.name == _CLUSTER:
            break
        top.setdefault(element.name, element)
    seek_head, void, tracks = top[_SEEK_HEAD], top[_VOID], top[_TRACKS]
    between = bytes(header[void.end : tracks.start])
    new_tracks = _with_shape(bytes(header[tracks.start : tracks.end]), sar)
    grown = len(new_tracks) - (tracks.end - tracks.start)
    room = void.end - void.start - grown
    if room < 2 or not seek_head.end <= void.start < tracks.start:
        raise IndexError
    header[void.start : tracks.end] = _void(room) + between + new_tracks
    _move_seek_positions(header, seek_head, segment.content, (void.end, tracks.start), grown)


def _with_shape(tracks: bytes, sar: Fraction) -> bytes:
    """The Tracks element with the shape in its first Video element."""
    element = next(_elements(tracks, 0, len(tracks)))
    entries = list(_elements(tracks, element.content, element.end))
    entry = next(child for child in entries if child.name == _TRACK_ENTRY and _child(tracks, child, _VIDEO))
    video = _child(tracks, entry, _VIDEO)
    if video is None:
        raise IndexError
    shaped = _rebuilt(tracks, video, {}, _display(tracks, video, sar))
    return _rebuilt(tracks, element, {entry.start: _rebuilt(tracks, entry, {video.start: shaped})})


def _display(tracks: bytes, video: _Element, sar: Fraction) -> bytes:
    """DisplayWidth, DisplayHeight and DisplayUnit: in pixels where those are whole, else as an aspect ratio."""
    width, height = (_number(tracks, video, name) for name in (_PIXEL_WIDTH, _PIXEL_HEIGHT))
    shape, unit = (width * sar, Fraction(height)), _UNIT_PIXELS
    if shape[0].denominator != 1:
        ratio = Fraction(width * sar, height)
        shape, unit = (Fraction(ratio.numerator), Fraction(ratio.denominator)), _UNIT_ASPECT_RATIO
    values = ((_DISPLAY_WIDTH, int(shape[0])), (_DISPLAY_HEIGHT, int(shape[1])), (_DISPLAY_UNIT, unit))
    return b"".join(
        _element(name, value.to_bytes(max(1, -(-value.bit_length() // 8)), "big")) for name, value in values
    )


def _rebuilt(buffer: bytes, parent: _Element, replaced: dict[int, bytes], added: bytes = b"") -> bytes:
    """`parent` with some children (by their start) replaced and bytes added at its end; its checksum made anew."""
    old_display = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
    children = [
        replaced.get(child.start, buffer[child.start : child.end])
        for child in _elements(buffer, parent.content, parent.end)
        if child.name != _CRC32 and child.name not in old_display
    ]
    has_checksum = next(_elements(buffer, parent.content, parent.end)).name == _CRC32
    content = b"".join(children) + added
    if has_checksum:
        content = _element(_CRC32, zlib.crc32(content).to_bytes(4, "little")) + content
    return _element(parent.name, content, parent.content - parent.start - len(parent.name))


def _move_seek_positions(
    header: bytearray, seek_head: _Element, origin: int, moved: tuple[int, int], distance: int
) -> None:
    """Correct the SeekHead's entries for elements that began in `moved` and now begin `distance` earlier."""
    children = list(_elements(header, seek_head.content, seek_head.end))
    for child in children:
        position = _child(header, child, _SEEK_POSITION) if child.name == _SEEK else None
        if position is None:
            continue
        value = int.from_bytes(header[position.content : position.end], "big")
        if moved[0] <= value + origin <= moved[1]:
            size = position.end - position.content
            header[position.content : position.end] = (value - distance).to_bytes(size, "big")
    if children and children[0].name == _CRC32:
        checksum = zlib.crc32(header[children[0].end : seek_head.end])
        header[children[0].content : children[0].end] = checksum.to_bytes(4, "little")


def _elements(buffer: bytes | bytearray, start: int, end: int) -> Iterator[_Element]:
    while start < end:
        name_size = 9 - buffer[start].bit_length()
        size_at = start + name_size
        size_size = 9 - buffer[size_at].bit_length()
        size = int.from_bytes(buffer[size_at : size_at + size_size], "big") & ((1 << 7 * size_size) - 1)
        content = size_at + size_size
        yield _Element(bytes(buffer[start:size_at]), start, content, min(content + size, end))
        start = content + size


def _child(buffer: bytes | bytearray, parent: _Element, name: bytes) -> _Element | None:
    return next((child for child in _elements(buffer, parent.content, parent.end) if child.name == name), None)


def _number(buffer: bytes, parent: _Element, name: bytes) -> int:
    child = _child(buffer, parent, name)
    if child is None:
        raise IndexError
    return int.from_bytes(buffer[child.content : child.end], "big")


def _element(name: bytes, content: bytes, size_size: int = 1) -> bytes:
    """An element whose size field has at least `size_size` bytes."""
    while len(content) >= (1 << 7 * size_size) - 1:
        size_size += 1
    return name + (len(content) | 1 << 7 * size_size).to_bytes(size_size, "big") + content


def _void(size: int) -> bytes:
    """Padding of exactly `size` bytes, at least 2."""
    if size < 9:
        return _element(_VOID, bytes(size - 2))
    return _element(_VOID, bytes(size - 9), 8)
