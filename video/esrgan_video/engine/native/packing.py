"""Weights as the kernel wants them: transformed, and padded to whole blocks of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import ResidualDenseBlock, RRDBNet
from esrgan_video.engine.native.library import Layer, Network

_BLOCK = 16  # channels, as in winograd.h
_CHUNK = 2 * _BLOCK
_POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2.0), -math.sqrt(2.0))
"""And infinity. As in kernel.inl."""


@dataclass(frozen=True)
class PackedNetwork:
    """An RRDBNet for `Library.run`."""

    network: Network
    tensors: Sequence[Tensor]
    """What `network` points at."""


def pack(network: RRDBNet) -> PackedNetwork:
    """All layers of `network`, in their order."""
    features = network.conv_first.out_channels
    layers = [_pack_layer(network.conv_first, [network.conv_first.in_channels])]
    for block in network.modules():
        if isinstance(block, ResidualDenseBlock):
            inputs = [features]
            for conv in (block.conv1, block.conv2, block.conv3, block.conv4, block.conv5):
                layers.append(_pack_layer(conv, inputs))
                inputs.append(block.conv1.out_channels)
    stages = [f"conv_up{stage}" for stage in range(1, network.num_stages + 1)]
    names = ("conv_body", *stages, "conv_hr", "conv_last")
    layers.extend(_pack_layer(network.get_submodule(name), [features]) for name in names)
    table = (Layer * len(layers))(
        *(
            Layer(weights.data_ptr(), bias.data_ptr(), in_channels // _BLOCK, len(bias) // _BLOCK)
            for weights, bias, in_channels in layers
        )
    )
    packed = Network(
        table,
        network.conv_first.in_channels,
        network.conv_last.out_channels,
        len(network.body),
        network.num_stages,
    )
    return PackedNetwork(packed, [tensor for weights, bias, _ in layers for tensor in (weights, bias)])


def transform_matrix() -> Tensor:
    """G of the algorithm, `(6, 3)` float64: from the taps of a filter to its values at the points.

    Row p holds the powers of p over the product of its distances to the other points; infinity takes the last tap.
    """
    rows = [
        [point**power / math.prod(point - other for other in _POINTS if other != point) for power in range(3)]
        for point in _POINTS
    ]
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)


def _pack_layer(layer: nn.Module, inputs: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Weights (chunk, point, channel in, channel out in chunk), bias, and channels in.

    Each of the `inputs` that are concatenated begins a block of its own.
    """
    assert isinstance(layer, nn.Conv2d)
    taps = layer.weight.detach().double()  # (O, I, 3, 3)
    out_channels = _padded(layer.out_channels)
    padded = torch.zeros((out_channels, sum(map(_padded, inputs)), 3, 3), dtype=torch.float64)
    place = 0
    for part in torch.split(taps, list(inputs), dim=1):
        padded[: layer.out_channels, place : place + part.shape[1]] = part
        place += _padded(part.shape[1])
    matrix = transform_matrix()
    points = torch.einsum("ik,ockl,jl->ijco", matrix, padded, matrix).float().flatten(0, 1)  # (36, I, O)
    weights = torch.cat([chunk.flatten() for chunk in torch.split(points, _CHUNK, dim=2)])
    bias = torch.zeros(out_channels)
    if layer.bias is not None:
        bias[: layer.out_channels] = layer.bias.detach()
    return weights, bias, padded.shape[1]


def _padded(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK
