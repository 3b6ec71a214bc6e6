"""Code values on their way to a device and back.

On CUDA they go through pinned memory: the device reads and writes it by itself, at the full speed of the bus. Results
leave on a stream of their own, so that they do not queue behind the pass that comes next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from esrgan_video.container.frame import Plane


def to_device(planes: Sequence[Plane], device: torch.device) -> Tensor:
    """`(N, h, w)` on `device` from the planes of N pictures, in their own type."""
    if device.type != "cuda":
        return torch.from_numpy(np.stack(planes)).to(device)
    pinned = _pinned((len(planes), *planes[0].shape), torch.from_numpy(np.empty(0, planes[0].dtype)).dtype)
    np.stack(planes, out=pinned.numpy())
    return pinned.to(device, non_blocking=True)  # torch keeps the memory from others until it was read


def mark(device: torch.device) -> torch.cuda.Event | None:
    """What tells that all that this thread has asked of `device` by now is done; `None` where results are there at
    once, or a copy waits by itself.
    """
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


def to_host(pictures: Sequence[tuple[Tensor, ...]], ready: torch.cuda.Event | None) -> Iterator[tuple[Plane, ...]]:
    """The planes of each picture in host memory. The next one is under way while the caller has one.

    Args:
        pictures: of each, planes `(1, h, w)`.
        ready: a `mark` from when all of them had been asked for.
    """
    if ready is None or not pictures:
        for planes in pictures:
            yield tuple(plane[0].cpu().numpy() for plane in planes)
        return
    stream = torch.cuda.Stream(pictures[0][0].device)  # type: ignore[no-untyped-call]
    stream.wait_event(ready)
    under_way: _Copy | None = None
    for planes in pictures:
        following = _Copy(planes, stream)
        if under_way is not None:
            yield under_way.wait()
        under_way = following
    if under_way is not None:
        yield under_way.wait()


class _Copy:
    """Planes on their way to host memory."""

    def __init__(self, planes: tuple[Tensor, ...], stream: torch.cuda.Stream) -> None:
        self._planes = planes  # their memory must stay theirs until the copy is done
        self._copies = [_pinned(plane.shape[1:], plane.dtype) for plane in planes]
        with torch.cuda.stream(stream):
            for copy, plane in zip(self._copies, planes, strict=True):
                copy.copy_(plane[0], non_blocking=True)
        self._done = stream.record_event()

    def wait(self) -> tuple[Plane, ...]:
        self._done.synchronize()
        return tuple(copy.numpy() for copy in self._copies)


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
