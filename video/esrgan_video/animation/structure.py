"""Where the parts of GIF, PNG and WebP files lie. No pixel is decoded and nothing heavy imported.

Sources: GIF89a specification; Portable Network Graphics, third edition, section 5.3; WebP container specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GIF_SIGNATURES = (b"GIF87a", b"GIF89a")
GIF_EXTENSION, GIF_IMAGE = b"!", b","
_GIF_TRAILER = b";"


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and place of the content of each chunk."""
    position = len(PNG_SIGNATURE)
    while len(header := _at(file, position, 8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        yield kind, position + 8
        position += length + 12


def webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and place of the content of each chunk."""
    position = 12
    while len(header := _at(file, position, 8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        yield kind, position + 8
        position += 8 + length + length % 2


def gif_blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and place of each extension (from its label on) and image descriptor (from its left edge on)."""
    position = 13 + _colours(_at(file, 10, 1))
    while (kind := _at(file, position, 1)) not in (b"", _GIF_TRAILER):
        position += 1
        yield kind, position
        if kind == GIF_IMAGE:
            position += 9 + _colours(_at(file, position + 8, 1))
        position += 1  # the label, or the width of codes
        while size := _at(file, position, 1):
            position += 1 + size[0]
            if not size[0]:
                break


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _colours(flags: bytes) -> int:
    """Bytes of a table of colours."""
    return 3 * (2 << (flags[0] & 7)) if flags and flags[0] & 0x80 else 0
