"""The kernel: a 3x3 convolution as a product of matrices, and all that follows it in RRDBNet.

Importing this module needs Triton. With `TRITON_INTERPRET=1` in the environment at that time the kernel runs on the
processor, one operation after the other, to check its values.
"""

# No "from __future__ import annotations" here: Triton reads the annotations of kernels as they are.

import threading
from typing import Any

import torch
import triton  # noqa: TID253 - nothing imports this module unless its backend was asked for
import triton.language as tl  # noqa: TID253
from torch import Tensor

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether the kernel of this process is interpreted."""

NO_BASE, BASE, BASE_AND_OUTER = 0, 1, 2
"""What a convolution is added to."""

_CONFIGS = [
    triton.Config({"BLOCK_M": block}, num_warps=warps, num_stages=stages)
    for block, warps, stages in ((64, 4, 4), (128, 4, 3), (128, 4, 4), (128, 8, 3), (256, 8, 3))
]
_INTERPRETED_BLOCK = 128
_HALO = 2
"""Pixels of a block whose results its program does not store."""


@triton.jit(do_not_specialize=["pixels", "height", "width", "size_class"])
def _convolution(
    source,
    weights,
    bias,
    target,
    base,
    outer,
    trunk,
    pixels,
    height,
    width,
    source_stride,
    target_stride,
    trunk_stride,
    size_class,  # noqa: ARG001 - what the choice of a configuration depends on
    FACTOR: tl.constexpr,
    SCALE: tl.constexpr,
    SLOPE: tl.constexpr,
    K: tl.constexpr,
    N: tl.constexpr,
    PADDED_K: tl.constexpr,
    PADDED_N: tl.constexpr,
    SPLIT: tl.constexpr,
    SPLIT_SCALE: tl.constexpr,
    ENLARGE: tl.constexpr,
    ADDED: tl.constexpr,
    KEEP_TRUNK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """`target[:, :N] = epilogue(conv3x3(source[:, :K]))` for pixels that lie one behind the other in memory.

    The three taps of a row are three products with the same block of pixels, each summed for itself: a block is read
    once for them. Their sums belong to pixels one to the left, none and one to the right, so each is moved by as many
    rows of the block before they are added, and the first and the last row of the block are thrown away.
    """
    row = tl.arange(0, BLOCK_M)
    pixel = tl.program_id(0) * (BLOCK_M - 2) - 1 + row
    inside = (pixel >= 0) & (pixel < pixels)
    x = pixel % width
    line = pixel // width
    y = line % height
    left = tl.full((BLOCK_M, BLOCK_N), 0.0, tl.float32)
    middle = tl.full((BLOCK_M, BLOCK_N), 0.0, tl.float32)
    right = tl.full((BLOCK_M, BLOCK_N), 0.0, tl.float32)
    chunks: tl.constexpr = PADDED_K // BLOCK_K
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    for step in range(3 * chunks):
        dy = step // chunks
        k = step % chunks * BLOCK_K + tl.arange(0, BLOCK_K)
        above = y + dy - 1
        if ENLARGE:  # the source has half the rows and columns
            place = (line // height * (height // 2) + above // 2) * (width // 2) + x // 2
        else:
            place = pixel + (dy - 1) * width
        valid = inside & (above >= 0) & (above < height)
        values = tl.load(
            source + place.to(tl.int64)[:, None] * source_stride + k[None, :],
            mask=valid[:, None] & (k < K)[None, :],
            other=0.0,
        ).to(FACTOR)
        taps = weights + (dy * 3 * PADDED_K + k[:, None]) * PADDED_N + column[None, :]
        left = tl.dot(values, tl.load(taps).to(FACTOR), left, input_precision="ieee")
        middle = tl.dot(values, tl.load(taps + PADDED_K * PADDED_N).to(FACTOR), middle, input_precision="ieee")
        right = tl.dot(values, tl.load(taps + 2 * PADDED_K * PADDED_N).to(FACTOR), right, input_precision="ieee")

    before = tl.broadcast_to(tl.maximum(row - 1, 0)[:, None], (BLOCK_M, BLOCK_N))
    after = tl.broadcast_to(tl.minimum(row + 1, BLOCK_M - 1)[:, None], (BLOCK_M, BLOCK_N))
    result = middle + tl.load(bias + column)[None, :]
    result += tl.where((x > 0)[:, None], tl.gather(left, before, 0), 0.0)
    result += tl.where((x < width - 1)[:, None], tl.gather(right, after, 0), 0.0)
    if SPLIT:  # the other parts of the weights made columns of their own
        other = tl.minimum(tl.arange(0, BLOCK_N) + SPLIT, BLOCK_N - 1)
        result += tl.gather(result, tl.broadcast_to(other[None, :], (BLOCK_M, BLOCK_N)), 1) / SPLIT_SCALE
    result = tl.where(result > 0, result, result * SLOPE)

    stored = ((row > 0) & (row < BLOCK_M - 1) & (pixel < pixels))[:, None] & (column < N)[None, :]
    of_trunk = pixel.to(tl.int64)[:, None] * trunk_stride + column[None, :]
    if ADDED:
        result = tl.load(base + of_trunk, mask=stored, other=0.0) + SCALE * result
    if ADDED == 2:
        result = tl.load(outer + of_trunk, mask=stored, other=0.0) + SCALE * result
    if KEEP_TRUNK:
        tl.store(trunk + of_trunk, result, mask=stored)
    place_in_target = pixel.to(tl.int64)[:, None] * target_stride + column[None, :]
    tl.store(target + place_in_target, result.to(target.dtype.element_ty), mask=stored)


_tuned = (
    None
    if INTERPRETED
    else triton.autotune(
        configs=_CONFIGS,
        key=["size_class", "K", "N", "ENLARGE", "ADDED"],
        restore_value=["trunk"],  # the trunk is added to in place, and each configuration runs many times
        cache_results=True,
    )(_convolution)
)
_lock = threading.Lock()  # the interpreter and the choice of a configuration keep what they do in one place


def launch(source: Tensor, weights: Tensor, *tensors: Tensor, pixels: int, **given: Any) -> None:
    """Run the kernel; its arguments are those of `_convolution`, without those that are chosen here."""
    # Shapes of about the same size share a configuration: a folder of pictures would be measured one by one else.
    given |= {"pixels": pixels, "size_class": pixels.bit_length(), "FACTOR": _factor(weights.dtype)}
    columns = given["PADDED_N"] // given["BLOCK_N"]
    with _lock:
        if _tuned is None:
            grid = (-(-pixels // (_INTERPRETED_BLOCK - _HALO)), columns)
            _convolution[grid](source, weights, *tensors, BLOCK_M=_INTERPRETED_BLOCK, **given)
        else:
            _tuned[lambda chosen: (-(-pixels // (chosen["BLOCK_M"] - _HALO)), columns)](
                source, weights, *tensors, **given
            )


def _factor(dtype: torch.dtype) -> Any:
    """Type of what is multiplied. The interpreter takes the bits of bfloat16 for integers: it gets the same values in
    float32, in which their products are exact."""
    if dtype == torch.float16:
        return tl.float16
    return tl.bfloat16 if dtype == torch.bfloat16 and not INTERPRETED else tl.float32
