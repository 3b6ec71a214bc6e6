"""Frames of an animated GIF as browsers show them.

Each frame is decoded by itself, through Pillow, and laid on the canvas here: decoders differ in what they put where a
frame is disposed of, and browsers leave such places transparent (GIF89a specification, section 23, disposal 2 and 3).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from esrgan_video.animation.structure import GIF_IMAGE, gif_blocks
from esrgan_video.images import Pixels

_GRAPHIC_CONTROL = 0xF9
_TO_BACKGROUND, _TO_PREVIOUS = 2, 3
_TRAILER = b";"


@dataclass(frozen=True)
class _Control:
    """What the graphic control extension before an image says."""

    disposal: int = 0
    delay: Fraction = Fraction(0)
    """Seconds."""
    block: bytes = b""
    """The extension, which names the transparent colour."""


def gif_frames(path: Path) -> Iterator[tuple[Pixels, Fraction]]:
    """Each frame as shown, `(H, W, 4)` uint8, with its delay in seconds.

    Raises:
        OSError: the file is damaged.
    """
    data = path.read_bytes()
    blocks = list(gif_blocks(io.BytesIO(data)))
    width, height = struct.unpack_from("<HH", data, 6)
    head = data[: blocks[0][1] - 1] if blocks else b""  # up to the table of colours
    canvas = np.zeros((height, width, 4), np.uint8)
    control = _Control()
    ends = [place - 1 for _, place in blocks[1:]] + [len(data)]
    for (kind, place), end in zip(blocks, ends, strict=True):
        if kind != GIF_IMAGE:
            control = _control(data, place) or control
            continue
        left, top, across, down = struct.unpack_from("<4H", data, place)
        patch = _patch(head, control.block, data[place + 4 : end], (across, down))
        part = (slice(top, top + down), slice(left, left + across))
        before = canvas.copy()
        region = canvas[part]
        patch = patch[: region.shape[0], : region.shape[1]]  # what lies outside of the canvas is not shown
        region[...] = np.where(patch[..., 3:] > 0, patch, region)
        yield canvas.copy(), control.delay
        if control.disposal == _TO_BACKGROUND:
            canvas[part] = 0
        elif control.disposal == _TO_PREVIOUS:
            canvas = before
        control = _Control()


def _control(data: bytes, place: int) -> _Control | None:
    if data[place] != _GRAPHIC_CONTROL:
        return None
    flags, hundredths = struct.unpack_from("<BH", data, place + 2)
    return _Control((flags >> 2) & 7, Fraction(hundredths, 100), b"!" + data[place : place + 7])


def _patch(head: bytes, control: bytes, image: bytes, size: tuple[int, int]) -> Pixels:
    """The pixels of one image, from a file of its own: `(h, w, 4)`, transparent or opaque."""
    screen = head[:6] + struct.pack("<HH", *size) + head[10:]
    descriptor = GIF_IMAGE + struct.pack("<HHHH", 0, 0, *size) + image[4:]
    with Image.open(io.BytesIO(screen + control + descriptor + _TRAILER), formats=("GIF",)) as picture:
        return np.array(picture.convert("RGBA"))
