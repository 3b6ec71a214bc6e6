"""How long the last frame of an animation is shown: FFmpeg's muxers guess it from the frames before."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

from esrgan_video.animation.structure import GIF_EXTENSION, gif_blocks, png_chunks, webp_chunks

_GRAPHIC_CONTROL = b"\xf9"
_APNG_DELAY = 20
"""Place of numerator and denominator in the chunk fcTL, whose content has 26 bytes."""
_WEBP_DURATION = 12
"""Place of the 24 bits of the duration in a chunk ANMF."""
_LARGEST = 0xFFFF


def set_last_gif_delay(path: Path, hundredths: int) -> None:
    """Set the delay of the last frame."""
    with path.open("r+b") as file:
        last = None
        for kind, place in gif_blocks(file):
            file.seek(place)
            if kind == GIF_EXTENSION and file.read(1) == _GRAPHIC_CONTROL:
                last = place
        if last is not None:
            file.seek(last + 3)  # after the label, the size and the flags
            file.write(struct.pack("<H", min(hundredths, _LARGEST)))


def set_last_apng_delay(path: Path, seconds: Fraction) -> None:
    """Set the delay of the last frame; exact where numerator and denominator fit 16 bits."""
    delay = seconds.limit_denominator(_LARGEST)
    number, parts = (delay.numerator, delay.denominator) if delay.numerator <= _LARGEST else (_LARGEST, 1)
    with path.open("r+b") as file:
        places = [place for kind, place in png_chunks(file) if kind == b"fcTL"]
        if not places:
            return
        file.seek(places[-1])
        content = bytearray(file.read(26))
        struct.pack_into(">HH", content, _APNG_DELAY, number, parts)
        file.seek(places[-1])
        file.write(content + struct.pack(">I", zlib.crc32(content, zlib.crc32(b"fcTL"))))


def set_webp_length(path: Path, milliseconds: int) -> None:
    """Set the duration of the last frame so that all together last this long.

    libwebp makes one frame of equal ones, so the last in the file may begin before the last that was written.
    """
    with path.open("r+b") as file:
        places = [place + _WEBP_DURATION for kind, place in webp_chunks(file) if kind == b"ANMF"]
        if not places:
            return
        for place in places[:-1]:
            file.seek(place)
            milliseconds -= int.from_bytes(file.read(3), "little")
        file.seek(places[-1])
        file.write(min(milliseconds, 0xFFFFFF).to_bytes(3, "little"))
