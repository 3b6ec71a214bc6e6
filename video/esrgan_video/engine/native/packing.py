"""Weights as the kernel wants them: transformed, and padded to whole blocks of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import ResidualDenseBlock, RRDBNet
from esrgan_video.engine.native.library import Layer, Network
from esrgan_video.engine.workers import Workers

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


def pack(network: RRDBNet, workers: Workers) -> PackedNetwork:
    """All layers of `network`, in their order; `workers` share them out."""
    features = network.conv_first.out_channels
    convolutions: list[nn.Module] = [network.conv_first]
    inputs = [[network.conv_first.in_channels]]
    for block in network.modules():
        if isinstance(block, ResidualDenseBlock):
            growth = block.conv1.out_channels
            dense = (block.conv1, block.conv2, block.conv3, block.conv4, block.conv5)
            convolutions.extend(dense)
            inputs.extend([features, *[growth] * index] for index in range(len(dense)))
    stages = [f"conv_up{stage}" for stage in range(1, network.num_stages + 1)]
    names = ("conv_body", *stages, "conv_hr", "conv_last")
    convolutions.extend(network.get_submodule(name) for name in names)
    inputs.extend([features] for _ in names)
    matrix = transform_matrix()
    layers = workers.each(partial(_pack_layer, torch.kron(matrix, matrix)), convolutions, inputs)
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


def _pack_layer(both_ways: Tensor, layer: nn.Module, inputs: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Weights (chunk, point, channel in, channel out in chunk), bias, and channels in.

    Each of the `inputs` that are concatenated begins a block of its own. `both_ways` is `transform_matrix` over rows
    and over columns, `(36, 9)` float64.
    """
    assert isinstance(layer, nn.Conv2d)
    taps = layer.weight.detach().flatten(2).permute(2, 1, 0)  # (9, I, O)
    out_channels = _padded(layer.out_channels)
    padded = torch.zeros(9, sum(map(_padded, inputs)), out_channels)
    place = 0
    for part in torch.split(taps, list(inputs), dim=1):
        padded[:, place : place + part.shape[1], : layer.out_channels] = part
        place += _padded(part.shape[1])
    chunks = []
    for chunk in torch.split(padded, _CHUNK, dim=2):
        points = both_ways @ chunk.flatten(1).double()  # (36, I * O)
        chunks.append(points.float().flatten())
    weights = torch.cat(chunks) if len(chunks) > 1 else chunks[0]
    bias = torch.zeros(out_channels)
    if layer.bias is not None:
        bias[: layer.out_channels] = layer.bias.detach()
    return weights, bias, place


def _padded(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK
