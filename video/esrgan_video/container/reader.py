"""`VideoReader`: the frames of a video file in order, each with its exact time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from esrgan.errors import MediaError
from esrgan_video.closing import Closing
from esrgan_video.container.captions import captions_of
from esrgan_video.container.clock import Clock, with_following
from esrgan_video.container.decoder import Decoder
from esrgan_video.container.fields import Deinterlace, TimedFrames, whole_pictures
from esrgan_video.container.frame import Frame, from_av
from esrgan_video.container.info import VideoInfo, describe, describe_stream, measured_rate, rate_from_header
from esrgan_video.container.timing import Timeline, TimeRange, fill_beginning, with_times

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_log = logging.getLogger(__name__)

_FALLBACK_RATE = Fraction(25)
"""Frames per second of streams without any time."""
_REORDER = 16
"""Frames that H.264 and HEVC may hold back for reordering, at most."""
_DTS_ONLY = frozenset({"asf", "avi"})
"""Demuxers of containers that store times of decoding only."""


class VideoReader(Closing):
    """Reads the main video stream of a file: the first that is not cover art.

    Opening decodes frames of the first second, to see whether it is interlaced. A damaged packet is counted and
    decoding goes on, with what the decoder makes of it. Frames come in order of presentation, with strictly increasing
    times; see `Timeline` for files that do not have them. One thread at a time may use a reader.

    Args:
        path: a file that FFmpeg can read.
        time_range: the part to read. Where it has a start, or where the video starts before zero, all times are
            moved so that the first frame is at zero: see `shift`.
        deinterlace: what becomes of interlaced frames: one picture, one for each field, or `off`: they are left alone.
        strict: stop at the first packet or frame that is damaged, with a `MediaError`.

    Raises:
        UsageError: no such file, or a range in which there is no frame.
        MediaError: not a video, no video stream, a codec without decoder, or no frame that can be decoded.
    """

    def __init__(
        self,
        path: Path,
        time_range: TimeRange | None = None,
        *,
        deinterlace: Deinterlace = "frame",
        strict: bool = False,
    ) -> None:
        self.path = path
        self.end = Fraction(0)
        """Moment at which the last frame that was read ends, in seconds, after the shift."""
        self.time_range = time_range or TimeRange()
        """The part that is read."""
        self._captions: dict[int, bytes] = {}
        self._has_captions = False
        self._decoder = Decoder(path, strict=strict)
        try:
            self._origin = Fraction(self._decoder.container.start_time or 0, 1_000_000)
            self._time_base = self._decoder.time_base
            self._rate, self._has_durations = self._find_rate()
            self._usual_duration = max(1, round(1 / (self._rate * self._time_base)))
            self._timeline = Timeline(self._usual_duration, clock=Clock(self._time_base, self._usual_duration))
            pictures, fields = whole_pictures(
                self._placed(),
                deinterlace,
                time_base=self._time_base,
                field_order=self._decoder.stream.codec_context.field_order,
                usual_duration=self._usual_duration,
            )
            self._time_base /= fields.ticks
            self._ticks = fields.ticks
            self._usual_duration = max(1, self._usual_duration * fields.ticks // fields.pictures)
            self._selected = self.time_range.select(pictures, lambda timed: timed[1] * self._time_base - self._origin)
            decoded, pts = self._first()
            self._shift_ticks = pts if self.time_range.start else min(pts, 0)
            self.first_frame: Frame = self._frame(decoded, pts)
            self.info: VideoInfo = describe(
                path,
                self._decoder.container,
                self._decoder.stream,
                self._rate,
                decoded,
                self.first_frame,
                fields,
                captions=self._has_captions,
            )
        except BaseException:
            self._decoder.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    @property
    def shift(self) -> Fraction:
        """Seconds that are taken off all times."""
        return self._shift_ticks * self._time_base

    @property
    def damaged_packets(self) -> int:
        """Packets that could not be used, so far."""
        return self._decoder.damaged_packets

    @property
    def expected_frames(self) -> int | None:
        """How many frames there will be, as far as the header tells."""
        total, rate = self.info.frames_from_header, self.info.rate
        if total is None:
            return self.time_range.frames
        return self.time_range.expected_frames(total, length=total / rate, rate=rate)

    @property
    def other_streams(self) -> tuple[str, ...]:
        """What there is beside the video, in words."""
        main = self._decoder.stream.index
        return tuple(describe_stream(stream) for stream in self._decoder.container.streams if stream.index != main)

    def frames(self) -> Iterator[Frame]:
        """All frames, once. What was damaged is logged at the end."""
        yield self.first_frame
        for decoded, pts in self._selected:
            yield self._frame(decoded, pts)
        self._report()

    def _frame(self, decoded: VideoFrame, pts: int) -> Frame:
        frame = from_av(
            decoded, pts=pts - self._shift_ticks, time_base=self._time_base, captions=self._captions_at(pts)
        )
        self.end = (frame.pts + (frame.duration or self._usual_duration)) * self._time_base
        return frame

    def _captions_at(self, pts: int) -> bytes:
        """Captions of the frame that is shown from `pts` on: those of two fields belong to the first."""
        for time in [time for time in self._captions if time * self._ticks < pts]:  # of frames that are left out
            del self._captions[time]
        return self._captions.pop(pts // self._ticks, b"") if pts % self._ticks == 0 else b""

    def _find_rate(self) -> tuple[Fraction, bool]:
        """Frames per second, and whether the durations that the decoder derives from the header mean anything."""
        stream = self._decoder.stream
        rate = rate_from_header(stream)
        if rate is not None:
            return rate, True
        return measured_rate(self.path, stream.index) or _FALLBACK_RATE, False

    def _placed(self) -> TimedFrames:
        """Decoded frames with their times on the file's clock, in the file's ticks."""
        start = None if not self.time_range.start else self._origin + self.time_range.start
        reorder = _REORDER if self._decoder.container.format.name in _DTS_ONLY else 0
        timed = fill_beginning(with_times(self._decoder.frames(start), reorder=reorder), self._usual_duration)
        for (decoded, stamp), following in with_following(timed, itemgetter(1), self._timeline.breaks_off):
            if not self._has_durations:
                decoded.duration = 0
            placed = self._timeline.place(stamp, int(decoded.duration or 0), following)
            captions = captions_of(decoded)
            if captions:
                self._captions[placed] = captions
                self._has_captions = True
            yield decoded, placed

    def _first(self) -> tuple[VideoFrame, int]:
        first = next(self._selected, None)
        if first is not None:
            return first
        if self._timeline.placed:
            raise self.time_range.nothing_in(self.path)
        damage = self._decoder.damaged_packets
        detail = f": {damage} damaged packet(s), {self._decoder.last_error}" if damage else ""
        raise MediaError(f"{self.path}: not one frame of its video could be decoded{detail}")

    def _report(self) -> None:
        if self._decoder.damaged_packets:
            _log.warning("%s: %d damaged packet(s) could not be decoded", self.path, self._decoder.damaged_packets)
        if self._decoder.corrupt_frames:
            _log.warning("%s: %d frame(s) were decoded with errors", self.path, self._decoder.corrupt_frames)
        if self._decoder.joins:
            _log.warning("%s: time begins anew %d time(s) and was made to go on", self.path, len(self._decoder.joins))
        if self._timeline.repaired:
            _log.warning("%s: %d timestamp(s) did not increase and were corrected", self.path, self._timeline.repaired)
        if self._timeline.missing:
            _log.info("%s: %d frame(s) had no timestamp; the frame rate gave it", self.path, self._timeline.missing)
