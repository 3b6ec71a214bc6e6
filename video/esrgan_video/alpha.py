"""Transparency on its way through a network: what stills and video have in common.

Colours behind full transparency are arbitrary, often black. A network would draw them over the edge as a dark fringe,
so they are replaced by the nearest colours that can be seen. Opacity itself goes through the network as a picture of
its own; where it is flat it keeps its exact value, so opaque stays opaque.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

type Opacity = NDArray[Any]
"""`(H, W)`, uint8 or uint16; 0 is invisible."""


def nearest_visible(alpha: Opacity) -> NDArray[np.intp] | None:
    """For each pixel, the place of the nearest one that can be seen.

    Returns:
        `(H, W)`, places counted row by row; `None` where all pixels can be seen, or none.
    """
    visible = alpha > 0
    if visible.all() or not visible.any():
        return None
    _, labels = cv2.distanceTransformWithLabels(
        (~visible).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    positions = np.flatnonzero(visible)
    sources = np.zeros(len(positions) + 1, np.intp)  # the visible pixels have labels from 1
    sources[labels[visible]] = positions
    places: NDArray[np.intp] = sources[labels]
    return places


def flat_areas(alpha: Opacity) -> NDArray[np.bool_]:
    """`(H, W)`: whether a pixel and its eight neighbours are equal."""
    kernel = np.ones((3, 3), np.uint8)
    plane = np.ascontiguousarray(alpha)
    return np.equal(cv2.erode(plane, kernel), cv2.dilate(plane, kernel))


def enlarged(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """`(H, W)` -> `(height, width)`: each pixel the one that lies at its place in the input."""
    rows = np.arange(height) * plane.shape[0] // height
    columns = np.arange(width) * plane.shape[1] // width
    pixels: NDArray[Any] = plane[rows][:, columns]
    return pixels


def spread_visible(rgb: Tensor, places: Tensor) -> None:
    """Give each pixel of `rgb`, `(3, H, W)`, the colour at its place in `places`, `nearest_visible`'s, in place."""
    rgb.copy_(rgb.flatten(1)[:, places])
