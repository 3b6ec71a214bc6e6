"""Copies of photographs that show what few photographs have: finer detail, purer colours."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZES = (0.55, 0.85)
"""Of the smaller copies, as a part of the sides: detail is finer there, and traces of JPEG are gone."""
_GAINS = (2.0, 5.0)
"""Factors on the distance of colours from grey: most of them end at pure ones."""
_RECOLOURED = ("vivid", "exchanged", None, None)
"""One photograph in four has a vivid copy, one in four a copy with exchanged channels."""

Pixels = NDArray[np.uint8]


def copies(image: Pixels, stem: str) -> Iterator[tuple[str, Pixels]]:
    """What is made of `image` beside itself, with the name of each kind.

    Networks that saw photographs alone tint what none of them shows: pure magenta and green, of which drawings, screens
    and test cards are full.

    Args:
        image: `(H, W, 3)` uint8.
        stem: name of the photograph, which the random choices depend on.
    """
    generator = np.random.default_rng(zlib.crc32(stem.encode()))
    part = generator.uniform(*_SIZES)
    order, kind = generator.permutation(3), generator.choice(len(_RECOLOURED))
    height, width = (max(1, round(side * part)) for side in image.shape[:2])
    yield "small", cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    if _RECOLOURED[kind] == "exchanged":
        yield "exchanged", np.ascontiguousarray(image[..., order])
    elif _RECOLOURED[kind] == "vivid":
        grey = image.astype(np.float32).mean(-1, keepdims=True)
        vivid = grey + (image - grey) * generator.uniform(*_GAINS)
        yield "vivid", vivid[..., order].round().clip(0, 255).astype(np.uint8)
