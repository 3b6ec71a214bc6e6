"""Pictures made of photographs that show what few photographs have: finer detail, purer colours, flat areas."""

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
_COLLAGES = 0.25
"""Part of the photographs that a collage is made of."""
_CUTS = (3, 16)
"""Cuts through a collage, at least and less than."""
_SHORTEST = 16
"""Least side of a part of a collage in pixels, so that there is something flat in it at scale 4."""
_FILLS = ("photograph", "black", "white", "corner", "grey", "colour")
_SHARES = (0.25, 0.2, 0.1, 0.15, 0.1, 0.2)
"""How often a part of a collage is filled with each of `_FILLS`; a corner is one of the RGB cube."""

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


def collage(image: Pixels, stem: str) -> Pixels | None:
    """Of one photograph in four: rectangles of flat colours, black and white among them, over parts of it.

    Photographs have no black that is black and no area without grain, but films have bars and fades, and drawings have
    little else. Networks that never saw them lift black and tint white. What remains of the photograph is darkened at
    random, as fades are.

    Args:
        image: `(H, W, 3)` uint8.
        stem: name of the photograph, which the random choices depend on.
    """
    generator = np.random.default_rng(zlib.crc32(f"{stem}.collage".encode()))
    if generator.random() >= _COLLAGES:
        return None
    made = (image * (1 - generator.random() ** 2)).round().astype(np.uint8)
    for top, left, height, width in _parts(image.shape[0], image.shape[1], generator):
        colour = _fill(generator)
        if colour is not None:
            made[top : top + height, left : left + width] = colour
    return made


def _parts(height: int, width: int, generator: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """The whole, the largest part of which is cut again and again: (top, left, height, width) of each part."""
    parts = [(0, 0, height, width)]
    for _ in range(generator.integers(*_CUTS)):
        part = top, left, height, width = max(parts, key=lambda part: part[2] * part[3])
        longer = max(height, width)
        if longer < 2 * _SHORTEST:
            break
        cut = int(generator.integers(_SHORTEST, longer - _SHORTEST + 1))
        parts.remove(part)
        if height == longer:
            parts += [(top, left, cut, width), (top + cut, left, height - cut, width)]
        else:
            parts += [(top, left, height, cut), (top, left + cut, height, width - cut)]
    return parts


def _fill(generator: np.random.Generator) -> NDArray[np.int64] | None:
    """An RGB colour, or nothing where the photograph stays."""
    match _FILLS[generator.choice(len(_FILLS), p=_SHARES)]:
        case "photograph":
            return None
        case "black":
            return np.zeros(3, np.int64)
        case "white":
            return np.full(3, 255)
        case "corner":
            return generator.integers(2, size=3) * 255
        case "grey":
            return np.full(3, generator.integers(256))
        case _:
            return generator.integers(256, size=3)
