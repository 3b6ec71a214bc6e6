"""RRDBNet in the order of its layers: one kernel launch for each convolution and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from esrgan.archs.rrdbnet import NEGATIVE_SLOPE, RESIDUAL_SCALE, RRDB, ResidualDenseBlock, RRDBNet
from esrgan_video.engine.triton_kernels.packing import SPLIT_SCALE, PackedConvolution, pack, pack_split, stored

_MAX_PIXELS = (1 << 31) - 1
"""Pixels are counted in 32 bits."""


class PackedRRDBNet:
    """An RRDBNet whose tensors are NHWC, and whose dense blocks have one buffer each.

    A buffer `(N, H, W, F + 4 G)` holds a block's input and the outputs of its first four convolutions, each of which
    reads the channels before its own. The fifth adds the float32 trunk and writes the rounded sum into the buffer of
    the block that comes next, so two buffers do for all of them.

    Args:
        network: the network; not that of ESRGAN+.
        dtype: of the convolutions. The trunk is in float32, and so are the weights and sums of the last convolution.
        device: where they run.
    """

    def __init__(self, network: RRDBNet, *, dtype: torch.dtype, device: torch.device) -> None:
        features = network.conv_first.out_channels
        self._dtype = dtype
        self._unshuffle = network.unshuffle
        self._in_channels = network.conv_first.in_channels
        self._out_channels = network.conv_last.out_channels

        def packed(name: str, inputs: Sequence[int]) -> PackedConvolution:
            return pack(network.get_submodule(name), inputs, dtype=dtype, device=device)

        self._first = packed("conv_first", [self._in_channels])
        self._blocks = [
            [_pack_block(dense, dtype, device) for dense in (block.rdb1, block.rdb2, block.rdb3)]
            for block in network.body
            if isinstance(block, RRDB)
        ]
        self._body = packed("conv_body", [features])
        self._stages = [packed(f"conv_up{stage}", [features]) for stage in range(1, network.num_stages + 1)]
        self._hr = packed("conv_hr", [features])
        self._last = pack_split(network.conv_last, [features], dtype=dtype, device=device)
        self._features = stored(features)
        self._width = self._features + sum(layer.out_channels for layer in self._blocks[0][0][:4])

    def bytes_per_pixel(self) -> float:
        """Memory that a pass takes at its peak for one input pixel, its input and result included."""
        value, single = self._dtype.itemsize, torch.float32.itemsize
        enlarged = 1 << 2 * len(self._stages)
        trunk = 3 * single * self._features + 2 * value * self._width
        layer = 2 * value * self._features * enlarged
        result = value * self._features * enlarged + 2 * single * self._out_channels * enlarged
        fixed = 2 * single * stored(self._in_channels)
        return (max(trunk, layer, result) + fixed) / self._unshuffle**2

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` float32 -> `(N, C, H * scale, W * scale)` float32, channels last in memory.

        Raises:
            MemoryError: too many pixels to be counted in 32 bits.
        """
        image = self._input(images)
        count, height, width, _ = image.shape
        if count * height * width << 2 * len(self._stages) > _MAX_PIXELS:
            raise MemoryError("the result has too many pixels")
        x = self._trunk(image)
        for layer in self._stages:
            x = self._activated(layer, x, enlarge=True)
        x = self._activated(self._hr, x)
        result = self._empty(x, self._out_channels, torch.float32)
        _convolve(self._last, x, result)
        return result.permute(0, 3, 1, 2)

    def _input(self, images: Tensor) -> Tensor:
        """`(N, H, W, C)` as it is stored: unshuffled, rounded, padded with channels of zeros."""
        images = F.pixel_unshuffle(images, self._unshuffle).permute(0, 2, 3, 1)
        image = images.new_zeros((*images.shape[:3], stored(self._in_channels)), dtype=self._dtype)
        image[..., : self._in_channels].copy_(images)
        return image

    def _trunk(self, image: Tensor) -> Tensor:
        """All that runs at the size of the input: `(N, H, W, F)`."""
        here, there = (self._empty(image, self._width, self._dtype) for _ in range(2))
        first, outer, inner = (self._empty(image, self._features, torch.float32) for _ in range(3))
        _convolve(self._first, image, here, trunk=first)
        entering = first
        for one, two, three in self._blocks:
            self._dense(one, here)
            _convolve(one[4], here, there, scale=RESIDUAL_SCALE, base=entering, trunk=inner)
            self._dense(two, there)
            _convolve(two[4], there, here, scale=RESIDUAL_SCALE, base=inner, trunk=inner)
            self._dense(three, here)
            _convolve(three[4], here, there, scale=RESIDUAL_SCALE, base=inner, outer=entering, trunk=outer)
            here, there = there, here
            entering = outer
        result = self._empty(image, self._features, self._dtype)
        _convolve(self._body, here, result, base=first)
        return result

    def _dense(self, layers: Sequence[PackedConvolution], buffer: Tensor) -> None:
        """The first four convolutions of a block."""
        for layer in layers[:4]:
            _convolve(layer, buffer, buffer[..., layer.in_channels :], slope=NEGATIVE_SLOPE)

    def _activated(self, layer: PackedConvolution, x: Tensor, *, enlarge: bool = False) -> Tensor:
        count, height, width, _ = x.shape
        times = 2 if enlarge else 1
        result = x.new_empty((count, height * times, width * times, self._features))
        _convolve(layer, x, result, slope=NEGATIVE_SLOPE, enlarge=enlarge)
        return result

    @staticmethod
    def _empty(like: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
        return like.new_empty((*like.shape[:3], channels), dtype=dtype)


def _pack_block(block: ResidualDenseBlock, dtype: torch.dtype, device: torch.device) -> list[PackedConvolution]:
    inputs = [block.conv1.in_channels]
    packed = []
    for layer in (block.conv1, block.conv2, block.conv3, block.conv4, block.conv5):
        packed.append(pack(layer, inputs, dtype=dtype, device=device))
        inputs.append(block.conv1.out_channels)
    return packed


def _convolve(
    layer: PackedConvolution,
    source: Tensor,
    target: Tensor,
    *,
    slope: float = 1.0,
    scale: float = 1.0,
    base: Tensor | None = None,
    outer: Tensor | None = None,
    trunk: Tensor | None = None,
    enlarge: bool = False,
) -> None:
    """`target = outer + scale * (base + scale * activated(layer(source)))`, rounded; `trunk` gets it in float32.

    Args:
        layer: the convolution.
        source: `(N, H, W, C)`, of which the first channels are read.
        target: `(N, H, W, C)`, of which the first channels are written; not where `source` is read.
        slope: of the leaky ReLU; 1 is none.
        scale: of what is added to `base`, and again to `outer`.
        base: float32, `(N, H, W, C)`; without it `target` is the activated layer alone.
        outer: the same; without it `target` is `base + scale * ...`.
        trunk: the same; it may be one of those that are added.
        enlarge: whether each pixel of `source` counts as 2 x 2.
    """
    from esrgan_video.engine.triton_kernels import convolution

    count, height, width, _ = target.shape
    added = convolution.NO_BASE
    if base is not None:
        added = convolution.BASE if outer is None else convolution.BASE_AND_OUTER
    unused = layer.bias
    one_of_trunk = base if base is not None else trunk
    convolution.launch(
        source,
        layer.weights,
        layer.bias,
        target,
        unused if base is None else base,
        unused if outer is None else outer,
        unused if trunk is None else trunk,
        pixels=count * height * width,
        height=height,
        width=width,
        source_stride=source.stride(2),
        target_stride=target.stride(2),
        trunk_stride=0 if one_of_trunk is None else one_of_trunk.stride(2),
        SCALE=scale,
        SLOPE=slope,
        K=layer.in_channels,
        N=min(layer.out_channels, target.shape[3]),
        PADDED_K=layer.weights.shape[2],
        PADDED_N=layer.weights.shape[3],
        SPLIT=layer.split,
        SPLIT_SCALE=SPLIT_SCALE,
        ENLARGE=enlarge,
        ADDED=added,
        KEEP_TRUNK=trunk is not None,
        BLOCK_N=layer.block_n,
        BLOCK_K=layer.block_k,
    )
