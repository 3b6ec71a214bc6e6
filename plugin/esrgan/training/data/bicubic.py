"""MATLAB's `imresize(image, 1 / scale, 'bicubic')`: the LR images that papers measure on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_A = -0.5
"""Keys' cubic convolution kernel (1981), as MATLAB has it."""


def downscale(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Shrink an image with antialiasing, as MATLAB does.

    The kernel is stretched by `scale`, edges are mirrored, each axis is done on its own in float64, and
    the result is rounded half up and clipped.

    Shape: `(H, W, C)`, both sides multiples of `scale` -> `(H / scale, W / scale, C)`.
    """
    rows = _along_first_axis(image.astype(np.float64), scale)
    both = _along_first_axis(rows.swapaxes(0, 1), scale).swapaxes(0, 1)
    return np.floor(both.clip(0, 255) + 0.5).astype(np.uint8)


def _along_first_axis(image: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    weights = _weights(scale)
    before = (len(weights) - scale) // 2
    after = len(weights) - scale - before
    padded = np.pad(image, [(before, after)] + [(0, 0)] * (image.ndim - 1), mode="symmetric")
    result = np.zeros((image.shape[0] // scale, *image.shape[1:]))
    for tap, weight in enumerate(weights):  # one tap at a time: large photographs fit into memory
        result += weight * padded[tap : tap + image.shape[0] : scale]
    return result


def _weights(scale: int) -> NDArray[np.float64]:
    """The stretched kernel at the distances of the samples from the middle of an output pixel; its sum is 1."""
    taps = 4 * scale + (scale % 2)
    distance = np.abs(np.arange(taps) - (taps - 1) / 2) / scale
    near = (_A + 2) * distance**3 - (_A + 3) * distance**2 + 1
    far = _A * distance**3 - 5 * _A * distance**2 + 8 * _A * distance - 4 * _A
    kernel = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    normalised: NDArray[np.float64] = kernel / kernel.sum()
    return normalised
