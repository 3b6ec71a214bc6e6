"""A mean over the batches of all processes, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all processes. Each gradient reaches every process, so they are summed too."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of `values` over their elements and over all processes; differentiable.

    Every process must hold as many values, and must call this, and go backward through it, in the same
    order. Without an initialised process group it is `values.mean()`.

    With `DistributedDataParallel`, which averages gradients over the processes, a loss that uses this mean
    has the gradient of one process with the joined batch.

    Shape: any -> a scalar.
    """
    mean = values.mean()
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return mean
    total: Tensor = _SumOverRanks.apply(mean)  # type: ignore[no-untyped-call]
    return total / distributed.get_world_size()
