"""Reading PNG: metadata from its chunks, pixels of 8 bits through Pillow, which cuts RGB to that, of 16 through OpenCV.

Source: Portable Network Graphics, third edition (W3C 2025); sections are named where they are used.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from esrgan.errors import MediaError
from esrgan_video.images import exif
from esrgan_video.images.modes import array_of
from esrgan_video.images.png_chunks import SIGNATURE, Chunk, pack, split
from esrgan_video.images.still import MAX_PIXELS, ImageMetadata, Pixels, StillImage, check_size

_log = logging.getLogger(__name__)

_COLOUR_CHUNKS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"})
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_INCHES_PER_METRE = 1 / 0.0254
_MAX_INFLATED = 1 << 26
"""Largest ICC profile or text, in bytes, that is unpacked."""


@dataclass(frozen=True)
class _Header:
    """The chunk IHDR (section 11.2.1)."""

    width: int
    height: int
    depth: int
    """Bits of a sample: 1, 2, 4, 8 or 16."""
    colour: int
    """0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""


def read_png(data: bytes, max_pixels: int = MAX_PIXELS) -> StillImage:
    """The image as stored: its orientation is still to be applied.

    Raises:
        MediaError: damaged, animated, or over `max_pixels`.
    """
    chunks = list(split(data))
    header = _header(chunks)
    check_size(header.width, header.height, max_pixels)
    for kind, content in chunks:
        if kind == b"acTL" and content[:4] not in (b"\0\0\0\0", b"\0\0\0\1"):
            raise MediaError("an animated PNG: only images of one frame are upscaled")
    essential = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | ({b"tRNS"} if header.colour == 3 else set())
    # The rest is kept from the decoders: they warn, limit sizes, or apply what is applied here.
    bare = SIGNATURE + b"".join(pack(*chunk) for chunk in chunks if chunk[0] in essential)
    pixels = _decode_16(bare, header.colour) if header.depth == 16 else _decode_8(bare)
    key = _first(chunks, b"tRNS")
    if key is not None and header.colour in (0, 2):
        pixels = _with_keyed_alpha(pixels, key, header)
    return StillImage(pixels, _metadata(chunks))


def _header(chunks: list[Chunk]) -> _Header:
    kind, content = chunks[0]
    if kind != b"IHDR" or len(content) != 13:
        raise MediaError("the PNG does not begin with a header")
    width, height, depth, colour = struct.unpack(">IIBB3x", content)
    return _Header(width, height, depth, colour)


def _decode_8(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return array_of(image)


def _decode_16(data: bytes, colour: int) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise MediaError("the PNG is damaged: its pixels cannot be decoded")
    planes = np.atleast_3d(decoded)
    order = {0: [0], 2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}[colour]  # from OpenCV's BGRA
    return np.ascontiguousarray(planes[:, :, order].astype(np.uint16, copy=False))


def _with_keyed_alpha(pixels: Pixels, key: bytes, header: _Header) -> Pixels:
    """Add the alpha of an image of which one colour is transparent (section 11.3.1.1)."""
    samples = np.frombuffer(key, ">u2")[: pixels.shape[2]].astype(np.int64)
    if header.depth < 8:
        samples = samples * 255 // (2**header.depth - 1)  # as the decoder widened the pixels
    transparent = (pixels == samples).all(axis=2, keepdims=True)
    opaque = np.iinfo(pixels.dtype).max
    alpha = np.where(transparent, 0, opaque).astype(pixels.dtype)
    return np.concatenate((pixels, alpha), axis=2)


def _metadata(chunks: list[Chunk]) -> ImageMetadata:
    density = _first(chunks, b"pHYs")
    kept = [(kind, content) for kind, content in chunks if kind in _COLOUR_CHUNKS or _is_plain_text(kind, content)]
    return ImageMetadata(
        icc_profile=_inflated(_first(chunks, b"iCCP")),
        dpi=None if density is None else _dpi(density),
        exif=exif.without_prefix(_first(chunks, b"eXIf") or _exif_in_text(chunks)),
        png_chunks=tuple(kept),
    )


def _first(chunks: list[Chunk], wanted: bytes) -> bytes | None:
    return next((content for kind, content in chunks if kind == wanted), None)


def _inflated(content: bytes | None) -> bytes | None:
    """What stands compressed behind a name, a zero and the method, also zero (sections 11.3.2.3 and 11.3.3.3)."""
    if content is None:
        return None
    _, _, packed = content.partition(b"\0")
    try:
        inflated = zlib.decompressobj().decompress(packed[1:], _MAX_INFLATED)
    except zlib.error:
        inflated = b""
    if inflated and len(inflated) < _MAX_INFLATED:
        return inflated
    _log.warning("a PNG chunk cannot be unpacked and is left out")
    return None


def _dpi(content: bytes) -> tuple[float, float] | None:
    """Pixels per inch from pHYs (section 11.3.4.3)."""
    if len(content) != 9 or content[8] != 1:  # 1: pixels a metre; 0: an aspect ratio without a unit
        return None
    across, down = struct.unpack_from(">II", content)
    return across / _INCHES_PER_METRE, down / _INCHES_PER_METRE


def _is_plain_text(kind: bytes, content: bytes) -> bool:
    """Texts but for XMP and the blocks that older programs hide in texts: those repeat the orientation."""
    return kind in _TEXT_CHUNKS and not content.startswith((b"XML:com.adobe.xmp\0", b"Raw profile type "))


def _exif_in_text(chunks: list[Chunk]) -> bytes | None:
    """EXIF as hexadecimal text, which was the custom before eXIf: a name, a length and the digits, in lines."""
    for kind, content in chunks:
        if kind == b"zTXt" and content.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
            lines = (_inflated(content) or b"").split(b"\n")
            try:
                return bytes.fromhex(b"".join(lines[3:]).decode("ascii"))
            except ValueError:
                _log.warning("EXIF in a PNG text is damaged and left out")
    return None
