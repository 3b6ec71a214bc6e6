"""How much a network computes, and how much the device can."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from esrgan.weights import LoadedNetwork

_SIDE = 32
_MATRIX_SIDE = {"cpu": 1536, "cuda": 8192, "mps": 4096}
_FEWEST, _SECONDS = 7, 1.0
"""Products that are timed, and for how long at least: the first ones of a thread are slow."""


def flops_per_pixel(loaded: LoadedNetwork) -> float:
    """Floating-point operations of convolutions and linear layers for one input pixel; a product and a sum are two.

    Counted while a small picture goes through the network.
    """
    side = -(-_SIDE // loaded.facts.size_multiple) * loaded.facts.size_multiple
    total = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * layer.get_parameter("weight")[0].numel()

    layers = [layer for layer in loaded.network.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            loaded.network(torch.zeros(1, loaded.facts.in_channels, side, side))
    finally:
        for handle in handles:
            handle.remove()
    return total / side**2


def matrix_peak(dtype: torch.dtype, device: torch.device, threads: int) -> float:
    """Floating-point operations a second in a product of large square matrices: what the device does at its best.

    Args:
        dtype: of the matrices.
        device: where they lie.
        threads: of the processor, where it is the device.

    Returns:
        The best of a second's products. Beside other work it is too low, and shares of it too high.
    """
    side = _MATRIX_SIDE.get(device.type, 1536)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times: list[float] = []
        while len(times) < _FEWEST or sum(times) < _SECONDS:
            start = time.perf_counter()
            (one @ other)[0, 0].item()  # waits for the device
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(usual)
    return 2 * side**3 / min(times)


def median_rate(count: int, times: list[float]) -> float:
    """Units a second where each of `times` is for `count` of them."""
    return count / statistics.median(times)
