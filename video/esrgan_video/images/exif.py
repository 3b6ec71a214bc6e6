"""EXIF blocks, edited in place: everything else in them, maker notes with their offsets included, stays as it was.

Source: Exif 2.32 (CIPA DC-008), sections 4.5 and 4.6; the structure is that of TIFF 6.0.
A damaged block has nothing to say, and is not passed on.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass

import numpy as np

from esrgan_video.images.still import Pixels

_log = logging.getLogger(__name__)

_ORIENTATION = 274
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_EXIF_DIRECTORY = 34665
_SIZES = (256, 40962), (257, 40963)
"""Tags of the image's width and height, in the first directory and in EXIF's own."""

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_PREFIX = b"Exif\0\0"
_CENTIMETRES_PER_INCH = 2.54


@dataclass(frozen=True)
class _Entry:
    """One field of a directory."""

    position: int
    """Offset of its 12 bytes in the block."""
    kind: int
    """Type of its values."""


@dataclass(frozen=True)
class _Directory:
    """The fields of one image file directory."""

    entries: dict[int, _Entry]
    """Fields by tag."""
    link: int
    """Offset of the pointer to the next directory, which holds the thumbnail."""


def without_prefix(block: bytes | None) -> bytes | None:
    """The block from its TIFF header on; `None` if it has none."""
    if block is None:
        return None
    block = block.removeprefix(_PREFIX).removeprefix(_PREFIX)
    return block if block.startswith((b"II*\0", b"MM\0*")) else None


def orientation(block: bytes) -> int:
    """How the stored pixels lie: 1 (upright) to 8; 1 when the block does not say."""
    try:
        entry = _directory(block, _first(block)).entries[_ORIENTATION]
        value = _integer(block, entry)
    except (struct.error, KeyError):
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: Pixels, stored: int) -> Pixels:
    """Turn and mirror pixels that lie as orientation `stored` says (1 to 8)."""
    if stored in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if stored in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if stored in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def with_upright_orientation(block: bytes) -> bytes:
    """The block with orientation 1."""
    edited = bytearray(block)
    try:
        _set(edited, _directory(block, _first(block)).entries[_ORIENTATION], 1)
    except (struct.error, KeyError):
        return block
    return bytes(edited)


def resolution(block: bytes) -> tuple[float, float] | None:
    """Pixels per inch, across and down; `None` when the block does not say."""
    try:
        entries = _directory(block, _first(block)).entries
        across = _rational(block, entries[_X_RESOLUTION])
        down = _rational(block, entries[_Y_RESOLUTION])
        unit = _integer(block, entries[_RESOLUTION_UNIT]) if _RESOLUTION_UNIT in entries else 2
    except (struct.error, KeyError, ZeroDivisionError):
        return None
    if unit not in (2, 3):
        return None
    factor = _CENTIMETRES_PER_INCH if unit == 3 else 1.0
    return across * factor, down * factor


def for_image(block: bytes, width: int, height: int) -> bytes | None:
    """The block for an image of another size: sizes in it are set, its thumbnail is unlinked.

    `None`, and a warning, if its directories are damaged.
    """
    edited = bytearray(block)
    try:
        first = _directory(block, _first(block))
        directories = [first.entries]
        if _EXIF_DIRECTORY in first.entries:
            offset = _integer(block, first.entries[_EXIF_DIRECTORY])
            directories.append(_directory(block, offset).entries)
    except (struct.error, KeyError):
        _log.warning("the EXIF block is damaged: left out")
        return None
    struct.pack_into(_order(block) + "I", edited, first.link, 0)
    for tags, side in zip(_SIZES, (width, height), strict=True):
        for entries, tag in zip(directories, tags, strict=False):
            if tag in entries:
                _set(edited, entries[tag], side)
    return bytes(edited)


def _order(block: bytes | bytearray) -> str:
    return "<" if block[:1] == b"I" else ">"


def _first(block: bytes) -> int:
    return int(struct.unpack_from(_order(block) + "I", block, 4)[0])


def _directory(block: bytes, offset: int) -> _Directory:
    order = _order(block)
    (count,) = struct.unpack_from(order + "H", block, offset)
    entries: dict[int, _Entry] = {}
    for position in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", block, position)
        entries[tag] = _Entry(position, kind)
    link = offset + 2 + 12 * count
    struct.unpack_from(order + "I", block, link)  # raises where the directory is cut short
    return _Directory(entries, link)


def _integer(block: bytes, entry: _Entry) -> int:
    code = {_SHORT: "H", _LONG: "I"}.get(entry.kind)
    if code is None:
        raise KeyError(entry.kind)
    return int(struct.unpack_from(_order(block) + code, block, entry.position + 8)[0])


def _rational(block: bytes, entry: _Entry) -> float:
    if entry.kind != _RATIONAL:
        raise KeyError(entry.kind)
    order = _order(block)
    (offset,) = struct.unpack_from(order + "I", block, entry.position + 8)
    numerator, denominator = struct.unpack_from(order + "II", block, offset)
    return float(numerator / denominator)


def _set(block: bytearray, entry: _Entry, value: int) -> None:
    """Make the field one integer: SHORT where it fits, which all readers expect, else LONG."""
    if value < 1 << 16:
        struct.pack_into(_order(block) + "HIHH", block, entry.position + 2, _SHORT, 1, value, 0)
    else:
        struct.pack_into(_order(block) + "HII", block, entry.position + 2, _LONG, 1, value)
