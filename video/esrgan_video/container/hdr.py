"""Static HDR metadata: read from decoded frames, handed to encoders in their own words."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

_CHROMATICITY_UNIT = 50_000
"""SMPTE ST 2086 counts chromaticities in steps of 0.00002 ..."""
_LUMINANCE_UNIT = 10_000
"""... and luminances in steps of 0.0001 cd/m²."""

_PARAMETERS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
"""For each encoder: its option for parameters of its own, and their names for the display and the light levels."""


@dataclass(frozen=True, kw_only=True)
class MasteringDisplay:
    """Colour volume of the display that the video was graded on (SMPTE ST 2086)."""

    red: tuple[Fraction, Fraction]
    """CIE 1931 x and y of the red primary."""
    green: tuple[Fraction, Fraction]
    """Of the green primary."""
    blue: tuple[Fraction, Fraction]
    """Of the blue primary."""
    white: tuple[Fraction, Fraction]
    """Of the white point."""
    luminance: tuple[Fraction, Fraction]
    """Lowest and highest luminance, in cd/m²."""

    @classmethod
    def parse(cls, raw: bytes | None) -> Self | None:
        """From FFmpeg's AVMasteringDisplayMetadata: ten rationals and two flags; `None` if absent or incomplete."""
        if raw is None or len(raw) != struct.calcsize("=20i2i"):
            return None
        *numbers, has_primaries, has_luminance = struct.unpack("=20i2i", raw)
        if not (has_primaries and has_luminance) or 0 in numbers[1::2]:
            return None
        values = [Fraction(top, bottom) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)]
        pairs = list(zip(values[::2], values[1::2], strict=True))
        return cls(red=pairs[0], green=pairs[1], blue=pairs[2], white=pairs[3], luminance=pairs[4])

    def for_x26x(self) -> str:
        """As x264 and x265 take it: integers in the units of ST 2086."""
        points = (("G", self.green), ("B", self.blue), ("R", self.red), ("WP", self.white))
        text = "".join(f"{name}({_steps(x)},{_steps(y)})" for name, (x, y) in points)
        low, high = (round(value * _LUMINANCE_UNIT) for value in self.luminance)
        return f"{text}L({high},{low})"

    def for_svtav1(self) -> str:
        """As SVT-AV1 takes it: decimal numbers."""
        points = (("G", self.green), ("B", self.blue), ("R", self.red), ("WP", self.white))
        text = "".join(f"{name}({float(x):.5f},{float(y):.5f})" for name, (x, y) in points)
        low, high = self.luminance
        return f"{text}L({float(high):.4f},{float(low):.4f})"


@dataclass(frozen=True, kw_only=True)
class LightLevel:
    """Light levels of the content (CTA-861.3), in cd/m²."""

    maximum: int
    """MaxCLL: the brightest pixel."""
    frame_average: int
    """MaxFALL: the brightest frame on average."""

    @classmethod
    def parse(cls, raw: bytes | None) -> Self | None:
        """From FFmpeg's AVContentLightMetadata: two unsigned integers; `None` if absent."""
        if raw is None or len(raw) != struct.calcsize("=2I"):
            return None
        maximum, frame_average = struct.unpack("=2I", raw)
        return cls(maximum=maximum, frame_average=frame_average)


def encoder_parameters(encoder: str, display: MasteringDisplay | None, light: LightLevel | None) -> dict[str, str]:
    """The option that makes `encoder` write this metadata; empty where there is none, or no way."""
    names = _PARAMETERS.get(encoder)
    if names is None:
        return {}
    option, display_name, light_name = names
    parts = []
    if display is not None:
        text = display.for_svtav1() if encoder == "libsvtav1" else display.for_x26x()
        parts.append(f"{display_name}={text}")
    if light is not None:
        parts.append(f"{light_name}={light.maximum},{light.frame_average}")
    return {option: ":".join(parts)} if parts else {}


def _steps(chromaticity: Fraction) -> int:
    return round(chromaticity * _CHROMATICITY_UNIT)
