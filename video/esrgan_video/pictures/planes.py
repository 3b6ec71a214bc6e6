"""Images as planes of a frame, and back; nothing is lost either way."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from esrgan.errors import MediaError
from esrgan_video.colour import PixelLayout
from esrgan_video.container.frame import Frame, Plane
from esrgan_video.images import Pixels

_WIDEN = 257
"""65535 / 255: what takes 8 bits to 16."""


def frame_layout(*, channels: Iterable[int], depth: int) -> PixelLayout:
    """The layout that holds images of all these numbers of channels (see `Pixels`) at `depth` bits, 8 or 16.

    There is no planar grey with alpha: it is held as RGB.
    """
    kinds = set(channels)
    alpha = bool(kinds & {2, 4})
    return PixelLayout(model="grey" if kinds == {1} else "rgb", bits=depth, alpha=alpha)


def planes_of(pixels: Pixels, layout: PixelLayout) -> tuple[Plane, ...]:
    """`(H, W, C)` as planes of `layout`: each `(H, W)`, contiguous.

    Raises:
        MediaError: colour, alpha or depth that `layout` has no room for.
    """
    own = frame_layout(channels=[pixels.shape[2]], depth=pixels.dtype.itemsize * 8)
    if own.bits > layout.bits or own.alpha > layout.alpha or (own.model == "rgb" and layout.model == "grey"):
        raise MediaError(f"a picture in {own.pix_fmt}, where {layout.pix_fmt} was announced")
    if layout.bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(_WIDEN)
    count = pixels.shape[2]
    if layout.model == "grey":
        order: tuple[int, ...] = (0,)
    else:
        order = (0, 0, 0) if count < 3 else (1, 2, 0)  # G, B, R
    planes = [np.ascontiguousarray(pixels[:, :, channel]) for channel in order]
    if layout.alpha:
        opaque = count in (1, 3)
        planes.append(np.full_like(planes[0], layout.peak) if opaque else np.ascontiguousarray(pixels[:, :, -1]))
    return tuple(planes)


def pixels_of(frame: Frame) -> Pixels:
    """A grey or RGB frame of 8 or 16 bits as `(H, W, C)`."""
    planes = frame.planes
    order = [0] if frame.layout.model == "grey" else [2, 0, 1]  # from G, B, R
    if frame.layout.alpha:
        order.append(len(planes) - 1)
    return np.stack([planes[index] for index in order], axis=2)
