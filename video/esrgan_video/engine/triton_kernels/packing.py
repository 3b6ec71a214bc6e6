"""Weights of 3x3 convolutions as the kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

CHANNELS = 16
"""Channels are stored in multiples of these: the smallest side of a matrix in `tl.dot`. Those that are added are 0."""
SPLIT_SCALE = 2.0**11
"""Of the second parts of split weights: they lie as far above zero as the first."""
_BLOCK_N, _BLOCK_N_FLOAT32, _BLOCK_K = 64, 16, 32
"""Largest blocks of a product. In float32 there are no tensor cores, and larger ones do not fit the registers.
`_BLOCK_K` is not among what is measured: with it the order of a sum would change, and with that the last bits."""


@dataclass(frozen=True, kw_only=True)
class PackedConvolution:
    """A 3x3 convolution for the kernel."""

    weights: Tensor
    """`(3, 3, K, N)`: row, column, channel in, channel out, both padded to whole blocks with zeros."""
    bias: Tensor
    """`(N,)` float32."""
    in_channels: int
    """Stored channels that it reads."""
    out_channels: int
    """Stored channels that it makes."""
    block_n: int
    """Channels out that a program makes."""
    block_k: int
    """Channels in that a step multiplies."""
    split: int = 0
    """Channels whose weights are in two parts, the second so many columns behind the first; 0 is none."""


def stored(channels: int) -> int:
    """Channels that `channels` take in memory."""
    return _multiple(channels, CHANNELS)


def pack(layer: nn.Module, inputs: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> PackedConvolution:
    """Pack `layer`, a 3x3 convolution of the concatenated `inputs`: channels of each, which begin in memory where those
    before end in multiples of `CHANNELS`.
    """
    assert isinstance(layer, nn.Conv2d)
    taps = layer.weight.detach().permute(2, 3, 1, 0).float()  # (3, 3, I, O)
    in_channels, out_channels = sum(map(stored, inputs)), stored(layer.out_channels)
    block_k = min(_BLOCK_K, in_channels)
    largest = _BLOCK_N_FLOAT32 if dtype == torch.float32 else _BLOCK_N
    block_n = min(largest, 1 << (out_channels - 1).bit_length())
    weights = torch.zeros(3, 3, _multiple(in_channels, block_k), _multiple(out_channels, block_n))
    place = 0
    for part in torch.split(taps, list(inputs), dim=2):
        weights[:, :, place : place + part.shape[2], : layer.out_channels] = part
        place += stored(part.shape[2])
    bias = torch.zeros(weights.shape[3])
    if layer.bias is not None:
        bias[: layer.out_channels] = layer.bias.detach().float()
    return PackedConvolution(
        weights=weights.to(device, dtype),
        bias=bias.to(device),
        in_channels=in_channels,
        out_channels=out_channels,
        block_n=block_n,
        block_k=block_k,
    )


def pack_split(
    layer: nn.Module, inputs: Sequence[int], *, dtype: torch.dtype, device: torch.device
) -> PackedConvolution:
    """Pack `layer`, whose result is to be as exact as with float32 weights, for products of half precision.

    Each weight is the sum of two numbers of `dtype`, which have 22 bits together in float16 and 16 in bfloat16. The
    second ones, times `SPLIT_SCALE`, are the weights of further channels out, and those are there anyway: a picture has
    3 channels, and the smallest block 16.
    """
    assert isinstance(layer, nn.Conv2d)
    if dtype == torch.float32 or 2 * layer.out_channels > _BLOCK_N:
        return pack(layer, inputs, dtype=torch.float32, device=device)
    weight = layer.weight.detach().float()
    first = weight.to(dtype).float()
    channels = layer.out_channels
    both = nn.Conv2d(layer.in_channels, 2 * channels, 3, padding=1)
    with torch.no_grad():
        both.weight.copy_(torch.cat((first, (weight - first) * SPLIT_SCALE)))
        both.bias.zero_()  # type: ignore[union-attr]
        if layer.bias is not None:
            both.bias[:channels].copy_(layer.bias)  # type: ignore[index]
    return replace(pack(both, inputs, dtype=dtype, device=device), split=channels)


def _multiple(value: int, of: int) -> int:
    return -(-value // of) * of
