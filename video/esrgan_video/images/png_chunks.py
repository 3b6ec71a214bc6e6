"""The chunks that a PNG file is made of (PNG, third edition, W3C 2025, section 5.3)."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator

from esrgan.errors import MediaError

_log = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

Chunk = tuple[bytes, bytes]
"""Type and content."""


def pack(kind: bytes, content: bytes) -> bytes:
    """One chunk as it stands in the file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def split(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file up to IEND, without those that are optional and damaged.

    Raises:
        MediaError: a necessary chunk is damaged, or the end is missing.
    """
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
