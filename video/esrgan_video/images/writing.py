"""Writing still images."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from esrgan.errors import MediaError, UsageError
from esrgan_video.images import exif
from esrgan_video.images.colour import fitting_profile, to_srgb
from esrgan_video.images.modes import image_of
from esrgan_video.images.png_encoder import write_png
from esrgan_video.images.still import ImageMetadata, StillImage
from esrgan_video.images.tiff import write_tiff

_log = logging.getLogger(__name__)

_FULL_CHROMA_QUALITY = 90
"""From this JPEG quality on, colour is stored at full resolution (4:4:4)."""
_EXIF_PREFIX = b"Exif\0\0"
"""What stands before the block in a JPEG."""
_MAX_JPEG_EXIF = 65533 - len(_EXIF_PREFIX)
"""Bytes of EXIF that one JPEG segment holds."""


@dataclass(frozen=True)
class ImageFormat:
    """What a file format can hold."""

    name: str
    """As people call it."""
    max_side: int
    """Largest width and height in pixels."""
    alpha: bool = True
    """Whether it holds opacity."""
    deep: bool = False
    """Whether it holds 16 bits a channel."""


_PNG = ImageFormat("PNG", 2**31 - 1, deep=True)
_JPEG = ImageFormat("JPEG", 65500, alpha=False)  # libjpeg's limit, a little under the format's 65535
_TIFF = ImageFormat("TIFF", 2**32 - 1, deep=True)
_FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": ImageFormat("WebP", 16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": ImageFormat("BMP", 2**31 - 1, alpha=False),
}


def write_image(path: str | os.PathLike[str], image: StillImage, *, quality: int = 95, lossless: bool = False) -> None:
    """Write `image` in the format that the suffix of `path` names, or leave `path` as it was.

    PNG and TIFF keep 16 bits; the others get 8, correctly rounded, and a warning is logged. ICC
    profile, resolution and EXIF are kept (BMP holds the resolution only). WebP has no grey: grey pixels
    become RGB, through their ICC profile if there is one. JPEG and BMP have no alpha: one that is opaque
    everywhere is left out, any other refused.

    Args:
        path: where to; `.png`, `.jpg`, `.jpeg`, `.webp`, `.tif`, `.tiff` or `.bmp`.
        image: what to write.
        quality: of JPEG and WebP, 1 to 100.
        lossless: WebP without loss; `quality` is then the effort.

    Raises:
        UsageError: as `check_target`, or a quality out of range.
        MediaError: the file cannot be written.
    """
    path = Path(path)
    check_quality(quality)
    check_target(path, width=image.width, height=image.height, is_transparent=image.is_transparent)
    format_ = image_format(path)
    if image.bit_depth == 16 and not format_.deep:
        _log.warning("%s: %s holds 8 bits a channel, the image has 16; .png and .tif keep them", path, format_.name)
    pixels = image.pixels[:, :, :-1] if image.has_alpha and not format_.alpha else image.pixels
    image = StillImage(pixels, _updated(image))
    with _replacing(path) as file:
        if format_ is _PNG:
            write_png(file, image)
        elif format_ is _TIFF:
            write_tiff(file, image)
        else:
            _write_through_pillow(file, image, format_, quality=quality, lossless=lossless)


def check_target(
    path: Path, *, source: Path | None = None, width: int = 1, height: int = 1, is_transparent: bool = False
) -> None:
    """Refuse, before any work, a target that could not be written at its end.

    Raises:
        UsageError: unknown suffix, missing folder, a folder instead of a file, the input itself (by
            whatever name), more pixels a side than the format holds, or transparency in JPEG or BMP.
    """
    format_ = image_format(path)
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if source is not None and source.exists() and path.exists() and path.samefile(source):
        raise UsageError(f"cannot write {path}: it is the input {source}")
    if max(width, height) > format_.max_side:
        raise UsageError(
            f"cannot write {path}: {format_.name} holds at most {format_.max_side} pixels a side, "
            f"the image has {width}x{height}; use .png or .tif"
        )
    if is_transparent and not format_.alpha:
        raise UsageError(f"cannot write {path}: {format_.name} has no transparency; use .png, .webp or .tif")


def image_format(path: Path) -> ImageFormat:
    """The format that the suffix of `path` names.

    Raises:
        UsageError: it names none.
    """
    format_ = _FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise UsageError(f"cannot write {path}: unknown suffix {path.suffix!r}; known are {', '.join(_FORMATS)}")
    return format_


def check_quality(quality: int) -> None:
    """Refuse a quality of JPEG or WebP out of range.

    Raises:
        UsageError: not from 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")


def _updated(image: StillImage) -> ImageMetadata:
    """Metadata that is true of these pixels."""
    metadata = image.metadata
    block = metadata.exif
    return replace(
        metadata,
        icc_profile=fitting_profile(metadata.icc_profile, image.pixels.shape[2]),
        exif=None if block is None else exif.for_image(block, image.width, image.height),
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when all went well, and vanishes when not."""
    real = Path(os.path.realpath(path))  # through a link, not over it
    temporary = real.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("x+b") as file:
            yield file
        temporary.replace(real)
    except (OSError, struct.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise MediaError(f"cannot write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_through_pillow(
    file: BinaryIO, image: StillImage, format_: ImageFormat, *, quality: int, lossless: bool
) -> None:
    """JPEG, WebP and BMP."""
    picture = image_of(image.pixels)
    profile = image.metadata.icc_profile
    dpi = image.metadata.dpi
    options: dict[str, Any] = {}
    if dpi is not None and all(1 <= round(value) <= 65535 for value in dpi):
        options["dpi"] = dpi
    block = image.metadata.exif
    if format_.name == "JPEG":
        options |= {"quality": quality, "subsampling": 0 if quality >= _FULL_CHROMA_QUALITY else 2}
        if block is not None and len(block) > _MAX_JPEG_EXIF:
            _log.warning("EXIF of %d bytes is more than a JPEG holds: left out", len(block))
            block = None
        block = None if block is None else _EXIF_PREFIX + block
    elif format_.name == "WebP":
        picture, profile = _as_rgb(picture, profile)
        options |= {"quality": quality, "lossless": lossless, "exact": True}
        block = block or _exif_of_resolution(dpi)
    elif profile or block:
        _log.warning("BMP holds neither ICC profile nor EXIF: left out")
    if format_.name != "BMP":
        options |= {key: value for key, value in (("icc_profile", profile), ("exif", block)) if value}
    picture.save(file, format_.name, **options)


def _as_rgb(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """RGB for grey, in sRGB when a profile was there, so that it needs none."""
    if picture.mode not in ("L", "LA"):
        return picture, profile
    colours = to_srgb(picture.getchannel(0), profile)
    if picture.mode == "LA":
        colours.putalpha(picture.getchannel(1))
    return colours, None


def _exif_of_resolution(dpi: tuple[float, float] | None) -> bytes | None:
    """A block that says the resolution, for a format that has no other place for it."""
    if dpi is None:
        return None
    block = Image.Exif()
    block[282], block[283], block[296] = *dpi, 2
    return exif.without_prefix(block.tobytes())
