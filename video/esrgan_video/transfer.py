"""Code values on their way to a device and back.

On CUDA they go through pinned memory: the device reads and writes it by itself, at the full speed of the bus. Results
leave on a stream of their own, so that they do not queue behind the pass that comes next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from esrgan_video.container.frame import Plane
from esrgan_video.reuse import equal_planes

_log = logging.getLogger(__name__)


class Transfer:
    """Takes planes to a device and back.

    What goes through pinned memory first, in either direction, is held against plain copies. Where that way fails or
    differs, a warning says so, and plain copies are made from then on.

    Args:
        device: where pictures are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pins = device.type == "cuda"
        self._arrived = False
        self._left = False

    def to_device(self, planes: Sequence[Plane]) -> Tensor:
        """`(N, h, w)` on the device from the planes of N pictures, in their own type."""
        if self._pins:
            try:
                there = _upload(planes, self._device)
                if self._arrived or equal_planes([there.cpu().numpy()], [np.stack(planes)]):
                    self._arrived = True
                    return there
                self._give_up("other values arrive on the device")
            except RuntimeError as error:
                self._give_up(error)
        return torch.from_numpy(np.stack(planes)).to(self._device)

    def mark(self) -> torch.cuda.Event | None:
        """What tells that all that this thread has asked of the device by now is done; `None` where results are there
        at once, or a copy waits by itself.
        """
        return torch.cuda.current_stream(self._device).record_event() if self._pins else None

    def to_host(
        self, pictures: Sequence[tuple[Tensor, ...]], ready: torch.cuda.Event | None
    ) -> Iterator[tuple[Plane, ...]]:
        """The planes of each picture in host memory. The next one is under way while the caller has one.

        Args:
            pictures: of each, planes `(1, h, w)`.
            ready: a `mark` from when all of them had been asked for.
        """
        if ready is None or not pictures:
            yield from map(_copied, pictures)
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_event(ready)
        begun = self._begun(pictures[0], stream)
        for index, planes in enumerate(pictures):
            under_way = begun
            if index + 1 < len(pictures):
                begun = self._begun(pictures[index + 1], stream)
            yield self._done(planes, under_way)
        self._left = True

    def _begun(self, planes: tuple[Tensor, ...], stream: torch.cuda.Stream) -> _Download | None:
        if self._pins:
            try:
                return _Download(planes, stream)
            except RuntimeError as error:
                self._give_up(error)
        return None

    def _done(self, planes: tuple[Tensor, ...], download: _Download | None) -> tuple[Plane, ...]:
        if download is not None and self._pins:
            try:
                arrived = download.wait()
                if self._left or equal_planes(arrived, _copied(planes)):
                    return arrived
                self._give_up("other values arrive in memory")
            except RuntimeError as error:
                self._give_up(error)
        return _copied(planes)

    def _give_up(self, reason: object) -> None:
        if self._pins:
            self._pins = False
            _log.warning("pinned memory does not serve %s: going on with plain copies (%s)", self._device, reason)


class _Download:
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


def _upload(planes: Sequence[Plane], device: torch.device) -> Tensor:
    pinned = _pinned((len(planes), *planes[0].shape), torch.from_numpy(np.empty(0, planes[0].dtype)).dtype)
    np.stack(planes, out=pinned.numpy())
    return pinned.to(device, non_blocking=True)  # torch keeps the memory from others until it was read


def _copied(planes: tuple[Tensor, ...]) -> tuple[Plane, ...]:
    return tuple(plane[0].cpu().numpy() for plane in planes)


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
