"""What is known of a video before its frames are worked on."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container.fields import Fields
from esrgan_video.container.frame import Frame
from esrgan_video.container.hdr import LightLevel, MasteringDisplay
from esrgan_video.pipes.names import PIPE

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_HIGHEST_PLAUSIBLE_RATE = 250
"""Frames per second; headers that say more (1000 is common in Matroska) mean "unknown"."""
_MEASURED_PACKETS = 120
_MATRIX_BYTES = 36


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Properties of a file's main video stream: from its header and from its first frame."""

    path: Path
    """The file."""
    stream_index: int
    """Number of the stream in the file."""
    codec: str
    """Name of the decoder."""
    width: int
    """Columns of the first frame, before any rotation."""
    height: int
    """Rows of the first frame, before any rotation."""
    layout: PixelLayout
    """Planes of the first frame."""
    colour: Colour
    """Colour of the first frame."""
    time_base: Fraction
    """Unit of the stream's times, in seconds."""
    rate: Fraction
    """Frames per second on average, from the header or from the first packets; a hint, not a clock."""
    sample_aspect_ratio: Fraction | None
    """Width of a pixel over its height; `None` if the file does not say."""
    display_matrix: tuple[int, ...] | None
    """Rotation and mirroring for display: nine numbers in FFmpeg's layout."""
    mastering_display: MasteringDisplay | None
    """Static HDR metadata of the display it was graded on (SMPTE ST 2086)."""
    light_level: LightLevel | None
    """Static HDR metadata of the content's light levels (CTA-861.3)."""
    interlaced: bool
    """Whether the file's frames are made of two fields, as its header or a frame of its first second says."""
    deinterlaced: bool
    """Whether these fields become whole pictures when the frames are read."""
    field_order: int
    """FFmpeg's AVFieldOrder of the frames as they are read: 1 progressive, 2 top and 3 bottom field first."""
    start_time: Fraction
    """The file's beginning on its own clock, in seconds."""
    frames_from_header: int | None
    """Number of frames, as stated by the header or estimated from the duration; `None` if unknown."""
    metadata: Mapping[str, str]
    """Tags of the stream."""
    captions: bool = False
    """Whether closed captions come with the frames of the first second."""
    plays: int | None = None
    """How often an animation is shown, 0 for ever; `None` for what is none."""
    first_number: int | None = None
    """Number of the first of numbered image files; `None` for what is none."""
    only_video: bool = False
    """Whether there is nothing beside the video that could be copied: no container with further streams and tags."""


def main_video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not a picture attached to the file (cover art)."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((stream for stream in container.streams.video if not stream.disposition & pictures), None)


def describe(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    rate: Fraction,
    decoded: VideoFrame,
    frame: Frame,
    fields: Fields,
    *,
    captions: bool,
) -> VideoInfo:
    """Gather what the header and the first frames say."""
    side_data = {kind.name: bytes(data) for kind, data in decoded.side_data.items()}
    sar = stream.sample_aspect_ratio
    return VideoInfo(
        path=path,
        stream_index=stream.index,
        codec=stream.codec_context.name,
        width=frame.width,
        height=frame.height,
        layout=frame.layout,
        colour=frame.colour,
        time_base=frame.time_base,
        rate=rate * fields.pictures,
        sample_aspect_ratio=_fraction(sar) if sar else None,
        display_matrix=_display_matrix(stream, side_data),
        mastering_display=MasteringDisplay.parse(side_data.get("MASTERING_DISPLAY_METADATA")),
        light_level=LightLevel.parse(side_data.get("CONTENT_LIGHT_LEVEL")),
        interlaced=fields.interlaced,
        deinterlaced=fields.deinterlaced,
        field_order=fields.order,
        start_time=Fraction(container.start_time or 0, 1_000_000),
        frames_from_header=_times(stream.frames or _estimated_frames(container, stream, rate), fields.pictures),
        metadata=dict(stream.metadata),
        captions=captions,
        only_video=path == PIPE,
    )


def _times(count: int | None, factor: int) -> int | None:
    return None if count is None else count * factor


def _fraction(rational: object) -> Fraction:
    """PyAV's rational, which is not a `Fraction`."""
    return Fraction(rational.numerator, rational.denominator)  # type: ignore[attr-defined]


def _display_matrix(stream: VideoStream, side_data: Mapping[str, bytes]) -> tuple[int, ...] | None:
    raw = stream.codec_context.coded_side_data.get("display_matrix") or side_data.get("DISPLAYMATRIX")
    return struct.unpack("<9i", raw) if raw and len(raw) == _MATRIX_BYTES else None


def describe_stream(stream: Stream) -> str:
    """Number, kind, codec and language in words."""
    context = stream.codec_context
    codec = f", {context.name}" if context is not None else ""
    language = f", {stream.language}" if stream.language not in (None, "und") else ""
    return f"#{stream.index} ({stream.type}{codec}{language})"


def rate_from_header(stream: VideoStream) -> Fraction | None:
    """Average frames per second; `None` where the header says nothing plausible."""
    if stream.average_rate and stream.average_rate <= _HIGHEST_PLAUSIBLE_RATE:
        return _fraction(stream.average_rate)
    return None


def measured_rate(path: Path, stream_index: int) -> Fraction | None:
    """Frames per second from the distances of the first packets; `None` if they have no times, or for a pipe."""
    from esrgan_video.container.formats import open_input

    if path == PIPE:
        return None
    with open_input(path) as container:
        stream = container.streams[stream_index]
        packets = islice(container.demux(stream), _MEASURED_PACKETS)
        times = sorted(_known(packet.pts for packet in packets))
        steps = [after - before for before, after in pairwise(times) if after > before]
        if not steps:
            return None
        rate = 1 / (median_low(steps) * _fraction(stream.time_base))
    return rate.limit_denominator(1001) if rate <= _HIGHEST_PLAUSIBLE_RATE else None


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _estimated_frames(container: InputContainer, stream: VideoStream, rate: Fraction) -> int | None:
    if stream.duration:
        seconds = stream.duration * _fraction(stream.time_base)
    elif container.duration:
        seconds = Fraction(container.duration, 1_000_000)
    else:
        return None
    return max(1, round(seconds * rate))
