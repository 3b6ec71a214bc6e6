"""Writing PNG at 8 and 16 bits, grey to RGBA, with metadata: Pillow has no 16-bit RGB, OpenCV no grey with alpha.

Source: Portable Network Graphics, third edition (W3C 2025); sections are named where they are used.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from esrgan_video.images.png_chunks import SIGNATURE, Chunk, pack
from esrgan_video.images.still import ImageMetadata, Pixels, StillImage

_INCHES_PER_METRE = 1 / 0.0254
_STRIPE_BYTES = 1 << 20
"""Bytes that are filtered and compressed at a time."""


def write_png(file: BinaryIO, image: StillImage) -> None:
    """Write `image` at its depth with its ICC profile, resolution, EXIF, and what else a PNG had told."""
    height, width, channels = image.pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    file.write(SIGNATURE)
    file.write(pack(b"IHDR", struct.pack(">IIBBBBB", width, height, image.bit_depth, colour, 0, 0, 0)))
    file.writelines(pack(kind, content) for kind, content in _metadata_chunks(image.metadata))
    file.writelines(pack(b"IDAT", content) for content in _compressed(_filtered(image.pixels)))
    file.write(pack(b"IEND", b""))


def _metadata_chunks(metadata: ImageMetadata) -> Iterator[Chunk]:
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
    packer = zlib.compressobj(6, strategy=zlib.Z_FILTERED)
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
    candidates = {  # differences modulo 256
        1: rows - left,
        2: rows - above,
        4: rows - _paeth(left, above, corner),
    }
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
