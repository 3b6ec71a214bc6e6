"""What networks cannot see: values outside 0..1, on their way around them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def split_gamut(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """`rgb` limited to 0..1, and what that took away.

    Networks work on 0..1. Super-white, super-black and colours out of gamut go around them, so that they are in the
    output as they were in the input: see `restore_gamut`.
    """
    inside = rgb.clamp(0, 1)
    return inside, rgb - inside


def restore_gamut(large: Tensor, beyond: Tensor) -> Tensor:
    """Limit `large` to 0..1 and add `beyond`, its pixels repeated: `(N, C, H, W)` in place, and `(N, C, h, w)`."""
    large.clamp_(0, 1)
    # Most frames have nothing there. On a processor a pass over a large result takes time; other devices would have to
    # be waited for.
    if beyond.device.type == "cpu" and not beyond.any():
        return large
    (height, width), (rows, columns) = large.shape[-2:], beyond.shape[-2:]
    if height % rows or width % columns:
        large += F.interpolate(beyond, size=(height, width), mode="nearest-exact")
    else:
        blocks = large.view(*large.shape[:2], rows, height // rows, columns, width // columns)
        blocks += beyond.unsqueeze(3).unsqueeze(5)
    return large
