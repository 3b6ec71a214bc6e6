"""What image and video code need of an upscaler, whichever network or engine stands behind it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class BatchUpscaler(Protocol):
    """Upscales batches of RGB pictures by a whole number; `esrgan_video.engine.Upscaler` is one."""

    @property
    def scale(self) -> int:
        """Size ratio of output to input."""
        ...

    @property
    def device(self) -> torch.device:
        """Where results lie."""
        ...

    def __call__(self, batch: Tensor) -> Tensor:
        """`(N, 3, H, W)` float32, RGB in 0..1, on any device -> `(N, 3, scale * H, scale * W)` float32 on `device`.

        H and W are any sizes from 1. The result is not clamped.
        """
        ...


class PassPlan(Protocol):
    """How an upscaler means to go through frames of one size."""

    @property
    def batch(self) -> int:
        """Frames in a pass or, where frames are cut into tiles, tiles in a pass."""
        ...

    @property
    def tile(self) -> int | None:
        """Side of a tile; `None` where frames stay whole."""
        ...


class PlanningUpscaler(BatchUpscaler, Protocol):
    """An upscaler that knows how many frames it likes at once; `esrgan_video.engine.Upscaler` is one."""

    def plan(self, height: int, width: int) -> PassPlan:
        """The plan for frames of `height` x `width`."""
        ...


@runtime_checkable
class DeferringUpscaler(PlanningUpscaler, Protocol):
    """One that need not look at what it computed; `esrgan_video.engine.Upscaler` is one."""

    def unchecked(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """As a call, without waiting for the device.

        Returns:
            The result, and `(N,)` bool on `device`: of which pictures a call would give the same. Others it would
            compute again.
        """
        ...
