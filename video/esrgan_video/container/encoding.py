"""`VideoEncoder`: frames in, packets out, each with the exact time of its frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from esrgan.errors import MediaError, UsageError
from esrgan_video.container.encoder import EncoderPlan
from esrgan_video.container.formats import reason
from esrgan_video.container.frame import Frame, tag, to_av
from esrgan_video.container.geometry import scaled_sample_aspect_ratio
from esrgan_video.container.info import VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext

_LONGEST_DELAY = 32
"""Frames by which an encoder's decoding times may precede the first frame, generously."""


@dataclass(frozen=True, kw_only=True)
class OutputVideo:
    """All that an encoder and a muxer need to know of the frames to come."""

    plan: EncoderPlan
    """How they are encoded."""
    width: int
    """Columns of each."""
    height: int
    """Rows of each."""
    time_base: Fraction
    """Unit of their times, in seconds."""
    rate: Fraction
    """Frames per second on average; a hint."""
    sample_aspect_ratio: Fraction | None
    """Width of a pixel over its height; `None` leaves it unsaid."""

    @classmethod
    def of(cls, info: VideoInfo, plan: EncoderPlan, width: int, height: int) -> OutputVideo:
        """The video of `info` at another size, with the same times and the same shape of the picture."""
        return cls(
            plan=plan,
            width=width,
            height=height,
            time_base=info.time_base,
            rate=info.rate.limit_denominator(1 << 30),
            sample_aspect_ratio=scaled_sample_aspect_ratio(
                info.sample_aspect_ratio, (info.width, info.height), (width, height)
            ),
        )

    @property
    def usual_duration(self) -> int:
        """Ticks that a frame is shown where its own duration is unknown."""
        return max(1, round(1 / (self.rate * self.time_base)))

    def configure(self, context: Any) -> None:
        """Set up an encoder's codec context, not yet open."""
        context.width, context.height = self.width, self.height
        context.pix_fmt = self.plan.pix_fmt
        context.time_base = self.time_base
        context.thread_type = "AUTO"  # PyAV's own choice makes x264 cut each frame into slices
        context.field_order = self.plan.field_order
        tag(context, self.plan.colour)
        if self.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = self.sample_aspect_ratio

    def open(self, context: Any) -> None:
        """Open a configured context.

        Raises:
            UsageError: the encoder refuses the size or an option.
        """
        import av

        if self.plan.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # its log goes to the terminal; there is no other switch
        try:
            context.open()
        except av.error.FFmpegError as error:
            raise UsageError(self._refusal(error)) from error
        if context.options:
            raise UsageError(f"{self.plan.encoder} does not know the option(s) {', '.join(context.options)}")

    def _refusal(self, error: Exception) -> str:
        width, height, layout = self.width, self.height, self.plan.layout
        said = f"{self.plan.encoder} does not take {width}x{height} in {self.plan.pix_fmt}"
        if width % layout.chroma_x or height % layout.chroma_y:
            even = (width + width % 2, height + height % 2)
            return (
                f"{said}: sides must be even; use --width {even[0]} --height {even[1]}, or --pix-fmt yuv444p, "
                "which takes any size"
            )
        options = " ".join(f"{key}={value}" for key, value in self.plan.options.items())
        return f"{said} with the options {options}: {reason(error)}"


class VideoEncoder:
    """An encoder that is opened afresh, for one run of frames.

    Raises:
        UsageError: the encoder refuses the size or an option.
    """

    def __init__(self, video: OutputVideo) -> None:
        import av
        from av.codec.context import Flags

        self._video = video
        self._usual_duration = video.usual_duration
        self._context = cast("VideoCodecContext", av.CodecContext.create(video.plan.encoder, "w"))
        self._context.framerate = video.rate
        self._context.flags |= Flags.global_header  # every container that is written wants headers apart
        self._context.options = dict(video.plan.options)
        video.configure(self._context)
        video.open(self._context)
        self._durations: dict[int, int] = {}
        self._sent = (0, 0, 0)  # first and last time, number of frames
        self._packets = 0

    @property
    def extradata(self) -> bytes:
        """The codec's headers, as they are before the first frame."""
        return self._context.extradata or b""

    def packets(self, frames: Iterable[Frame]) -> Iterator[Packet[Any]]:
        """Encode all frames; the packets come in order of decoding, with time, duration and decoding time.

        Raises:
            MediaError: the encoder fails, or did not give one packet per frame.
        """
        import av

        try:
            for frame in frames:
                self._note(frame)
                yield from map(self._timed, self._encode(frame))
            yield from map(self._timed, self._encode(None))
        except av.error.FFmpegError as error:
            raise MediaError(f"{self._video.plan.encoder} failed: {reason(error)}") from error
        count = self._sent[2]
        if self._packets != count:
            raise MediaError(f"{self._video.plan.encoder} made {self._packets} packets of {count} frames")

    def _encode(self, frame: Frame | None) -> list[Packet[Any]]:
        """Hand over a frame, or empty the encoder; returns the packets that are ready."""
        return self._context.encode(None if frame is None else to_av(frame, self._video.plan.pix_fmt))

    def _note(self, frame: Frame) -> None:
        self._durations[frame.pts] = frame.duration or self._usual_duration
        first, _, count = self._sent
        self._sent = (first if count else frame.pts, frame.pts, count + 1)

    def _timed(self, packet: Packet[Any]) -> Packet[Any]:
        packet.time_base = self._video.time_base
        if packet.pts is not None:
            packet.duration = self._durations.pop(packet.pts, 0)
            self._repair_decoding_time(packet, packet.pts)
        self._packets += 1
        return packet

    def _repair_decoding_time(self, packet: Packet[Any], pts: int) -> None:
        """Replace a decoding time that cannot be: x265 gives any number where a video is shorter than its lookahead."""
        first, last, count = self._sent
        earliest = first - (last - first) - _LONGEST_DELAY * self._usual_duration
        if packet.dts is not None and not earliest <= packet.dts <= pts:
            packet.dts = first - (count - self._packets)  # increasing, and before every frame
