"""How much memory a network needs for a pixel, and how much there is."""

from __future__ import annotations

import copy
import logging
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_log = logging.getLogger(__name__)

_PROBE_SIDE = 64
_UNKNOWN_BYTES_PER_PIXEL = 65536.0
"""For a network that cannot run on meta tensors: twice what the largest common one needs."""
_WORKSPACE = 1.6
"""Convolution libraries reorder inputs and outputs; peak measured at 23 blocks on CPU, over the live tensors."""
_SHARE = {"cuda": 0.85, "mps": 0.6, "cpu": 0.5}
"""Part of the free memory that may be used: the decoder, the encoder and other programs need the rest."""


def bytes_per_pixel(network: nn.Module, *, in_channels: int, dtype: torch.dtype) -> float:
    """Peak bytes that `network` holds at once for one input pixel, found by a dry run without computing.

    The network runs on meta tensors, which have shapes but no contents, while every tensor that is
    alive is counted.
    """
    side = _PROBE_SIDE
    try:
        shadow = copy.deepcopy(network).to("meta")
        with torch.inference_mode(), _LivePeak() as live:
            shadow(torch.empty(1, in_channels, side, side, dtype=dtype, device="meta"))
    except (RuntimeError, NotImplementedError) as error:
        _log.debug("no dry run on meta tensors: %s", error)
        return _UNKNOWN_BYTES_PER_PIXEL
    return float(live.peak) * _WORKSPACE / side**2


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that the engine may use on `device` now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        available = free + reusable
    elif device.type == "mps":
        available = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    else:
        available = min(psutil.virtual_memory().available, _free_in_control_group())
    return int(available * _SHARE.get(device.type, 0.5))


def _free_in_control_group(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes left in this container's limit (Linux control groups v2); huge when there is no limit."""
    try:
        limit = int((root / "memory.max").read_text())
        return max(0, limit - int((root / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 62


class _LivePeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are alive, and remembers the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._live = 0
        self._users: Counter[int] = Counter()  # tensors alive on each storage: views share one

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._count(value)
        self.peak = max(self.peak, self._live)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()  # noqa: SLF001 - the storage's only stable identity
        if not self._users[key]:
            self._live += size
        self._users[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            self._live -= size
