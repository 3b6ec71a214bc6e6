"""`Device`: one job at a time on the processor that the networks run on, and the networks that are ready there."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from esrgan.errors import EngineError, UsageError

if TYPE_CHECKING:
    from esrgan.weights import LoadedNetwork
    from esrgan_video.engine import Upscaler
    from esrgan_video.engine.options import DType
    from esrgan_video.faces.options import FaceOptions
    from esrgan_video.faces.restorer import FaceRestorer

QUEUE = "device"
"""Gradio's name for the queue in which all requests that compute wait."""

_READY = 4
"""Networks, and upscalers, that stay loaded."""
_PATIENCE = 60.0
"""Seconds that the end of the app waits for a batch."""
_POLL = 0.1
"""Seconds between two looks at whether a waiting job is still wanted."""


class Device:
    """Lends upscalers to one job at a time.

    Gradio's queue alone does not keep jobs apart: it lets the next one start when a job is cancelled, which may be
    a batch earlier than that job leaves the processor.

    Args:
        name: as for `EngineOptions.device`.
        backend: as for `esrgan upscale --backend`.
        faces: what restores faces.
    """

    def __init__(self, name: str, *, backend: str = "usual", faces: FaceOptions | None = None) -> None:
        self._name = name
        self._backend = backend
        self._face_options = faces
        self._faces: FaceRestorer | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._networks: OrderedDict[str, LoadedNetwork] = OrderedDict()
        self._upscalers: OrderedDict[tuple[str, int | None], Upscaler] = OrderedDict()

    @property
    def is_closing(self) -> bool:
        """Whether the app is about to end: jobs should."""
        return self._closing.is_set()

    def close(self, seconds: float = _PATIENCE) -> None:
        """Let jobs end, and wait until the one at work has: a process must not end in the middle of a computation."""
        self._closing.set()
        if self._lock.acquire(timeout=seconds):
            self._lock.release()

    @contextlib.contextmanager
    def taken(self, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Wait for the device, then keep it until the block ends; yields `False` if the wait was given up.

        Args:
            is_wanted: asked while waiting.
        """
        while not (held := self._lock.acquire(timeout=_POLL)) and is_wanted() and not self.is_closing:
            pass
        if held and self.is_closing:
            self._lock.release()
            held = False
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Wait for the device, however long that takes, and keep it until the block ends.

        Raises:
            EngineError: the app is about to end.
        """
        with self.taken() as is_taken:
            if not is_taken:
                raise EngineError("this page is about to close; nothing was done")
            yield

    def network(self, source: str) -> LoadedNetwork:
        """The network of a name or path, loaded if need be. Only for who has `taken` the device."""
        from esrgan.weights import load_network

        return _kept(self._networks, source, lambda: load_network(source, progress="none"))

    def upscaler(self, source: str, tile: int | None = None) -> Upscaler:
        """The network of a name or path at work. Only for who has `taken` the device."""
        return _kept(self._upscalers, (source, tile), lambda: self.place(self.network(source), tile))

    def faces(self, strength: float, upscaler: Upscaler) -> FaceRestorer | None:
        """What restores faces beside `upscaler`, loaded if need be. Only for who has `taken` the device.

        Args:
            strength: 0 is not at all.
            upscaler: tells where it runs.

        Raises:
            UsageError: faces are not on offer.
        """
        if not strength:
            return None
        if self._face_options is None:
            raise UsageError("faces are not restored here: start the demo with --faces MODEL")
        if self._faces is None:
            from esrgan_video.faces.restorer import FaceRestorer

            self._faces = FaceRestorer(self._face_options, upscaler.device)
        return self._faces.with_strength(strength)

    def place(self, network: LoadedNetwork, tile: int | None = None, dtype: DType = "auto") -> Upscaler:
        """An upscaler that is not kept."""
        from esrgan_video.engine import EngineOptions, Upscaler
        from esrgan_video.engine.backends.config import parse_backend

        options = EngineOptions(backend=parse_backend(self._backend), device=self._name, tile=tile, dtype=dtype)
        return Upscaler(network, options)


def _kept[Key, Value](ready: OrderedDict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    if key not in ready:
        ready[key] = make()
    ready.move_to_end(key)
    while len(ready) > _READY:
        ready.popitem(last=False)
    return ready[key]
