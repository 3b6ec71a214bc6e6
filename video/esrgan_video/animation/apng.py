"""Delays of an animated PNG, which decoders round.

Source: Portable Network Graphics, third edition (W3C 2025), section 11.3.6.2.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

from esrgan_video.images.png_chunks import split

_HUNDREDTHS = 100
"""What a denominator of zero stands for."""


def apng_delays(path: Path) -> list[Fraction]:
    """Seconds that each frame is shown.

    Raises:
        MediaError: the file is damaged.
    """
    controls = (content for kind, content in split(path.read_bytes()) if kind == b"fcTL" and len(content) == 26)
    fractions = (struct.unpack_from(">HH", content, 20) for content in controls)
    return [Fraction(number, parts or _HUNDREDTHS) for number, parts in fractions]
