"""The segment file: packets of one run of an encoder, with all that a muxer needs of them.

No container of FFmpeg's fits: Matroska rounds times to milliseconds, MOV does not take every codec, and NUT keeps
neither durations nor side data (the alpha channel of VP9 is side data). The file has a magic number, the codec's
headers, and the packets in order of decoding: for each its time, duration, whether it is a keyframe, how many items of
side data it has and how many bytes, then those and the side data, all little-endian. Decoding times are not stored:
they follow from the whole, see `joining`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from esrgan.errors import MediaError

if TYPE_CHECKING:
    from av.packet import Packet

_MAGIC = b"ESRGSEG1"
_LENGTH = struct.Struct("<I")
_PACKET = struct.Struct("<qqBBI")
_SIDE_DATA = struct.Struct("<32sI")
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is recorded of a finished segment."""

    index: int
    """Its place, counted from 0."""
    frames: int
    """Frames in it."""
    first: int
    """Time of its first frame, in the video's time base."""
    last: int
    """Time of its last frame."""
    end: int
    """Moment at which its last frame ends."""
    delay: int
    """Places by which a packet comes later in order of decoding than in order of presentation, at most."""
    size: int
    """Bytes of its file."""
    checksum: int
    """CRC-32 of its file."""


def write_segment(path: Path, index: int, extradata: bytes, packets: Iterable[Packet[Any]]) -> Segment:
    """Write a segment and wait until it is on the disk.

    Args:
        path: the file to write.
        index: its place.
        extradata: the codec's headers.
        packets: of the segment, in order of decoding, at least one.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    with path.open("wb") as raw:
        file = _Summed(raw)
        file.write(_MAGIC + _LENGTH.pack(len(extradata)) + extradata)
        spans: list[tuple[int, int]] = []
        for packet in packets:
            _write_packet(file, packet)
            spans.append((packet.pts or 0, packet.duration or 0))
        raw.flush()
        os.fsync(raw.fileno())
    places = {pts: place for place, pts in enumerate(sorted(pts for pts, _ in spans))}
    return Segment(
        index=index,
        frames=len(spans),
        first=min(pts for pts, _ in spans),
        last=max(pts for pts, _ in spans),
        end=max(pts + duration for pts, duration in spans),
        delay=max(position - places[pts] for position, (pts, _) in enumerate(spans)),
        size=file.size,
        checksum=file.checksum,
    )


class SegmentFile:
    """A finished segment, open for reading.

    Raises:
        MediaError: it is no segment, or ends too early; also while its packets are read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        try:
            if self._file.read(len(_MAGIC)) != _MAGIC:
                raise MediaError(f"{path} is not a segment of a video")
            (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
            self.extradata = self._take(length)
            """The codec's headers."""
            self._start = self._file.tell()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def times(self) -> list[int]:
        """Times of presentation, in order of decoding."""
        found = []
        for pts, _, _, count, size in self._heads():
            found.append(pts)
            self._file.seek(size, os.SEEK_CUR)
            for _ in range(count):
                _, length = _SIDE_DATA.unpack(self._take(_SIDE_DATA.size))
                self._file.seek(length, os.SEEK_CUR)
        return found

    def packets(self) -> Iterator[Packet[Any]]:
        """The packets as `write_segment` was given them, without decoding times."""
        from av.packet import Packet

        for pts, duration, is_keyframe, count, size in self._heads():
            packet: Packet[Any] = Packet(self._take(size))
            packet.pts, packet.duration, packet.is_keyframe = pts, duration, bool(is_keyframe)
            for _ in range(count):
                self._add_side_data(packet)
            yield packet

    def _heads(self) -> Iterator[tuple[int, ...]]:
        self._file.seek(self._start)
        while start := self._file.read(_PACKET.size):
            yield _PACKET.unpack(start + self._take(_PACKET.size - len(start)))

    def _add_side_data(self, packet: Packet[Any]) -> None:
        from av.packet import PacketSideData, packet_sidedata_type_from_literal

        name, length = _SIDE_DATA.unpack(self._take(_SIDE_DATA.size))
        kind: Any = name.rstrip(b"\0").decode()
        side_data: Any = PacketSideData(packet_sidedata_type_from_literal(kind), length)  # type: ignore[call-arg]
        if length:
            side_data.update(self._take(length))
            packet.set_sidedata(side_data)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise MediaError(f"{self._path} is damaged: it ends in the middle of a packet")
        return data


def checksum_of(path: Path) -> int:
    """CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


class _Summed:
    """Counts and sums what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = self.checksum = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)


def _write_packet(file: _Summed, packet: Packet[Any]) -> None:
    side_data = list(packet.iter_sidedata())
    head = (packet.pts or 0, packet.duration or 0, packet.is_keyframe, len(side_data), packet.size)
    file.write(_PACKET.pack(*head))
    file.write(bytes(packet))
    for item in side_data:
        data = bytes(item)
        file.write(_SIDE_DATA.pack(item.data_type.encode(), len(data)) + data)
