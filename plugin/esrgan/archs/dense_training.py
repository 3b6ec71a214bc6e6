"""A residual dense block in training, with one buffer where plain autograd keeps every concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def dense_residual(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], negative_slope: float) -> Tensor:
    """Five 3x3 convolutions, each of which sees the outputs of all before it; leaky ReLUs behind the first four.

    The arithmetic is that of the concatenations written out. They overlap, though: all that gradients need is the last,
    from which the others are cut again. With 64 features and a growth of 32 that is 192 numbers a pixel where plain
    autograd keeps 704.

    Args:
        x: `(N, C, H, W)`.
        weights: of growth G: four times `(G, C + k * G, 3, 3)`, then `(C, C + 4 * G, 3, 3)`; in the type of `x`.
        biases: of the same convolutions.
        negative_slope: of the leaky ReLUs.

    Returns:
        `(N, C, H, W)`, which can be differentiated once.
    """
    result: Tensor = _DenseResidual.apply(x, negative_slope, *weights, *biases)  # type: ignore[no-untyped-call]
    return result


class _DenseResidual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, negative_slope: float, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[:5], parameters[5:]
        features, growth = x.shape[1], weights[0].shape[0]
        size = (x.shape[0], features + 4 * growth, *x.shape[2:])
        together = _layout(x)
        buffer = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=together)
        buffer[:, :features] = x
        for index in range(4):
            end = features + index * growth
            seen = buffer[:, :end].contiguous(memory_format=together)
            grown = F.conv2d(seen, weights[index], biases[index], padding=1)
            buffer[:, end : end + growth] = F.leaky_relu(grown, negative_slope, inplace=True)
        ctx.save_for_backward(buffer, *weights)
        ctx.features, ctx.growth, ctx.negative_slope = features, growth, negative_slope
        return F.conv2d(buffer, weights[4], biases[4], padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        buffer, *weights = ctx.saved_tensors
        together = _layout(buffer)
        of_weights: list[Tensor | None] = [None] * 5
        of_biases: list[Tensor | None] = [None] * 5
        # What leaks through a ReLU is told by the sign of its output.
        whole, of_weights[4], of_biases[4] = _convolution_backward(gradient, buffer, weights[4])
        for index in range(3, -1, -1):
            end = ctx.features + index * ctx.growth
            part = slice(end, end + ctx.growth)
            # Without gaps: torch's passes over channels-last memory with gaps take 40 times as long on a processor.
            outer = whole[:, part].contiguous(memory_format=together)
            outputs = buffer[:, part].contiguous(memory_format=together)
            inner = torch.ops.aten.leaky_relu_backward(outer, outputs, ctx.negative_slope, True)
            seen = buffer[:, :end].contiguous(memory_format=together)
            of_seen, of_weights[index], of_biases[index] = _convolution_backward(inner, seen, weights[index])
            whole[:, :end] += of_seen
        return whole[:, : ctx.features], None, *of_weights, *of_biases


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the input, the weight and the bias."""
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, True]
    )
    return cast("tuple[Tensor, Tensor, Tensor]", found)


def _layout(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last
