"""PNG: chunks read and written here, pixels of 8 bits decoded by Pillow and of 16 by OpenCV.

Source: Portable Network Graphics, third edition (W3C 2025); sections are named where they are used.
Neither library does all of it: Pillow cuts RGB to 8 bits, OpenCV writes no grey with alpha and no metadata.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esrgan.errors import MediaError
from esrgan_video.images import exif
from esrgan_video.images.modes import array_of
from esrgan_video.images.still import MAX_PIXELS, ImageMetadata, Pixels, StillImage

_log = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_Chunk = tuple[bytes, bytes]
_COLOUR_CHUNKS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"})
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_INCHES_PER_METRE = 1 / 0.0254
_MAX_INFLATED = 1 << 26
"""Largest ICC profile or text, in bytes, that is unpacked."""
_STRIPE_BYTES = 1 << 20
"""Bytes that are filtered and compressed at a time."""


@dataclass(frozen=True)
class _Header:
    """The chunk IHDR (section 11.2.1)."""

    width: int
    height: int
    depth: int
    """Bits of a sample: 1, 2, 4, 8 or 16."""
    colour: int
    """0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""


def read_png(data: bytes) -> StillImage:
    """The image as stored: its orientation is still to be applied.

    Raises:
        MediaError: damaged, animated, or over `MAX_PIXELS`.
    """
    chunks = list(_chunks(data))
    header = _header(chunks)
    for kind, content in chunks:
        if kind == b"acTL" and content[:4] not in (b"\0\0\0\0", b"\0\0\0\1"):
            raise MediaError("an animated PNG: only images of one frame are upscaled")
    decode = _decode_16 if header.depth == 16 else _decode_8
    essential = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | ({b"tRNS"} if header.colour == 3 else set())
    # The rest is kept from the decoders: they warn, limit sizes, or apply what is applied here.
    pixels = decode(SIGNATURE + b"".join(_packed(*chunk) for chunk in chunks if chunk[0] in essential), header)
    key = _first(chunks, b"tRNS")
    if key is not None and header.colour in (0, 2):
        pixels = _with_keyed_alpha(pixels, key, header)
    return StillImage(pixels, _metadata(chunks))


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Type and data of each chunk up to IEND (section 5.3)."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        content = data[position + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(kind)) == int.from_bytes(data[end - 4 : end]):
            yield kind, content
        elif kind[:1].islower():
            _log.warning("a damaged PNG chunk %r is left out", kind.decode("latin-1"))
        else:
            raise MediaError(f"the PNG is damaged: wrong checksum of chunk {kind.decode('latin-1')!r}")
        if kind == b"IEND":
            return
        position = end
    raise MediaError("the PNG is cut short: its end is missing")


def _header(chunks: list[_Chunk]) -> _Header:
    kind, content = chunks[0]
    if kind != b"IHDR" or len(content) != 13:
        raise MediaError("the PNG does not begin with a header")
    width, height, depth, colour = struct.unpack(">IIBB3x", content)
    if width * height > MAX_PIXELS:
        raise MediaError(f"{width}x{height} pixels are more than the {MAX_PIXELS} that are read")
    return _Header(width, height, depth, colour)


def _decode_8(data: bytes, header: _Header) -> Pixels:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return array_of(image)


def _decode_16(data: bytes, header: _Header) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise MediaError("the PNG is damaged: its pixels cannot be decoded")
    planes = np.atleast_3d(decoded)
    order = {0: [0], 2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}[header.colour]  # from OpenCV's BGRA
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


def _metadata(chunks: list[_Chunk]) -> ImageMetadata:
    density = _first(chunks, b"pHYs")
    kept = [(kind, content) for kind, content in chunks if kind in _COLOUR_CHUNKS or _is_plain_text(kind, content)]
    return ImageMetadata(
        icc_profile=_inflated(_first(chunks, b"iCCP")),
        dpi=None if density is None else _dpi(density),
        exif=exif.without_prefix(_first(chunks, b"eXIf") or _exif_in_text(chunks)),
        png_chunks=tuple(kept),
    )


