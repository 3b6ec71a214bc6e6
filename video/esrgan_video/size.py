"""How large the result is to be, and the resampling that takes a network's output to that size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from esrgan.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OutputSize:
    """The wanted size: a factor, a width, a height, or both sides; with nothing set, the network's own scale.

    A network has one scale. The rest of the way, in either direction, is bicubic resampling: a factor
    above the network's adds no detail beyond what the network made.

    Raises:
        UsageError: a factor that is not a positive number, a side under 1, or a factor together with a side.
    """

    scale: float | None = None
    """Size ratio of output to input, any positive number."""
    width: int | None = None
    """Width of the output in pixels."""
    height: int | None = None
    """Height of the output in pixels."""

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"the output scale must be a positive number, got {self.scale}")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and side < 1:
                raise UsageError(f"the output {name} must be at least 1 pixel, got {side}")
        if self.scale is not None and (self.width is not None or self.height is not None):
            raise UsageError(
                f"give an output scale or an output size, not both: got scale {self.scale}, "
                f"width {self.width}, height {self.height}"
            )

    def resolve(self, input_width: int, input_height: int, network_scale: int) -> tuple[int, int]:
        """Width and height of the output in pixels, each at least 1; halves are rounded up.

        With one side given, the other keeps the aspect ratio.
        """
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.width is not None:
            return self.width, _rounded(input_height * self.width / input_width)
        if self.height is not None:
            return _rounded(input_width * self.height / input_height), self.height
        scale = network_scale if self.scale is None else self.scale
        return _rounded(input_width * scale), _rounded(input_height * scale)


def _rounded(side: float) -> int:
    return max(1, math.floor(side + 0.5))


def resize(batch: Tensor, height: int, width: int) -> Tensor:
    """Resample with a bicubic filter, widened when shrinking so that nothing aliases (a = -0.5, as in Pillow).

    Args:
        batch: `(N, C, H, W)`, floating point.
        height: rows of the result.
        width: columns of the result.

    Returns:
        `(N, C, height, width)` with the same dtype, not clamped; `batch` itself where the size is equal.
    """
    if batch.shape[-2:] == (height, width):
        return batch
    return F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
