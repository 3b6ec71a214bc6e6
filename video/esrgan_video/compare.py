"""`Comparison`: before and after in one picture, with a thin white line between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from esrgan_video.size import resize

_LEAST_LINE = 2
_LINE_SHARE = 640
"""Columns of picture for each column of the line: 6 columns in 3840."""


@dataclass(frozen=True)
class Comparison:
    """Joins the input, enlarged by plain bicubic, and the result: the first on the left, the other on the right."""

    vertical: bool = False
    """Whether left and right, as displayed, lie along the stored columns."""
    mirrored: bool = False
    """Whether the left, as displayed, is stored last."""

    @classmethod
    def displayed_by(cls, matrix: Sequence[int] | None) -> Self:
        """Left and right as a player shows a video with this display matrix (nine numbers in FFmpeg's layout).

        A stored point (x, y) is shown at x' = m[0] x + m[3] y + m[6].
        """
        if matrix is None:
            return cls()
        vertical = abs(matrix[3]) > abs(matrix[0])
        return cls(vertical, mirrored=matrix[3 if vertical else 0] < 0)

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """The picture of both.

        Args:
            before: `(N, C, h, w)`, the input, white at 1.
            after: `(N, C, H, W)`, the result.

        Returns:
            `(N, C, H, W)`. Halves of an odd side are unequal by one; channels of alpha are opaque on the line.
        """
        height, width = after.shape[-2:]
        axis, side = (-2, height) if self.vertical else (-1, width)
        line = min(side, max(_LEAST_LINE, side // _LINE_SHARE))
        begin = (side - line) // 2
        enlarged = resize(before, height, width).to(after.device)
        first, last = (after, enlarged) if self.mirrored else (enlarged, after)
        joined = last.clone()
        joined.narrow(axis, 0, begin).copy_(first.narrow(axis, 0, begin))
        joined.narrow(axis, begin, line).fill_(1)
        return joined
