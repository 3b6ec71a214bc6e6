"""Chroma to the size of luma and back, with the siting of ITU-T H.273 and any size, odd ones too."""

from __future__ import annotations

from math import ceil, floor

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(chroma: Tensor, height: int, width: int, step: tuple[int, int], siting: tuple[float, float]) -> Tensor:
    """Bilinear interpolation of chroma at the places of the luma samples; edges repeat.

    Args:
        chroma: `(N, C, h, w)` float, where h = ceil(height / step[1]) and w = ceil(width / step[0]).
        height: rows of luma.
        width: columns of luma.
        step: luma samples per chroma sample, horizontally and vertically.
        siting: place of a chroma sample, 0 at its first luma sample and 1 at its last.

    Returns:
        `(N, C, height, width)` float.
    """
    chroma = _upsample_last(chroma, width, step[0], siting[0])
    return _upsample_last(chroma.transpose(2, 3), height, step[1], siting[1]).transpose(2, 3)


def downsample(full: Tensor, step: tuple[int, int], siting: tuple[float, float]) -> Tensor:
    """Each chroma sample is the mean of what lies within half a step of its place; edges repeat.

    For `left` 4:2:0 that is 1-2-1 along rows and 1-1 along columns, for `center` 1-1 along both.

    Args:
        full: `(N, C, H, W)` float.
        step: luma samples per chroma sample, horizontally and vertically.
        siting: place of a chroma sample, 0 at its first luma sample and 1 at its last.

    Returns:
        `(N, C, ceil(H / step[1]), ceil(W / step[0]))` float.
    """
    rows_first = _downsample_last(full.transpose(2, 3), step[1], siting[1]).transpose(2, 3)
    return _downsample_last(rows_first, step[0], siting[0])


def _upsample_last(chroma: Tensor, size: int, step: int, siting: float) -> Tensor:
    if step == 1:
        return chroma
    count = chroma.shape[-1]
    padded = torch.cat((chroma[..., :1], chroma, chroma[..., -1:]), -1)
    result = chroma.new_empty((*chroma.shape[:-1], count * step))
    for phase in range(step):
        position = (phase - siting * (step - 1)) / step  # in chroma samples from the one of this group
        before = floor(position)
        left = padded[..., before + 1 : before + 1 + count]
        right = padded[..., before + 2 : before + 2 + count]
        fraction = position - before
        result[..., phase::step] = torch.lerp(left, right, fraction) if fraction else left
    return result[..., :size]


def _downsample_last(full: Tensor, step: int, siting: float) -> Tensor:
    if step == 1:
        return full
    count = ceil(full.shape[-1] / step)
    taps = area_taps(step, siting)
    first, last = taps[0][0], taps[-1][0]
    end = (count - 1) * step + last + 1
    padded = _repeat_edges(full, -first, max(0, end - full.shape[-1]))
    result = torch.zeros((), dtype=full.dtype, device=full.device)
    for tap, weight in taps:
        start = tap - first
        part = padded[..., start : start + (count - 1) * step + 1 : step]
        result = part * weight if tap == first else result.add_(part, alpha=weight)
    return result


def area_taps(step: int, siting: float) -> list[tuple[int, float]]:
    """Luma samples that a box of width `step` around a chroma sample covers, and how much of the box each one fills.

    Samples are counted from the first one of the chroma sample's own; a sample covers half a unit on either side.

    Args:
        step: luma samples per chroma sample.
        siting: place of the chroma sample, 0 at its first luma sample and 1 at its last.
    """
    offset = siting * (step - 1)
    low, high = offset - step / 2, offset + step / 2
    covered = ((tap, min(high, tap + 0.5) - max(low, tap - 0.5)) for tap in range(floor(low), ceil(high) + 1))
    return [(tap, overlap / step) for tap, overlap in covered if overlap > 0]


def _repeat_edges(full: Tensor, before: int, after: int) -> Tensor:
    if not before and not after:
        return full
    return F.pad(full, (before, after, 0, 0), mode="replicate")
