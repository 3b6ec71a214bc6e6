"""`VideoFacts`: what a file says of its video, from its header and its first frame."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from esrgan_video.verify.media import Media, seconds
from esrgan_video.verify.thumbnails import assumed_matrix, is_full_range

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_UNSPECIFIED = 2
_MATRIX_BYTES = 36
_MASTERING = "=20i2i"


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """Properties of the main video. Numbers are FFmpeg's, which for colour are those of ITU-T H.273."""

    codec: str
    """Name of the codec."""
    width: int
    """Columns, before any rotation."""
    height: int
    """Rows."""
    pix_fmt: str
    """Pixel format of the first frame."""
    bits: int
    """Of a sample."""
    chroma: tuple[int, int]
    """Luma samples to a chroma sample, across and down; `(1, 1)` for RGB, `(0, 0)` without colour."""
    is_rgb: bool
    """Whether there is no matrix."""
    matrix: int
    """As tagged; 2 is unspecified."""
    assumed_matrix: int
    """As tagged, or what players take."""
    range: int
    """As tagged: 0 unspecified, 1 limited, 2 full."""
    full_range: bool
    """As tagged, or by the format's custom."""
    primaries: int
    """As tagged; 2 is unspecified."""
    transfer: int
    """As tagged; 2 is unspecified."""
    location: int
    """Of chroma samples, as FFmpeg counts; 0 is unspecified."""
    sar: Fraction | None
    """Width of a pixel over its height; `None` if not said."""
    display_matrix: tuple[int, ...] | None
    """Rotation and mirroring: nine numbers; `None` if not said."""
    mastering: tuple[Fraction, ...] | None
    """Red, green, blue and white as x and y, lowest and highest luminance (SMPTE ST 2086)."""
    light: tuple[int, int] | None
    """MaxCLL and MaxFALL (CTA-861.3)."""


def video_facts(media: Media, frame: VideoFrame) -> VideoFacts:
    """Gather what a file says, `frame` being the first of its video."""
    context: Any = media.main.codec_context
    form = frame.format
    side = _side_data(context.coded_side_data, frame)
    sar = media.main.sample_aspect_ratio
    matrix, primaries, transfer = (
        _tag(getattr(frame, name), getattr(context, name), _UNSPECIFIED)
        for name in ("colorspace", "color_primaries", "color_trc")
    )
    return VideoFacts(
        codec=context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        pix_fmt=form.name,
        bits=max(component.bits for component in form.components) if not form.has_palette else 8,
        chroma=_chroma(form),
        is_rgb=form.is_rgb or form.has_palette,
        matrix=matrix,
        assumed_matrix=assumed_matrix(matrix, frame.width, frame.height, primaries, transfer),
        range=_tag(frame.color_range, context.color_range, 0),
        full_range=is_full_range(frame),
        primaries=primaries,
        transfer=transfer,
        location=_tag(frame.chroma_location, context.chroma_sample_location, 0),
        sar=seconds(sar) if sar else None,
        display_matrix=_display_matrix(side.get("display_matrix")),
        mastering=_mastering(side.get("mastering_display_metadata")),
        light=_light(side.get("content_light_level")),
    )


_FRAME_NAMES = {
    "DISPLAYMATRIX": "display_matrix",
    "MASTERING_DISPLAY_METADATA": "mastering_display_metadata",
    "CONTENT_LIGHT_LEVEL": "content_light_level",
}


def _side_data(coded: Mapping[str, bytes], frame: VideoFrame) -> dict[str, bytes]:
    """Side data by one set of names: of the container, replaced by that of the frame, which players follow."""
    found = {name: bytes(data) for name, data in coded.items()}
    for kind, data in frame.side_data.items():
        if kind.name in _FRAME_NAMES:
            found[_FRAME_NAMES[kind.name]] = bytes(data)
    return found


def _tag(of_frame: Any, of_stream: Any, unspecified: int) -> int:
    return int(of_frame) if int(of_frame) != unspecified else int(of_stream)


def _chroma(form: Any) -> tuple[int, int]:
    if form.is_rgb or form.has_palette:
        return 1, 1
    if len(form.components) < 3:
        return 0, 0
    return 1024 // form.chroma_width(1024), 1024 // form.chroma_height(1024)


def _display_matrix(raw: bytes | None) -> tuple[int, ...] | None:
    return struct.unpack("<9i", raw) if raw and len(raw) == _MATRIX_BYTES else None


def _mastering(raw: bytes | None) -> tuple[Fraction, ...] | None:
    if raw is None or len(raw) != struct.calcsize(_MASTERING):
        return None
    *numbers, has_primaries, has_luminance = struct.unpack(_MASTERING, raw)
    if not (has_primaries and has_luminance) or 0 in numbers[1::2]:
        return None
    return tuple(Fraction(top, bottom) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True))


def _light(raw: bytes | None) -> tuple[int, int] | None:
    if not raw:
        return None
    brightest, average = struct.unpack("=2I", raw)
    return brightest, average
