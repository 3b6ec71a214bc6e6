"""Decoding one video stream of a file that may be damaged."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from esrgan.errors import MediaError
from esrgan_video.container.clock import Clock, with_following
from esrgan_video.container.formats import open_input, reason
from esrgan_video.container.info import main_video_stream, rate_from_header
from esrgan_video.pipes.names import PIPE

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)

_MAX_FAILED_READS = 16
"""Reads that may fail one after the other before the rest of a damaged file is given up."""
_RECENT = 64
"""More frames than any decoder has in flight."""
_SEEK_MARGIN = 1
"""Seconds before the wanted start that a search aims at: frames just after a keyframe may need the one before it."""
_LONGEST_REORDERING = 1
"""Seconds between decoding and presentation; where there are more, one of the times is wrong."""
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_FROM_HEADER = (
    "extradata",
    "colorspace",
    "color_range",
    "color_primaries",
    "color_trc",
    "chroma_sample_location",
    "sample_aspect_ratio",
)
"""What a decoder is told by the container."""


@dataclass(frozen=True)
class Join:
    """A place where recordings were joined end to end, so that time begins anew."""

    before: int
    """Where the last packet before it begins, in bytes."""
    behind: int
    """Where the first packet behind it begins."""
    offset: Fraction
    """Seconds that are added to the video's times behind it."""


