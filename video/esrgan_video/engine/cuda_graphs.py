"""CUDA graphs: the launches of a pass, recorded once for a shape and repeated as one."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

_KEPT = 4
"""Graphs that are kept. They share their working memory; each has its own input and result."""
_REMEMBERED = 16
_TOLERANCE = 1e-2
"""Between a graph's values and those of the pass that it repeats: libraries may choose another way of computing, and
round differently in half precision. What reads or writes the wrong memory is further off."""

type Pass = Callable[[Tensor], Tensor]
type Record = Callable[[Pass, Tensor, Any], tuple[Callable[[], None], Tensor]]
"""From a pass, its input and a pool of memory to what repeats it, and where the result then lies."""


@dataclass(frozen=True)
class _Recorded:
    """A pass whose input and result stay where they are."""

    source: Tensor
    result: Tensor
    replay: Callable[[], None]


class GraphedPass:
    """A pass that is recorded when its shape comes for the second time, and replayed from the third time on.

    The first time is the warm-up that recording asks for, and pictures that are alone in their size cost no memory. The
    second time the graph is held against the pass. Where recording fails or the graph gives other values, a warning
    says so, and passes go on as they were.

    Args:
        run: the pass: launches work on the device, the same for each input of a shape, and does not wait for it. Its
            result shares no memory with its input.
        kept: graphs that are kept, those that were used last.
        record: records `run`.
    """

    def __init__(self, run: Pass, *, kept: int = _KEPT, record: Record | None = None) -> None:
        self._run = run
        self._kept = kept
        self._record = record or record_cuda
        self._recorded: OrderedDict[torch.Size, _Recorded] = OrderedDict()
        self._seen: deque[torch.Size] = deque(maxlen=_REMEMBERED)
        self._pool: Any = None
        self._done: torch.cuda.Event | None = None  # when the last replay's result was copied
        self._given_up = False
        self._lock = threading.Lock()

    def __call__(self, images: Tensor) -> Tensor:
        """The result for `images`, in memory of its own."""
        with self._lock, torch.inference_mode():
            if images.shape in self._recorded:
                self._recorded.move_to_end(images.shape)
                return self._replayed(self._recorded[images.shape], images)
            result = self._plain(images)
            if images.shape in self._seen:
                self._try_to_record(images, result)
            elif not self._given_up:
                self._seen.append(images.shape)
            return result

    def _replayed(self, found: _Recorded, images: Tensor) -> Tensor:
        stream = _stream_of(images.device)
        if stream is not None and self._done is not None:
            stream.wait_event(self._done)  # graphs share their memory, and the last caller may have another stream
        found.source.copy_(images)
        found.replay()
        result = found.result.clone(memory_format=torch.contiguous_format)
        if stream is not None:
            self._done = stream.record_event()
        return result

    def _try_to_record(self, images: Tensor, expected: Tensor) -> None:
        """Record the pass for the shape of `images`, and see whether it still gives what is `expected`."""
        source = torch.empty_like(images, memory_format=torch.contiguous_format).copy_(images)
        try:
            replay, result = self._record(self._run, source, self._pool_of(images.device))
            found = _Recorded(source, result, replay)
            if not torch.allclose(self._replayed(found, images), expected, rtol=0, atol=_TOLERANCE, equal_nan=True):
                self._give_up(images, "it gives other values")
                return
        except RuntimeError as error:
            self._give_up(images, error)
            return
        self._recorded[images.shape] = found
        while len(self._recorded) > self._kept:  # after recording, which waits for all that the device does
            self._recorded.popitem(last=False)

    def _give_up(self, images: Tensor, reason: object) -> None:
        _log.warning("no CUDA graph of a pass of %s: going on without (%s)", tuple(images.shape), reason)
        self._given_up = True
        self._forget()

    def _plain(self, images: Tensor) -> Tensor:
        try:
            return self._run(images)
        except torch.OutOfMemoryError:
            if not self._recorded:
                raise
            _log.info("out of memory: giving back what CUDA graphs hold")
        self._forget()
        return self._run(images)

    def _pool_of(self, device: torch.device) -> Any:
        if self._pool is None and device.type == "cuda":
            self._pool = torch.cuda.graph_pool_handle()
        return self._pool

    def _forget(self) -> None:
        self._recorded.clear()
        self._seen.clear()
        self._pool = None
        torch.cuda.empty_cache()


def _stream_of(device: torch.device) -> torch.cuda.Stream | None:
    """The stream that this thread launches on; `None` where there are none."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def record_cuda(run: Pass, source: Tensor, pool: Any) -> tuple[Callable[[], None], Tensor]:
    """Record `run(source)` as a CUDA graph.

    Raises:
        RuntimeError: the pass does something that cannot be recorded, or memory does not suffice.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream(source.device)
    # The outer context restores the stream where recording fails half-way. Other threads decode and encode: what they
    # ask of the device meanwhile is theirs alone.
    with torch.cuda.stream(stream), torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        result = run(source)
    return graph.replay, result
