"""`StoppableNetwork`: a pass that is wanted no more ends before its next layer."""

from __future__ import annotations

import threading

from torch import Tensor, nn


class StoppedError(Exception):
    """A pass was stopped; nobody waits for its result."""


class StoppableNetwork:
    """Runs a network, looking before each layer whether the pass is still wanted.

    Several threads may run it at once, each with a signal of its own.

    Args:
        network: gets hooks, once; in other hands it runs as before.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._thread = threading.local()
        for module in network.modules():
            if next(module.children(), None) is None:
                module.register_forward_pre_hook(self._check)

    def __call__(self, stopped: threading.Event, images: Tensor) -> Tensor:
        """The network's result, unless another thread sets `stopped`.

        Raises:
            StoppedError: it was set.
        """
        self._thread.stopped = stopped
        try:
            return self._network(images)  # type: ignore[no-any-return]
        finally:
            del self._thread.stopped

    def _check(self, _module: nn.Module, _given: object) -> None:
        stopped = getattr(self._thread, "stopped", None)
        if stopped is not None and stopped.is_set():
            raise StoppedError
