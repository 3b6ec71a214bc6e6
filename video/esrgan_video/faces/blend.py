"""Where a restored face is used: a soft mask on the aligned face, and blending it into the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from esrgan_video.faces.geometry import TEMPLATE_SIDE, Affine, Similarity, Window, compose, sample, stretch

_CENTER = (256.0, 284.0)
_RADII = (212.0, 220.0)
_EXPONENT = 3.0
"""Of the oval |x|^p + |y|^p = 1 around an aligned face: fuller than an ellipse, so that chin and temples are in it."""
_FEATHER = 0.35
"""Share of the oval's radius over which the restored face comes in."""
_BORDER = 48.0
"""The same for the square of an aligned face, in pixels of the template."""


@dataclass(frozen=True)
class RestoredFace:
    """A face that was restored, and how it goes back."""

    pixels: Tensor
    """`(1, 3, R, R)` float32, the restored face, aligned."""
    to_pixels: Affine
    """From the template's coordinates to those of `pixels`."""
    place: Similarity
    """From the input's coordinates to those of the template."""
    strength: float
    """Share of the restored face where the mask is 1."""
    parsed: Tensor | None = None
    """`(1, 1, 512, 512)` in 0..1: what of the template's square is face; by default an oval of it."""

    def paste(self, picture: Tensor, input_size: tuple[int, int]) -> None:
        """Blend the face into a picture.

        Args:
            picture: `(1, C, H, W)` float32 with C of 1 or 3, the input at its new size; it is changed.
            input_size: rows and columns of the input.
        """
        factors = picture.shape[-1] / input_size[1], picture.shape[-2] / input_size[0]
        window = self._window(picture, factors)
        if window is None:
            return
        to_template = compose(self.place.matrix, stretch(1 / factors[0], 1 / factors[1]))
        points = window.points(to_template, picture.device)[0]
        face = sample(self.pixels, window, compose(self.to_pixels, to_template))
        mask = soft_mask(points) if self.parsed is None else square_mask(points)
        if self.parsed is not None:
            mask = mask * sample(self.parsed, window, to_template)[0, 0].clamp_(0, 1)
        if picture.shape[1] == 1:
            face = face.mean(1, keepdim=True)
        area = picture[..., window.top : window.top + window.height, window.left : window.left + window.width]
        area += mask * self.strength * (face - area)

    def _window(self, picture: Tensor, factors: tuple[float, float]) -> Window | None:
        """The pixels that the aligned square covers; `None` where it covers none."""
        side = float(TEMPLATE_SIDE)
        corners = np.array([[0, 0], [side, 0], [0, side], [side, side]])
        places = self.place.inverse()(corners) * np.array(factors)
        limits = np.array([picture.shape[-1], picture.shape[-2]])
        left, top = (int(x) for x in np.clip(np.floor(places.min(0)), 0, limits))
        right, bottom = (int(x) for x in np.clip(np.ceil(places.max(0)), 0, limits))
        return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def soft_mask(points: Tensor) -> Tensor:
    """How much of the restored face is used at points of the template: `(..., 2)` -> `(...)` in 0..1."""
    x, y = ((points[..., axis] - _CENTER[axis]).abs() / _RADII[axis] for axis in (0, 1))
    radius = (x**_EXPONENT + y**_EXPONENT) ** (1 / _EXPONENT)
    return _smooth((1 - radius) / _FEATHER)


def square_mask(points: Tensor) -> Tensor:
    """The same for the whole aligned square."""
    inward = torch.minimum(points, TEMPLATE_SIDE - points).amin(-1)
    return _smooth(inward / _BORDER)


def _smooth(share: Tensor) -> Tensor:
    """From 0 to 1 without a kink at either end."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
