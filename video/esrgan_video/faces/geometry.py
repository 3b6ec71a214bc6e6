"""Where a face lies: five landmarks, the similarity that aligns them, and sampling through it.

Coordinates are (x, y) in pixels and continuous: the pixel in column c and row r covers c to c + 1 and r to r + 1, and
its centre is (c + 0.5, r + 0.5). A picture of twice the size has twice the coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from esrgan_video.size import resize

Points = NDArray[np.float64]
"""`(K, 2)`: x and y of each point."""
Affine = NDArray[np.float64]
"""`(2, 3)`: the image of (x, y) is the product with (x, y, 1)."""

TEMPLATE_SIDE = 512
TEMPLATE: Points = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Mean landmarks of FFHQ's faces in 512 x 512 pixels: left and right eye as seen, nose, left and right corner of the
mouth. GFPGAN, CodeFormer and RestoreFormer were trained on faces aligned to them (facexlib's template)."""

_LEAST_SCALE = 1e-3
"""Of a similarity that is used: less is a face of no extent."""


@dataclass(frozen=True)
class Similarity:
    """x' = a x - b y + c, y' = b x + a y + d: turns, scales and shifts, and does not mirror."""

    a: float
    b: float
    c: float
    d: float

    @property
    def scale(self) -> float:
        """Length of the image of a unit."""
        return float(np.hypot(self.a, self.b))

    @property
    def matrix(self) -> Affine:
        """As OpenCV writes it."""
        return np.array([[self.a, -self.b, self.c], [self.b, self.a, self.d]])

    def __call__(self, points: Points) -> Points:
        """The images of `(..., 2)` points."""
        moved: Points = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    def inverse(self) -> Similarity:
        """The way back."""
        square = self.a**2 + self.b**2
        a, b = self.a / square, -self.b / square
        return Similarity(a, b, -(a * self.c - b * self.d), -(b * self.c + a * self.d))


def stretch(x: float, y: float | None = None, shift: float = 0.0) -> Affine:
    """Coordinates times `x` and `y` (the same by default), then plus `shift`."""
    return np.array([[x, 0, shift], [0, x if y is None else y, shift]])


def compose(outer: Affine, inner: Affine) -> Affine:
    """`inner`, then `outer`."""
    composed: Affine = outer @ np.vstack((inner, [0, 0, 1]))
    return composed


def align(landmarks: Points, side: int) -> Similarity | None:
    """The similarity that takes five landmarks nearest to the template in `side` x `side` pixels.

    Least squares in closed form (Umeyama 1991, with the rotation written as one complex number). Unlike a robust fit,
    it follows small changes of the landmarks with small changes of its own.

    Returns:
        `None` for landmarks that do not span a face.
    """
    target = TEMPLATE * (side / TEMPLATE_SIDE)
    source, wanted = landmarks - landmarks.mean(0), target - target.mean(0)
    spread = float((source**2).sum())
    if not np.isfinite(spread) or spread <= 0:
        return None
    a = float((source * wanted).sum()) / spread
    b = float((source[:, 0] * wanted[:, 1] - source[:, 1] * wanted[:, 0]).sum()) / spread
    if np.hypot(a, b) < _LEAST_SCALE:
        return None
    (x, y), (u, v) = landmarks.mean(0), target.mean(0)
    return Similarity(a, b, float(u - (a * x - b * y)), float(v - (b * x + a * y)))


@dataclass(frozen=True)
class Window:
    """Pixels of a picture: columns from `left`, rows from `top`."""

    left: int
    top: int
    width: int
    height: int

    def points(self, to: Affine, device: torch.device, density: int = 1) -> Tensor:
        """`(1, height * density, width * density, 2)` float32: the images of the centres of its pixels, or of as many
        parts of each, under `to`."""
        half_x, half_y = self.width / 2, self.height / 2
        # affine_grid spans -1..1, whose ends are the outer edges of the outer pixels.
        theta = to @ np.array([[half_x, 0, self.left + half_x], [0, half_y, self.top + half_y], [0, 0, 1]])
        size = [1, 1, self.height * density, self.width * density]
        return F.affine_grid(torch.from_numpy(theta.astype(np.float32))[None].to(device), size, align_corners=False)


def sample(picture: Tensor, window: Window, to: Affine) -> Tensor:
    """What a picture shows, seen through an affine map: bicubic, without aliasing; outside, the nearest edge.

    Args:
        picture: `(1, C, H, W)` float32.
        window: pixels of the result.
        to: from their coordinates to those of `picture`.

    Returns:
        `(1, C, height, width)` float32 on the picture's device.
    """
    height, width = picture.shape[-2:]
    reduction = float(np.sqrt(abs(np.linalg.det(to[:, :2]))))
    density = 2 if reduction > 1 else 1
    if reduction > density:  # two samples for each pixel are enough of a picture that has no more detail than that
        smaller = (max(1, round(side * density / reduction)) for side in (height, width))
        picture = resize(picture, *smaller)
    points = window.points(to, picture.device, density)
    normal = points * torch.tensor([2 / width, 2 / height], device=points.device) - 1
    seen = F.grid_sample(picture, normal, mode="bicubic", padding_mode="border", align_corners=False)
    return resize(seen, window.height, window.width)
