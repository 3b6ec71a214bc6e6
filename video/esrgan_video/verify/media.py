"""`Media`: a file opened for checking. Frames of its video one by one; packets of all else as they pass by."""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from esrgan.errors import MediaError, UsageError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)

_MOST_FAILED_READS = 16
_ORDERED_BY_DECODING = ("asf", "avi")
"""Containers whose times are those of decoding: right as a set, in the wrong order where there are B-frames."""
_HELD_BACK = 16
"""Frames that a decoder may hold back for reordering, at most."""
_HIGHEST_RATE = 250
"""Frames per second; a header that says more does not know."""
_INTERLEAVING = 10
"""Seconds by which packets of different streams may be apart in a file."""
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders leave the transparency of these aside."""


@dataclass(frozen=True)
class Timed:
    """A decoded frame and what the file says of its time."""

    frame: VideoFrame
    """As the decoder gave it."""
    time: Fraction | None
    """When it is shown, in seconds; `None` if the file does not say."""
    duration: Fraction | None
    """How long it is shown, in seconds; `None` if the file does not say."""
    is_guess: bool = False
    """Whether `time` is between those of its neighbours because the file's is wrong."""


class Media:
    """A file with a video.

    Args:
        path: the file.
        frame_threads: decode several frames at a time. Faster, but of a damaged file some may be lost that a decoder
            gives otherwise.

    Raises:
        UsageError: no such file.
        MediaError: not a video, or one without a decoder.
    """

    def __init__(self, path: Path, *, frame_threads: bool) -> None:
        self.path = path
        self.damaged_packets = 0
        """Packets that could not be read or decoded, so far."""
        self.sink: Callable[[Packet[Any]], None] | None = None
        """Called with each packet of the other streams."""
        self._threads = "AUTO" if frame_threads else "SLICE"
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def _open(self) -> None:
        import av

        if not self.path.exists():
            raise UsageError(f"no such file: {self.path}")
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder: name a video file")
        if not self.path.is_file():
            raise UsageError(f"{self.path} is a pipe or a device: name a video file")
        try:
            self.container: Any = av.open(str(self.path.absolute()))
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"cannot read {self.path}: {error.strerror or error}") from error
        main = next((stream for stream in self.container.streams.video if not is_picture(stream)), None)
        if main is None or main.codec_context is None:
            self.container.close()
            raise MediaError(f"{self.path} has no video that can be decoded")
        self.main: VideoStream = main
        self.main.codec_context.thread_type = self._threads
        self._decoder: Any = self.main.codec_context
        self._chosen = False
        self._demuxed = self._demux()

    @property
    def rate(self) -> Fraction | None:
        """Frames per second on average; `None` where the header does not know."""
        rate = self.main.average_rate
        return seconds(rate) if rate and rate <= _HIGHEST_RATE else None

    @property
    def is_interlaced_by_header(self) -> bool:
        """Whether the header says that frames are made of two fields (AVFieldOrder 2 to 5)."""
        return int(self.main.codec_context.field_order or 0) > 1

    @property
    def origin(self) -> Fraction:
        """Where the file begins on its own clock, in seconds."""
        return Fraction(self.container.start_time or 0, 1_000_000)

    @property
    def tick(self) -> Fraction:
        """Unit of the video's times, in seconds."""
        return seconds(self.main.time_base)

    def skip_to(self, time: Fraction) -> None:
        """Go to a keyframe that is not after `time` (seconds on the file's clock), if there is an index."""
        import av

        try:
            self.container.seek(int(time * 1_000_000), backward=True)
        except av.error.FFmpegError:
            self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self.container.close()
        self.damaged_packets = 0
        self._open()

    def frames(self) -> Iterator[Timed]:
        """All frames of the main video in order of presentation; other packets go to `sink` on the way."""
        held = _HELD_BACK if self.container.format.name in _ORDERED_BY_DECODING else 0
        waiting: deque[VideoFrame] = deque()
        times: list[Fraction] = []
        for frame in self._decode():
            waiting.append(frame)
            if frame.pts is not None:
                heapq.heappush(times, frame.pts * self.tick)
            if len(waiting) > held:
                yield self._timed(waiting.popleft(), times)
        while waiting:
            yield self._timed(waiting.popleft(), times)

    def _timed(self, frame: VideoFrame, times: list[Fraction]) -> Timed:
        time = heapq.heappop(times) if times else None
        duration = frame.duration * self.tick if frame.duration and self.rate else None
        return Timed(frame, time, duration)

    def _decode(self) -> Iterator[VideoFrame]:
        import av

        for packet in self._main_packets():
            if not self._chosen:
                self._choose_decoder(packet)
            try:
                yield from self._decoder.decode(packet)
            except av.error.FFmpegError as error:
                self._count(error)
        while True:  # an error while the decoder is emptied does not end what it still holds
            try:
                yield from self._decoder.decode(None)
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self._count(error)

    def _choose_decoder(self, packet: Packet[Any]) -> None:
        """Take the decoder that knows transparency where the packet has some."""
        import av

        self._chosen = True
        name = _ALPHA_DECODERS.get(self.main.codec_context.codec.canonical_name)
        if name is not None and packet.has_sidedata("matroska_block_additional"):
            self._decoder = av.CodecContext.create(name, "r")

    def finish(self, limit: Fraction | None) -> None:
        """Hand the packets that are left to `sink`, as far as they begin before `limit` (seconds), without decoding."""
        for packet in self._demuxed:
            if packet.stream_index != self.main.index:
                self._hand_on(packet)
            stamp = packet.dts if packet.dts is not None else packet.pts
            if limit is not None and stamp is not None and stamp * seconds(packet.time_base) > limit + _INTERLEAVING:
                return

    def _main_packets(self) -> Iterator[Packet[Any]]:
        for packet in self._demuxed:
            if packet.stream_index == self.main.index:
                yield packet
            else:
                self._hand_on(packet)

    def _hand_on(self, packet: Packet[Any]) -> None:
        if self.sink is not None:
            self.sink(packet)

    def _demux(self) -> Iterator[Packet[Any]]:
        import av

        failures = 0
        while failures < _MOST_FAILED_READS:
            try:
                for packet in self.container.demux():
                    failures = 0
                    if packet.size:
                        yield packet
                return
            except av.error.InvalidDataError as error:
                failures += 1
                self._count(error)
            except av.error.FFmpegError as error:
                raise MediaError(f"cannot read {self.path} any further: {error.strerror}") from error

    def _count(self, error: Exception) -> None:
        self.damaged_packets += 1
        _log.debug("%s: damaged packet: %s", self.path, error)


def is_picture(stream: Stream) -> bool:
    """Whether a video stream is cover art or a set of thumbnails."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & pictures)


def seconds(rational: Any) -> Fraction:
    """PyAV's rational as a `Fraction`."""
    return Fraction(rational.numerator, rational.denominator)
