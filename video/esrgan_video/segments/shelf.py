"""`FrameShelf`: the frames of a segment that is not whole yet, where each of them took long to compute."""

from __future__ import annotations

import contextlib
import logging
import shutil
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from esrgan.errors import MediaError
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import Frame

_log = logging.getLogger(__name__)

_RECORD = struct.Struct("<qQI")
"""Before the planes of each frame: its time, their bytes and their CRC-32."""
_SLOW = 1.0
"""Seconds that a frame must take at least, in the mean, to be worth a place ..."""
_BYTES_A_SECOND = 4_000_000
"""... and more where it is large: a disk takes well under a tenth of the time that the frame took."""
_SPARE = 2 << 30
"""Bytes of the disk that stay free: the segments themselves need them."""


@dataclass(frozen=True)
class _Place:
    """Where the planes of a frame lie in the file."""

    pts: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


class FrameShelf:
    """Frames of one unfinished segment, in a file: a later run encodes them and computes only those behind them.

    It is an insurance and no more. Without it the segment is made from its first frame on, so if the file cannot be
    written it is dropped, and the work goes on. Fast networks have none.

    Args:
        path: of the file; it need not exist. The clock that tells slow frames from fast ones runs from here on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places = _whole(path)
        self._keeps = True
        self._began = time.monotonic()

    def __len__(self) -> int:
        return len(self._places)

    def frames(
        self, sources: Iterator[Frame], *, layout: PixelLayout, colour: Colour, width: int, height: int
    ) -> Iterator[Frame]:
        """The frames on the shelf.

        Args:
            sources: the segment's frames as they are decoded. As many are used up as there are on the shelf.
            layout: what the planes are.
            colour: what their values mean.
            width: columns of a frame.
            height: rows of a frame.

        Raises:
            MediaError: the sources are not those of the frames, or the disk cannot be read.
        """
        places = list(self._places)
        if not places:
            return
        try:
            with self._path.open("rb") as file:
                for place, source in zip(places, sources, strict=False):
                    if source.pts != place.pts:
                        raise MediaError(
                            f"the frame at {place.pts} of an earlier run is now at {source.pts}: the input does not "
                            "give the same frames twice; begin anew with --restart"
                        )
                    file.seek(place.start)
                    yield Frame(
                        planes=_planes(file.read(place.size), layout, width, height),
                        layout=layout,
                        colour=colour,
                        pts=source.pts,
                        time_base=source.time_base,
                        duration=source.duration,
                        captions=source.captions,
                        metadata=source.metadata,
                    )
        except OSError as error:
            raise MediaError(f"cannot read {self._path}: {error.strerror or error}") from error

    def keeping(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, each on the shelf before it is given on, where computing them is slow enough.

        Args:
            frames: of the segment, those that are on the shelf already at first.
        """
        known, new = len(self._places), 0
        for number, frame in enumerate(frames):
            if number < known:
                yield frame
                self._began = time.monotonic()
                continue
            new += 1
            if self._keeps:
                self._keep(frame, (time.monotonic() - self._began) / new)
            yield frame

    def drop(self) -> None:
        """Remove the file."""
        self._places = []
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _keep(self, frame: Frame, seconds: float) -> None:
        """Put a frame on the shelf.

        Where the frames so far took less than is worth it, `seconds` each, or the disk is short, no more are kept.
        Those that are there stay: a still in the middle of a slow video must not cost what came before.
        """
        size = sum(plane.nbytes for plane in frame.planes)
        try:
            self._keeps = (
                seconds >= max(_SLOW, size / _BYTES_A_SECOND)
                and shutil.disk_usage(self._path.parent).free >= size + _SPARE
            )
            if self._keeps:
                self._append(frame, size)
        except OSError as error:
            self._keeps = False
            self.drop()
            _log.warning("%s: frames are not kept until their part is whole (%s)", self._path, error.strerror or error)

    def _append(self, frame: Frame, size: int) -> None:
        planes = [np.ascontiguousarray(plane) for plane in frame.planes]
        checksum = 0
        for plane in planes:
            checksum = zlib.crc32(plane, checksum)
        end = self._places[-1].end if self._places else 0
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.seek(end)
            file.truncate()  # a run that was killed may have left a part of a frame
            file.write(_RECORD.pack(frame.pts, size, checksum))
            for plane in planes:
                file.write(plane)
        self._places.append(_Place(frame.pts, end + _RECORD.size, size))


def _whole(path: Path) -> list[_Place]:
    """The frames of a file up to the first one that is not whole; none where there is no file."""
    places: list[_Place] = []
    try:
        with path.open("rb") as file:
            length = path.stat().st_size
            while (place := _next(file, length)) is not None:
                places.append(place)
    except OSError:
        return places
    return places


def _next(file: BinaryIO, length: int) -> _Place | None:
    header = file.read(_RECORD.size)
    if len(header) < _RECORD.size:
        return None
    pts, size, checksum = _RECORD.unpack(header)
    place = _Place(pts, file.tell(), size)
    if place.end > length or zlib.crc32(file.read(size)) != checksum:
        return None
    return place


def _planes(values: bytes, layout: PixelLayout, width: int, height: int) -> tuple[np.ndarray, ...]:
    """The planes that `values` are, one after the other."""
    sample, planes, start = np.dtype(layout.dtype), [], 0
    for rows, columns in layout.plane_shapes(height, width):
        planes.append(np.frombuffer(values, sample, rows * columns, start).reshape(rows, columns))
        start += planes[-1].nbytes
    return tuple(planes)
