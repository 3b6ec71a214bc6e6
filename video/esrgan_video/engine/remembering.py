"""Tiles that did not change since the frame before are not computed again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from esrgan_video.engine.memory import free_bytes
from esrgan_video.engine.tiles import Tile, kept, window

if TYPE_CHECKING:
    from esrgan_video.engine.planner import Plan
    from esrgan_video.engine.upscaler import Upscaler

_MEMORY_SHARE = 0.1
"""Of the free memory, that the kept result may take."""


class TileMemory:
    """The last frame that was cut into tiles, and what became of it.

    A tile's result depends on its window alone: the tile and the overlap around it. Where two frames have equal
    windows at one place, the results are equal too, so this is as exact as cutting into tiles is. Frames that go
    through the network whole are never cut for its sake.
    """

    def __init__(self) -> None:
        self.tiles = 0
        """Tiles that there were."""
        self.reused = 0
        """Those of them that were copied."""
        self._frame: Tensor | None = None
        self._result: Tensor | None = None
        self._tiles: Sequence[Tile] = ()

    def changed(self, frames: Tensor, tiles: Sequence[Tile]) -> list[tuple[int, Tile]]:
        """Index of the frame and tile of what must be computed for `frames`, `(N, C, H, W)`, cut into `tiles`."""
        if self._frame is not None and (self._frame.shape != frames.shape[1:] or self._tiles != tiles):
            self.forget()
        jobs: list[tuple[int, Tile]] = []
        before = self._frame
        for index, frame in enumerate(frames):
            jobs += [(index, tile) for tile in tiles if before is None or not _sees_the_same(tile, frame, before)]
            before = frame
        return jobs

    def complete(
        self, frames: Tensor, result: Tensor, tiles: Sequence[Tile], *, computed: Sequence[tuple[int, Tile]]
    ) -> None:
        """Copy into `result`, `(N, C, sH, sW)`, what was not `computed`, and remember the last frame."""
        scale = result.shape[-1] // frames.shape[-1]
        done = set(computed)
        before = self._result
        for index, whole in enumerate(result):  # a tile may be copied from one that was copied itself
            for tile in tiles:
                if before is not None and (index, tile) not in done:
                    kept(whole, tile, scale).copy_(kept(before, tile, scale))
            before = whole
        self.tiles += len(frames) * len(tiles)
        self.reused += len(frames) * len(tiles) - len(computed)
        self._keep(frames[-1], result[-1], tiles)

    def _keep(self, frame: Tensor, result: Tensor, tiles: Sequence[Tile]) -> None:
        self.forget()
        if result.numel() * result.element_size() <= _MEMORY_SHARE * free_bytes(result.device):
            # Both go on to others, who may change them; what is not finite is computed again in the result itself.
            self._frame, self._result, self._tiles = frame.clone(), result.clone(), tiles

    def forget(self) -> None:
        """Free the memory."""
        self._frame = self._result = None


class RememberingUpscaler:
    """An `Upscaler` for one video: with the same results, but tiles that did not change are not computed again.

    Args:
        upscaler: may be shared with others; what is remembered is not.
    """

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self._lock = threading.Lock()  # frames that must be computed again come from the thread that delivers them
        self.memory = TileMemory()

    @property
    def scale(self) -> int:
        """See `Upscaler`."""
        return self._upscaler.scale

    @property
    def device(self) -> torch.device:
        """See `Upscaler`."""
        return self._upscaler.device

    def plan(self, height: int, width: int) -> Plan:
        """See `Upscaler`."""
        return self._upscaler.plan(height, width)

    def __call__(self, batch: Tensor) -> Tensor:
        """See `Upscaler`; frames are expected in the order of the video."""
        with self._lock:
            return self._upscaler(batch, memory=self.memory)

    def unchecked(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """See `Upscaler`. Where frames are cut into tiles, comparing these waits for the device."""
        with self._lock:
            return self._upscaler.unchecked(batch, memory=self.memory)


def _sees_the_same(tile: Tile, frame: Tensor, other: Tensor) -> bool:
    return torch.equal(window(frame, tile), window(other, tile))