class Decoder:
    """Decodes the main video stream of a file, counting what is damaged and going on after it.

    Times of packets are put on one clock before they are decoded: where recordings are joined, frames of both come out
    of a decoder in turn.

    Args:
        path: a file that FFmpeg can read.
        strict: stop at the first packet or frame that is damaged.

    Raises:
        UsageError: no such file.
        MediaError: not a video, no video stream, or a codec without decoder.
    """

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        self.path = path
        self._strict = strict
        self.damaged_packets = 0
        """Packets that the demuxer or the decoder refused."""
        self.corrupt_frames = 0
        """Frames that the decoder gave but marked as damaged."""
        self.last_error = ""
        """What was said of the last damaged packet."""
        self._missing = 0  # packets that went in, less frames that came out
        self.joins: list[Join] = []
        """Where time began anew, as far as the file was read."""
        self.container, self.stream, self._context = self._open("AUTO")

    @property
    def time_base(self) -> Fraction:
        """Unit of the stream's times, in seconds."""
        return Fraction(self.stream.time_base.numerator, self.stream.time_base.denominator)

    @property
    def is_pipe(self) -> bool:
        """Whether it can be read only once, from its beginning to its end."""
        return self.path == PIPE

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def frames(self, start: Fraction | None = None) -> Iterator[VideoFrame]:
        """Frames in order of presentation, from one that is not after `start` (seconds on the file's clock).

        Raises:
            MediaError: the file cannot be read any more.
        """
        recent: deque[int | None] = deque(maxlen=_RECENT)
        for frame in self._from(start):
            recent.append(frame.pts)
            self._check(frame)
            yield frame
        if self._missing > 0 and recent and not self.is_pipe and self._decodes_frames_in_parallel():
            yield from self._rest_after(recent)

    def all_joins(self) -> list[Join]:
        """Where time begins anew in the whole file, which is read but not decoded.

        Raises:
            MediaError: the file cannot be read any more.
        """
        for _ in self._packets():
            pass
        return self.joins

    def _decodes_frames_in_parallel(self) -> bool:
        from av.codec.context import ThreadType

        return bool(self._context.active_thread_type & ThreadType.FRAME)

    def _open(self, threads: Literal["AUTO", "SLICE"]) -> tuple[InputContainer, VideoStream, VideoCodecContext]:
        container = open_input(self.path)
        try:
            stream = main_video_stream(container)
            if stream is None:
                kinds = ", ".join(sorted({stream.type for stream in container.streams}))
                raise MediaError(f"{self.path} has no video stream, only {kinds or 'nothing'}")
            if stream.codec_context is None:
                raise MediaError(f"{self.path}: there is no decoder for its video stream (#{stream.index})")
            context = _alpha_decoder(stream) or stream.codec_context
            context.thread_type = threads
        except BaseException:
            container.close()
            raise
        return container, stream, context

    def _reopen(self, threads: Literal["AUTO", "SLICE"]) -> None:
        self.container.close()
        self.container, self.stream, self._context = self._open(threads)

    def _from(self, start: Fraction | None) -> Iterator[VideoFrame]:
        if start is not None and self._seek(start - _SEEK_MARGIN):
            frames = self._decode()
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts * self.time_base <= start:
                yield first
                yield from frames
                return
            self._reopen("AUTO")  # a bad index led too far: go through the file from its beginning
        yield from self._decode()

    def _seek(self, time: Fraction) -> bool:
        """Go to the keyframe before `time`; false where that is the beginning, or cannot be done."""
        import av

        if time <= 0 or self.is_pipe:
            return False
        try:
            self.container.seek(math.floor(time / self.time_base), stream=self.stream)
        except av.error.FFmpegError as error:
            _log.debug("%s: no seeking: %s", self.path, reason(error))
            self._reopen("AUTO")
            return False
        return True

    def _rest_after(self, recent: Sequence[int | None]) -> Iterator[VideoFrame]:
        """Frames after the last of those at the times `recent`, which PyAV may have lost.

        With several frames in flight, an error that shows while the decoder is emptied hides the frames behind it,
        and not always says so. Decoding the end once more, one frame at a time, gives them.
        """
        last = recent[-1]
        if last is None:
            return
        counted, self.damaged_packets = self.damaged_packets, 0
        has_joins = bool(self.joins)
        self._reopen("SLICE")
        if not has_joins:  # else the place in the file does not follow from the time
            self._seek(last * self.time_base - _SEEK_MARGIN)
        is_behind = False
        for frame in self._decode():
            if is_behind and frame.pts not in recent:
                self._check(frame)
                yield frame
            is_behind = is_behind or frame.pts == last
        self.damaged_packets = max(counted, self.damaged_packets)  # most of these were counted the first time

    def _decode(self) -> Iterator[VideoFrame]:
        import av

        for packet in self._packets():
            try:
                frames = self._context.decode(packet)
            except av.error.MemoryError as error:
                raise MediaError(f"cannot decode {self.path}: {reason(error)}") from error
            except av.error.FFmpegError as error:
                self._count(error)
                frames = []
            self._missing += (packet is not None) - len(frames)
            yield from frames

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Packets of the stream, on one clock, then `None`, which empties the decoder."""
        rate = rate_from_header(self.stream)
        clock = Clock(self.time_base, 1 if rate is None else round(1 / (rate * self.time_base)))
        self.joins, position = [], 0
        for packet, following in with_following(self._demuxed(), lambda packet: packet.dts, clock.breaks_off):
            self._move(packet, clock, following)
            if clock.changes > len(self.joins):
                self.joins.append(Join(position, packet.pos or 0, clock.offset * self.time_base))
            position = packet.pos or position
            yield packet
        yield None

    def _move(self, packet: Packet[VideoStream], clock: Clock, following: int | None) -> None:
        """Put a packet on the first clock."""
        if packet.dts is None:
            return
        offset = clock.place(packet.dts, packet.duration or 0, shown=packet.pts, following=following)
        if packet.pts is not None:
            apart = abs(packet.pts - packet.dts) * self.time_base
            packet.pts += offset if apart <= _LONGEST_REORDERING else clock.offset
        packet.dts += offset

    def _demuxed(self) -> Iterator[Packet[VideoStream]]:
        import av

        failures = 0
        while failures < _MAX_FAILED_READS:
            try:
                for packet in self.container.demux(self.stream):
                    failures = 0
                    if packet.size:
                        yield packet
                break
            except av.error.InvalidDataError as error:
                failures += 1
                self._count(error)
            except av.error.FFmpegError as error:
                raise MediaError(f"cannot read {self.path} any further: {reason(error)}") from error

    def _check(self, frame: VideoFrame) -> None:
        self.corrupt_frames += frame.is_corrupt
        if self._strict and frame.is_corrupt:
            raise MediaError(f"{self.path}: the frame at {_moment(frame)} is damaged: leave out --strict to go on")

    def _count(self, error: Exception) -> None:
        self.damaged_packets += 1
        self.last_error = reason(error)
        _log.debug("%s: damaged packet: %s", self.path, self.last_error)
        if self._strict:
            raise MediaError(
                f"{self.path}: a damaged packet ({self.last_error}): leave out --strict to go on"
            ) from error


def _moment(frame: VideoFrame) -> str:
    return "an unknown time" if frame.time is None else f"{frame.time:.3f} s"


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """A decoder that gives the transparency of VP8 and VP9, which lies beside the picture; `None` if there is none.

    FFmpeg's own decoders of these codecs do not look at it.
    """
    from av.codec import CodecContext
    from av.codec.codec import UnknownCodecError

    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    says = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode")
    if name is None or says != "1":
        return None
    try:
        context = cast("VideoCodecContext", CodecContext.create(name, "r"))
    except UnknownCodecError:
        _log.warning("this FFmpeg lacks the decoder %s, which the transparency of %s needs", name, stream.name)
        return None
    for field in _FROM_HEADER:
        setattr(context, field, getattr(stream.codec_context, field))
    return context
