"""Whether an image file is animated, from its structure alone: no pixel is decoded and nothing heavy imported.

Sources: GIF89a specification; Portable Network Graphics, third edition, section 11.3.6; WebP container specification.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_EXTENSION, _GIF_IMAGE = b"!", b","


def is_animation(path: Path) -> bool:
    """Whether a file is a GIF, PNG or WebP of more than one frame; false for what cannot be read."""
    try:
        with path.open("rb") as file:
            counter = _counter(file.read(12))
            return counter is not None and counter(file)
    except (OSError, struct.error, IndexError):
        return False


def _counter(head: bytes) -> Callable[[BinaryIO], bool] | None:
    if head.startswith(_PNG):
        return _png_is_animated
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _gif_is_animated
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_is_animated
    return None


def _png_is_animated(file: BinaryIO) -> bool:
    """More than one frame in the chunk acTL, which stands before the first IDAT."""
    file.seek(len(_PNG))
    while header := file.read(8):
        length, kind = struct.unpack(">I4s", header)
        if kind == b"acTL":
            return int(struct.unpack(">I", file.read(4))[0]) > 1
        if kind == b"IDAT":
            return False
        file.seek(length + 4, 1)
    return False


def _webp_is_animated(file: BinaryIO) -> bool:
    """More than one chunk ANMF."""
    frames = 0
    file.seek(12)
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        frames += kind == b"ANMF"
        if frames > 1:
            return True
        file.seek(length + length % 2, 1)
    return False


def _gif_is_animated(file: BinaryIO) -> bool:
    """More than one image descriptor."""
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(_colours(flags), 1)
    frames = 0
    while (kind := file.read(1)) in (_GIF_EXTENSION, _GIF_IMAGE):
        if kind == _GIF_IMAGE:
            frames += 1
            if frames > 1:
                return True
            file.seek(_colours(file.read(9)[8]), 1)
        file.seek(1, 1)  # the label, or the width of codes
        while size := file.read(1)[0]:
            file.seek(size, 1)
    return False


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0
