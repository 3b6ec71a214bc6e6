"""`Workers`: a pass on a processor, shared out by pictures.

A library that splits each convolution over its threads has them wait for each other some hundred times in a pass. Once
another program takes part of one core, all of them wait for that one. Threads that have pictures of their own wait
once, at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


class Workers:
    """Threads for the pictures of a pass. The caller's own number of torch threads stays as it is.

    Args:
        threads: that may work at the same time. Where there are fewer pictures, each gets several.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def __call__(self, work: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """`work` on each of `images`, `(N, C, H, W)`, and the results put together in their order.

        Small pictures go alone too: without AVX-512 torch rounds differently by how many there are at once.
        """
        results = self.each(work, torch.split(images, 1))
        return results[0] if len(results) == 1 else torch.cat(results)

    def fill(self, work: Callable[[Tensor, Tensor], None], images: Tensor, result: Tensor) -> None:
        """The same for `work` that writes what becomes of its images into its part of `result`, `(N, ...)`."""
        self.each(work, torch.split(images, 1), torch.split(result, 1))

    def each[T](self, work: Callable[..., T], *parts: Sequence[object]) -> list[T]:
        """`work(*arguments)` with the first, the second ... of all `parts`, on all threads; the results in order."""

        def infer(*part: object) -> T:
            with torch.inference_mode():  # of each thread for itself
                return work(*part)

        return list(self._pool(min(len(parts[0]), self.threads)).map(infer, *parts))

    def _pool(self, count: int) -> ThreadPoolExecutor:
        with self._lock:
            if count not in self._pools:
                self._pools[count] = _started(count, self.threads // count)
            return self._pools[count]


def _started(count: int, threads: int) -> ThreadPoolExecutor:
    """A pool of `count` threads for each of which torch uses `threads`."""
    ready = threading.Barrier(count)
    usual = torch.get_num_threads()

    def prepare() -> None:
        torch.set_num_threads(threads)  # of this thread, and, until it is set again, of threads to come
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="esrgan-engine", initializer=prepare)
    list(pool.map(abs, range(count)))  # each submission starts a thread
    torch.set_num_threads(usual)
    return pool
