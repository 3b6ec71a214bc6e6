"""Reading still images."""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from esrgan.errors import MediaError, UsageError
from esrgan_video.images import exif
from esrgan_video.images.colour import fitting_profile
from esrgan_video.images.modes import array_of
from esrgan_video.images.pillow import quiet_pillow
from esrgan_video.images.png import read_png
from esrgan_video.images.png_chunks import SIGNATURE
from esrgan_video.images.still import MAX_PIXELS, ImageMetadata, StillImage, check_size
from esrgan_video.images.tiff import read_tiff

_log = logging.getLogger(__name__)

_CENTIMETRES_PER_INCH = 2.54
_LONGEST_BEGIN = 12
"""Bytes that tell formats apart."""


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> StillImage:
    """Read a PNG, JPEG, WebP, TIFF, BMP or GIF file of one frame; its contents decide which it is, not its name.

    Grey stays grey, alpha stays, 16 bits stay. A palette becomes RGB or RGBA, CMYK becomes sRGB
    (through its ICC profile if it has one), fewer than 8 bits become 8. The EXIF orientation is applied.

    Args:
        path: the file.
        max_pixels: limit on width times height, held against the header before any pixel is decoded.

    Raises:
        UsageError: no such file.
        MediaError: not an image, damaged, cut short, animated, of several pages, of floating-point
            values, or over `max_pixels`.
    """
    path = Path(path)
    data = _contents(path)
    try:
        with quiet_pillow(path):
            image = _reader(data)(data, max_pixels)
        return _finished(image)
    except MediaError as error:
        raise MediaError(f"cannot read {path}: {error}") from None
    except MemoryError as error:
        raise MediaError(f"cannot read {path}: not enough memory") from error
    except Exception as error:  # on damaged files decoders raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"cannot read {path}: the image is damaged ({reason})") from error


def is_image(path: Path) -> bool:
    """Whether a file begins as one that `read_image` reads; false for what cannot be opened."""
    try:
        with path.open("rb") as file:
            _reader(file.read(_LONGEST_BEGIN))
    except (OSError, MediaError):
        return False
    return True


def _contents(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise MediaError(f"cannot read {path}: the file is empty")
    return data


def _reader(data: bytes) -> Callable[[bytes, int], StillImage]:
    if data.startswith(SIGNATURE):
        return read_png
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return read_tiff
    if data.startswith((b"\xff\xd8\xff", b"BM", b"GIF8")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return _read_through_pillow
    raise MediaError("not a PNG, JPEG, WebP, TIFF, BMP or GIF image")


def _read_through_pillow(data: bytes, max_pixels: int) -> StillImage:
    """JPEG, WebP, BMP and GIF, which have 8 bits a channel."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "BMP", "GIF")) as image:
        check_size(image.width, image.height, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO: a photograph, then previews or the other eye's view
            raise MediaError(f"an animation of {frames} frames: only images of one frame are upscaled")
        profile = image.info.get("icc_profile")
        block = exif.without_prefix(image.info.get("exif"))
        metadata = ImageMetadata(
            icc_profile=None if image.mode == "CMYK" else profile, dpi=_dpi(image, block), exif=block
        )
        return StillImage(array_of(image, profile), metadata)


def _dpi(image: Image.Image, block: bytes | None) -> tuple[float, float] | None:
    """From JFIF or BMP, else from EXIF; not from Pillow's `dpi` of a JPEG, which is 72 where there is none."""
    if image.format == "BMP":
        return image.info.get("dpi")
    unit = image.info.get("jfif_unit", 0)
    if unit in (1, 2):
        across, down = image.info["jfif_density"]
        factor = _CENTIMETRES_PER_INCH if unit == 2 else 1.0
        return across * factor, down * factor
    return None if block is None else exif.resolution(block)


def _finished(image: StillImage) -> StillImage:
    """Apply the orientation, and drop what makes no sense."""
    metadata, pixels = image.metadata, image.pixels
    dpi = metadata.dpi
    if dpi is not None and not all(math.isfinite(value) and value > 0 for value in dpi):
        dpi = None
    stored = 1 if metadata.exif is None else exif.orientation(metadata.exif)
    if stored != 1:
        assert metadata.exif is not None
        pixels = exif.upright(pixels, stored)
        dpi = dpi[::-1] if dpi is not None and stored > 4 else dpi
        metadata = replace(metadata, exif=exif.with_upright_orientation(metadata.exif))
    profile = fitting_profile(metadata.icc_profile, pixels.shape[2])
    return StillImage(pixels, replace(metadata, icc_profile=profile, dpi=dpi))
