"""The values that reading, upscaling and writing pass on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esrgan.errors import MediaError, UsageError

Pixels = NDArray[np.unsignedinteger[Any]]
"""`(H, W, C)`, uint8 or uint16; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; alpha is not premultiplied."""

MAX_PIXELS = 2**30
"""Largest image that is read (1 gigapixel). More is a damaged file, or one made to exhaust memory."""


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """What a file says of its pixels and their origin."""

    icc_profile: bytes | None = None
    """ICC profile of the pixels; `None` means sRGB, as everywhere."""
    dpi: tuple[float, float] | None = None
    """Resolution of print, pixels per inch across and down."""
    exif: bytes | None = None
    """EXIF block: a TIFF header (`II` or `MM`) and what follows. Its orientation is always 1, upright."""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Type and data of a PNG's colour chunks (gamma, primaries, coding) and texts, for another PNG."""


@dataclass(frozen=True)
class StillImage:
    """One picture, upright, at the depth that its file had.

    Raises:
        UsageError: pixels of another shape or dtype.
    """

    pixels: Pixels
    """See `Pixels`."""
    metadata: ImageMetadata = field(default_factory=ImageMetadata)
    """What else the file held."""

    def __post_init__(self) -> None:
        check_pixels(self.pixels)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def is_transparent(self) -> bool:
        """Whether any pixel is less than opaque."""
        return self.has_alpha and int(self.pixels[:, :, -1].min()) < np.iinfo(self.pixels.dtype).max

    @property
    def bit_depth(self) -> int:
        """Bits of one channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8


def check_pixels(pixels: Pixels) -> None:
    """Refuse what is not `Pixels`.

    Raises:
        UsageError: another shape or dtype.
    """
    shape = pixels.shape
    if len(shape) != 3 or 0 in shape or shape[2] > 4 or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"an image is (H, W, 1 to 4) in uint8 or uint16, got {shape} {pixels.dtype}")


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image by what its header says, before any pixel is decoded.

    Raises:
        MediaError: more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise MediaError(f"{width}x{height} pixels are more than the {max_pixels} that are read")


def to_8_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """The same image with 8 bits a channel, rounded to the nearest."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
