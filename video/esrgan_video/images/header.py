"""Size, channels and depth of an image file, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tifffile
from PIL import Image

from esrgan.errors import MediaError
from esrgan_video.images.pillow import quiet_pillow
from esrgan_video.images.png_chunks import SIGNATURE

_TIFF_GREY = (0, 1)  # PhotometricInterpretation: white is zero, black is zero
_TIFF_SAMPLES = {0: 1, 1: 1, 3: 1, 5: 4}
"""Samples of a pixel without alpha: grey, a palette's index, CMYK; else three."""
_PNG_DEPTH = len(SIGNATURE) + 16


@dataclass(frozen=True)
class ImageHeader:
    """What `read_image` will give, but for the orientation."""

    width: int
    """Columns as stored."""
    height: int
    """Rows as stored."""
    channels: int
    """See `Pixels`."""
    depth: int
    """8 or 16."""


def read_header(path: Path) -> ImageHeader:
    """The header of a PNG, JPEG, WebP, TIFF or BMP file.

    Raises:
        MediaError: no such image.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(_PNG_DEPTH + 1)
        if begin.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _tiff_header(path)
        with quiet_pillow(path), Image.open(path) as image:
            is_deep = begin.startswith(SIGNATURE) and begin[_PNG_DEPTH] == 16
            colours = 1 if image.mode in ("1", "L", "LA", "I", "I;16", "I;16B") else 3
            alpha = image.has_transparency_data
            return ImageHeader(image.width, image.height, colours + alpha, 16 if is_deep else 8)
    except Exception as error:  # on damaged files decoders raise anything
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"cannot read {path}: {reason}") from error


def _tiff_header(path: Path) -> ImageHeader:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        colours = 1 if page.photometric in _TIFF_GREY else 3
        alpha = page.samplesperpixel > _TIFF_SAMPLES.get(int(page.photometric), 3)
        return ImageHeader(page.imagewidth, page.imagelength, colours + alpha, 16 if page.bitspersample == 16 else 8)
