"""`VideoEncoder`: frames in, packets out, each with the exact time of its frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from esrgan.errors import MediaError, UsageError
from esrgan.processor import has_avx512
from esrgan_video.container.captions import carries_captions, with_captions
from esrgan_video.container.encoder import X264, EncoderPlan
from esrgan_video.container.formats import reason
from esrgan_video.container.frame import Frame, tag, to_av
from esrgan_video.container.geometry import scaled_sample_aspect_ratio
from esrgan_video.container.info import VideoInfo
from esrgan_video.container.scheduling import ordinary_priority

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext


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
    threads: int = 0
    """Threads of the encoder, see `usual_threads`; 0 leaves it to the encoder."""

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
        context.thread_count = self.threads
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
            with ordinary_priority():
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


def usual_threads(encoder: str, height: int) -> int:
    """As many threads as `encoder` itself would take on this machine, for encoders whose output depends on it.

    Args:
        encoder: FFmpeg's name of it.
        height: rows of a frame.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if encoder in X264:
        return max(1, min(cores * 3 // 2, height // 32, 128))
    if encoder == "libx265":  # frames at once; how many threads share them changes nothing
        return 1 + sum(cores >= step for step in (4, 8, 16, 32))
    if encoder == "libsvtav1" or encoder.endswith(("_nvenc", "_qsv", "_vaapi", "_videotoolbox")):
        return 0
    return min(cores, 16)


def repeatable(encoder: str, options: Mapping[str, str]) -> dict[str, str]:
    """`options`, to which is added what lets `encoder` give the same stream for the same frames each time.

    With AVX-512, x264's macroblock tree decides otherwise each time at some sizes, 64x48 and 320x240 among them. AVX2
    takes it no longer. An `asm` of the user's stays.

    Args:
        encoder: FFmpeg's name of it.
        options: of the encoder.
    """
    given = options.get("x264-params", "")
    if encoder not in X264 or not has_avx512() or "asm=" in given:
        return dict(options)
    return {**options, "x264-params": ":".join(filter(None, [given, "asm=avx2,fma3,bmi2,lzcnt"]))}


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
        self._context.options = repeatable(video.plan.encoder, video.plan.options)
        video.configure(self._context)
        video.open(self._context)
        self._durations: dict[int, int] = {}
        self._captions: dict[int, bytes] = {}
        self._carries_captions = carries_captions(video.plan.encoder)
        self._frames = self._packets = 0

    @property
    def extradata(self) -> bytes:
        """The codec's headers, as they are before the first frame."""
        return self._context.extradata or b""

    def packets(self, frames: Iterable[Frame]) -> Iterator[Packet[Any]]:
        """Encode all frames; the packets come in order of decoding, with time and duration.

        Their decoding times are the encoder's own and not to be relied on: x265 gives any number where a video is
        shorter than its lookahead.

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
        if self._packets != self._frames:
            raise MediaError(f"{self._video.plan.encoder} made {self._packets} packets of {self._frames} frames")

    def _encode(self, frame: Frame | None) -> list[Packet[Any]]:
        """Hand over a frame, or empty the encoder; returns the packets that are ready."""
        return self._context.encode(None if frame is None else to_av(frame, self._video.plan.pix_fmt))

    def _note(self, frame: Frame) -> None:
        self._durations[frame.pts] = frame.duration or self._usual_duration
        if frame.captions and self._carries_captions:
            self._captions[frame.pts] = frame.captions
        self._frames += 1

    def _timed(self, packet: Packet[Any]) -> Packet[Any]:
        packet.time_base = self._video.time_base
        packet.duration = self._durations.pop(packet.pts, 0) if packet.pts is not None else 0
        self._packets += 1
        captions = self._captions.pop(packet.pts, b"") if packet.pts is not None else b""
        return with_captions(packet, captions, self._video.plan.encoder) if captions else packet
