"""The check that each picture gets where the engine chose half precision itself: is it near enough to float32?

What rounding costs depends on the picture too, not on the weights alone. So the busiest place of each picture, a crop
of a few pixels, goes through the network in both precisions. The answer depends on nothing but the picture and the
network: whatever order frames come in, and wherever a run goes on, each gets the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_CROP_PSNR = 53.0
"""In dB against float32: a picture whose crop has less is computed in float32. 50 dB are the promise for the whole
picture; of 110 that `benchmarks/precision.py` measured, the worst lay 2.8 dB under its crop."""
CROP_SIDE = 16
"""Of the crop, in input pixels."""


def poor_pictures(frames: Tensor, rounded: Callable[[Tensor], Tensor], exact: Callable[[Tensor], Tensor]) -> Tensor:
    """Which pictures fall short of `MIN_CROP_PSNR`.

    Args:
        frames: `(N, C, H, W)` in 0..1.
        rounded: the network in half precision, for pictures of any size.
        exact: the same in float32.

    Returns:
        `(N,)`, bool.
    """
    crops = busiest_crops(frames, CROP_SIDE)
    error = (rounded(crops).clamp(0, 1) - exact(crops).clamp(0, 1)).square().mean(dim=(1, 2, 3))
    return ~(error <= 10 ** (-MIN_CROP_PSNR / 10))  # also where it is not a number


def busiest_crops(frames: Tensor, side: int) -> Tensor:
    """Of each picture the square whose neighbouring pixels differ most: `(N, C, H, W)` -> `(N, C, side, side)`.

    Squares at steps of half a side are compared. Pictures that are smaller are taken as they are.
    """
    height, width = min(side, frames.shape[-2]), min(side, frames.shape[-1])
    if (height, width) == tuple(frames.shape[-2:]):
        return frames
    down = F.pad(frames.diff(dim=-2).abs(), (0, 0, 0, 1))
    across = F.pad(frames.diff(dim=-1).abs(), (0, 1))
    steps = max(1, height // 2), max(1, width // 2)
    detail = F.avg_pool2d((down + across).mean(1, keepdim=True), (height, width), stride=steps)[:, 0]  # (N, h, w)
    places = detail.flatten(1).argmax(1).view(-1, 1, 1, 1)  # they stay on the device: reading them would wait for it
    rows = places // detail.shape[-1] * steps[0] + torch.arange(height, device=frames.device).view(-1, 1)
    columns = places % detail.shape[-1] * steps[1] + torch.arange(width, device=frames.device)
    pictures, channels = (torch.arange(count, device=frames.device) for count in frames.shape[:2])
    return frames[pictures.view(-1, 1, 1, 1), channels.view(-1, 1, 1), rows, columns]
