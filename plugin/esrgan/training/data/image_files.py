"""Image files of training sets: what they are, whether they are whole, and writing them."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from esrgan.errors import DataError, FailedError
from esrgan.weights.atomic import written_beside

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_TAIL = 4096
"""Bytes at the end of a file in which the mark of its end is looked for."""
_END_MARKS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}


@dataclass(frozen=True)
class ImageFacts:
    """What an image file says of itself."""

    width: int
    height: int
    is_grey: bool
    has_alpha: bool

    @property
    def size(self) -> str:
        """`WIDTHxHEIGHT`."""
        return f"{self.width}x{self.height}"


def probe(file: Path, *, thorough: bool = False) -> ImageFacts:
    """Read the header of an image and see whether the file is whole.

    Args:
        file: the image.
        thorough: decode it. Otherwise the end of PNG and JPEG files tells whether they are whole, which
            is quick but does not see damage in the middle.

    Raises:
        DataError: not an image, or a damaged or truncated one; the message does not name the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # very large pictures, odd metadata: both are usable
            with Image.open(file) as image:
                mark = _END_MARKS.get(image.format or "")
                if thorough or mark is None or not _ends_with(file, mark):
                    image.load()
                return ImageFacts(
                    width=image.width,
                    height=image.height,
                    is_grey=image.mode in _GREY,
                    has_alpha=image.mode in _ALPHA or "transparency" in image.info,
                )
    except UnidentifiedImageError as error:
        raise DataError("is empty" if file.stat().st_size == 0 else "is not an image, or damaged") from error
    except FileNotFoundError as error:
        raise DataError("does not exist") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"is damaged or truncated ({error})") from error


def _ends_with(file: Path, mark: bytes) -> bool:
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL))
        return mark in stream.read()


def read_bgr(file: Path) -> NDArray[np.uint8]:
    """Decode an image to `(H, W, 3)` uint8, BGR, as BasicSR's datasets do: alpha is dropped, grey is repeated.

    Raises:
        DataError: it cannot be decoded; the message does not name the file.
    """
    data = np.fromfile(file, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DataError("cannot be decoded")
    return np.asarray(image, np.uint8)


def write_png(file: Path, image: NDArray[np.uint8]) -> None:
    """Write `(H, W, 3)` BGR or `(H, W)` grey uint8 as PNG, whole or not at all.

    Raises:
        FailedError: it cannot be written.
    """
    done, data = cv2.imencode(".png", image)
    if not done:
        raise FailedError(f"{file}: cannot be encoded as PNG")
    try:
        with written_beside(file) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise FailedError(f"{file}: cannot be written: {error.strerror or error}") from error
