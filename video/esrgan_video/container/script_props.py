"""Frame properties of VapourSynth in the terms of `Frame` and `VideoInfo`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from esrgan_video.colour import Colour, PixelLayout, resolve_colour
from esrgan_video.colour.description import UNSPECIFIED
from esrgan_video.container.hdr import LightLevel, MasteringDisplay

if TYPE_CHECKING:
    import vapoursynth as vs

_COMMON_TICKS = 720_000
"""Ticks per second that hold the frame durations of film, PAL, NTSC, milliseconds and common MP4 files exactly."""
_MOST_TICKS = (1 << 31) - 1


def colour(frame: vs.VideoFrame, layout: PixelLayout) -> Colour:
    """From the frame's properties, in VapourSynth's reading: what is not said is full range for RGB, else limited."""
    props = frame.props
    full_range = bool(props.get("_Range", layout.model == "rgb"))
    location = props.get("_ChromaLocation")
    return resolve_colour(
        pix_fmt=layout.pix_fmt,
        width=frame.width,
        height=frame.height,
        matrix=int(props.get("_Matrix", UNSPECIFIED)),
        color_range=2 if full_range else 1,
        primaries=int(props.get("_Primaries", UNSPECIFIED)),
        transfer=int(props.get("_Transfer", UNSPECIFIED)),
        chroma_location=0 if location is None else int(location) + 1,  # FFmpeg has "unspecified" at 0
    )


def time_base(duration: Fraction) -> Fraction:
    """A tick for a clip whose first frame lasts `duration` seconds: this and all common durations are whole ticks."""
    ticks = math.lcm(duration.denominator, _COMMON_TICKS)
    if ticks > _MOST_TICKS:
        ticks = duration.denominator if duration.denominator <= _MOST_TICKS else _COMMON_TICKS
    return Fraction(1, ticks)


def positive_ratio(top: Any, bottom: Any) -> Fraction | None:
    """`top / bottom`; `None` where one is missing or not positive."""
    return Fraction(int(top), int(bottom)) if top and bottom and top > 0 and bottom > 0 else None


def mastering_display(props: Mapping[str, Any]) -> MasteringDisplay | None:
    """From the properties that source filters set; `None` unless all are there."""
    names = ("PrimariesX", "PrimariesY", "WhitePointX", "WhitePointY", "MinLuminance", "MaxLuminance")
    values: list[Any] = [props.get(f"MasteringDisplay{name}") for name in names]
    if any(value is None for value in values):
        return None
    xs, ys, white_x, white_y, low, high = values
    red, green, blue = ((_exact(x), _exact(y)) for x, y in zip(xs, ys, strict=True))
    return MasteringDisplay(
        red=red,
        green=green,
        blue=blue,
        white=(_exact(white_x), _exact(white_y)),
        luminance=(_exact(low), _exact(high)),
    )


def light_level(props: Mapping[str, Any]) -> LightLevel | None:
    """From the properties that source filters set; `None` unless both are there."""
    maximum, average = props.get("ContentLightLevelMax"), props.get("ContentLightLevelAverage")
    if maximum is None or average is None:
        return None
    return LightLevel(maximum=int(maximum), frame_average=int(average))


def _exact(value: Any) -> Fraction:
    # ST 2086 counts in steps of 0.00002 and 0.0001; the float stands for such a number.
    return Fraction(float(value)).limit_denominator(50_000)
