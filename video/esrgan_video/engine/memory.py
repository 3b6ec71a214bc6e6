"""How much memory a network needs for a pixel, and how much there is."""

from __future__ import annotations

import sys

import psutil
import torch
from torch import Tensor, nn

from esrgan.system_memory import available_bytes

_PROBE_SIDE = 16
MARGIN = 3.2
"""Over the largest layer's input and output: the other tensors that are alive (a dense block keeps all its features),
and the copies that convolution libraries make in their own memory layout."""
_SHARE = {"cuda": 0.85, "mps": 0.6, "cpu": 0.5}
"""Part of the free memory that may be used: the decoder, the encoder and other programs need the rest."""
LEAST_BYTES = 128 << 20
"""What the engine plans with on a processor, however much others are going to take: with less, tiles become so small
that nearly all of their pixels are overlap."""


def bytes_per_pixel(network: nn.Module, *, in_channels: int, dtype: torch.dtype, device: torch.device) -> float:
    """Peak bytes that `network` holds at once for one input pixel, with a margin.

    Found by running a small picture through it: the layer whose input and output together are largest
    sets the peak, since what else is alive at that time is covered by the margin.
    """
    side = _PROBE_SIDE
    peak = 0

    def measure(_layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal peak
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        peak = max(peak, sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    leaves = [layer for layer in network.modules() if not any(layer.children())]
    handles = [layer.register_forward_hook(measure) for layer in leaves]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, in_channels, side, side, dtype=dtype, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return peak * MARGIN / side**2


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that the engine may use on `device` now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        available = free + reusable
    elif device.type == "mps":
        available = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    else:
        available = available_bytes()
    return int(available * _SHARE.get(device.type, 0.5))


def peak_memory() -> int:
    """Bytes of memory that this process took at most."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
