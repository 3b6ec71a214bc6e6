"""What the engine asks of a library that runs a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Backend(Protocol):
    """A network on a device in one precision.

    `Upscaler` does the rest for all of them: it pads, cuts tiles, plans by memory, and computes frames that were not
    finite again with `exact`.
    """

    @property
    def name(self) -> str:
        """As in `EngineOptions.backend`."""
        ...

    @property
    def precision(self) -> str:
        """Precision of the convolutions, as in `EngineOptions.dtype`: `float32`, `bfloat16`, `float16` …"""
        ...

    @property
    def device(self) -> torch.device:
        """Where images must lie, and where results lie."""
        ...

    @property
    def bytes_per_pixel(self) -> float:
        """Memory in bytes that a pass needs at its peak for one input pixel."""
        ...

    @property
    def workers(self) -> int:
        """Pictures of a pass that are computed at the same time: a pass should have as many."""
        ...

    @property
    def batch_rounds(self) -> bool:
        """Whether a picture's result may differ in its last bits with the number of pictures in a pass."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights, by names that a user understands: `backend`, `precision`,
        versions of libraries, settings. Runs that go on compare it."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """One pass.

        Args:
            images: `(N, C, H, W)` float32 on `device`, values of 0..1 at large, H and W multiples of what the
                network asks for. It is not changed.

        Returns:
            `(N, C, H * scale, W * scale)` float32 on `device`, not clamped, possibly not finite.

        Raises:
            MemoryError: the pass does not fit; so does `torch.OutOfMemoryError`. A smaller one may be tried.
        """
        ...

    def exact(self) -> Backend | None:
        """The sibling in float32, made when it is first asked for; `None` where this one is in float32."""
        ...
