"""Gives an upscaled picture the low frequencies of its input, and leaves its detail alone.

Networks trained with a GAN loss may tint whole regions or shift their brightness. What they are for is detail; what
is as large as many input pixels is known from the input. With x the input, y the output, D and U bicubic resampling
to the input's size and back, and L a Gaussian low-pass filter on the input's grid,

    y' = y + U L (x - D y).

Where D y = x, nothing changes. A wave for which L has the gain g keeps 1 - g of its error, a constant none of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from esrgan_video.engine.precision import true_float32
from esrgan_video.size import resize

SIGMA = 6.0
"""Of the Gaussian, in input pixels: half of a wave of 32 pixels passes. Noise and the 8-pixel grid of compressed input,
which networks remove on purpose, do not come back: 5 % and 0.002 % of their amplitude pass."""
_RADIUS = math.ceil(3 * SIGMA)


def match_low_frequencies(large: Tensor, small: Tensor) -> Tensor:
    """`large` with the low frequencies of `small`: y' above.

    Args:
        large: `(N, C, H, W)` float32, the output at its final size, whole.
        small: `(N, C, h, w)` float32, the input, in the same colours and on the same device.

    Returns:
        `(N, C, H, W)`, not clamped, in memory of its own.
    """
    height, width = large.shape[-2:]
    error = small - resize(large, *small.shape[-2:])
    return resize(low_pass(error), height, width).add_(large)


def low_pass(picture: Tensor) -> Tensor:
    """`(N, C, H, W)` through the Gaussian. At borders it is the weighted mean of what lies inside the picture."""
    with true_float32(picture.device):
        return _blur_rows(_blur_rows(picture).transpose(2, 3)).transpose(2, 3)


def _blur_rows(picture: Tensor) -> Tensor:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=picture.device, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (offsets / SIGMA).square()).view(1, 1, -1)
    width = picture.shape[-1]
    rows = picture.reshape(-1, 1, width)
    weights = F.conv1d(torch.ones_like(rows[:1]), kernel, padding=_RADIUS)
    return (F.conv1d(rows, kernel, padding=_RADIUS) / weights).view(picture.shape)
