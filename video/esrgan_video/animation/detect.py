"""Whether an image file is animated."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from esrgan_video.animation.structure import (
    GIF_IMAGE,
    GIF_SIGNATURES,
    PNG_SIGNATURE,
    gif_blocks,
    png_chunks,
    webp_chunks,
)


def is_animation(path: Path) -> bool:
    """Whether a file is a GIF, PNG or WebP of more than one frame; false for what cannot be read."""
    try:
        with path.open("rb") as file:
            return any(islice(_frames(file), 1, None))
    except OSError:
        return False


def _frames(file: BinaryIO) -> Iterator[bool]:
    """True for each frame, as far as the structure tells without reading on."""
    head = file.read(12)
    if head.startswith(PNG_SIGNATURE):
        return iter([True] * min(2, _announced(file)))
    if head.startswith(GIF_SIGNATURES):
        return (True for kind, _ in gif_blocks(file) if kind == GIF_IMAGE)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return (True for kind, _ in webp_chunks(file) if kind == b"ANMF")
    return iter(())


def _announced(file: BinaryIO) -> int:
    """Frames that a PNG says it has, in the chunk acTL before the first IDAT."""
    for kind, place in png_chunks(file):
        if kind == b"acTL":
            file.seek(place)
            data = file.read(4)
            return int(struct.unpack(">I", data)[0]) if len(data) == 4 else 0
        if kind == b"IDAT":
            break
    return 0