def _first(chunks: list[_Chunk], wanted: bytes) -> bytes | None:
    return next((content for kind, content in chunks if kind == wanted), None)


def _inflated(content: bytes | None) -> bytes | None:
    """What stands compressed behind a name, a zero and the method, also zero (sections 11.3.2.3 and 11.3.3.3)."""
    if content is None:
        return None
    _, _, packed = content.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_INFLATED) or None
    except zlib.error:
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


def _exif_in_text(chunks: list[_Chunk]) -> bytes | None:
    """EXIF as hexadecimal text, which was the custom before eXIf: a name, a length and the digits, in lines."""
    for kind, content in chunks:
        if kind == b"zTXt" and content.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
            lines = (_inflated(content) or b"").split(b"\n")
            try:
                return bytes.fromhex(b"".join(lines[3:]).decode("ascii"))
            except ValueError:
                _log.warning("EXIF in a PNG text is damaged and left out")
    return None


def write_png(file: BinaryIO, image: StillImage) -> None:
    """Write `image` at its depth with its ICC profile, resolution, EXIF, and what else a PNG had told."""
    height, width, channels = image.pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    file.write(SIGNATURE)
    file.write(_packed(b"IHDR", struct.pack(">IIBBBBB", width, height, image.bit_depth, colour, 0, 0, 0)))
    for kind, content in _metadata_chunks(image.metadata):
        file.write(_packed(kind, content))
    for content in _compressed(_filtered(image.pixels)):
        file.write(_packed(b"IDAT", content))
    file.write(_packed(b"IEND", b""))


def _packed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _metadata_chunks(metadata: ImageMetadata) -> Iterator[_Chunk]:
    if metadata.icc_profile is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile)
    for kind, content in metadata.png_chunks:
        if kind != b"sRGB" or metadata.icc_profile is None:  # one of the two (section 11.3.2.5)
            yield kind, content
    if metadata.dpi is not None:
        across, down = (min(round(dpi * _INCHES_PER_METRE), 2**31 - 1) for dpi in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", across, down, 1)
    if metadata.exif is not None:
        yield b"eXIf", metadata.exif


def _compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6)
    for part in parts:
        packed = packer.compress(part)
        if packed:
            yield packed
    yield packer.flush()


def _filtered(pixels: Pixels) -> Iterator[bytes]:
    """Rows as PNG stores them: a filter's number, then what the filter leaves (section 9)."""
    height, width, channels = pixels.shape
    step = channels * pixels.dtype.itemsize  # bytes of one pixel
    rows_at_once = max(1, _STRIPE_BYTES // (width * step))
    above = np.zeros((1, width * step), np.uint8)
    for start in range(0, height, rows_at_once):
        stripe = pixels[start : start + rows_at_once]
        rows = stripe.astype(stripe.dtype.newbyteorder(">")).reshape(len(stripe), -1).view(np.uint8)
        yield _filter_rows(rows, np.concatenate((above, rows[:-1])), step).tobytes()
        above = rows[-1:]


def _filter_rows(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """For each row the filter with the least sum of absolute differences, as section 12.7 advises."""
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], corner[:, step:] = rows[:, :-step], above[:, :-step]
    candidates = {1: rows - left, 2: rows - above, 4: rows - _paeth(left, above, corner)}  # modulo 256
    sums = [np.minimum(candidate, -candidate).sum(axis=1, dtype=np.int64) for candidate in candidates.values()]
    best = np.argmin(sums, axis=0)
    filtered = np.choose(best[:, None], list(candidates.values()))
    numbers = np.array(list(candidates), np.uint8)[best]
    return np.concatenate((numbers[:, None], filtered), axis=1)


def _paeth(left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The neighbour nearest to left + above - corner (section 9.4)."""
    a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
    from_left, from_above, from_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    use_left = (from_left <= from_above) & (from_left <= from_corner)
    return np.where(use_left, left, np.where(from_above <= from_corner, above, corner))
