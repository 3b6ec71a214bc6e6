"""The exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Set average to decay · average + (1 − decay) · network, all parameters at once; copy the buffers.

    Args:
        average: a network of the same architecture; changed in place.
        network: the one in training.
        decay: 0..1; 0 copies.
    """
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        # Running statistics and power-iteration vectors are averages themselves.
        for mine, current in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(current)
