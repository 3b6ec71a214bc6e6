"""Our networks as ONNX graphs: the same layers in the same order as in `esrgan.archs`."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import NEGATIVE_SLOPE, RESIDUAL_SCALE, RRDB, ResidualDenseBlock, RRDBNet
from esrgan_video.export.graph import GraphWriter, Value, array


class WriteBlock(Protocol):
    """Writes a dense block: `x + β * residual(x)`."""

    def __call__(self, writer: GraphWriter, name: str, block: ResidualDenseBlock, x: Value) -> Value:
        """The block's output."""
        ...


def write_network(writer: GraphWriter, network: nn.Module, *, write_block: WriteBlock | None = None) -> Value | None:
    """Write `network`, whose convolutions may be in float16, behind `writer.input`.

    Args:
        writer: takes the nodes.
        network: any.
        write_block: writes the dense blocks of an RRDBNet in another way.

    Returns:
        The output, or `None` for a network that is not one of ours.
    """
    if isinstance(network, RRDBNet):
        return _rrdbnet(writer, network, write_block or write_dense_block)
    if isinstance(network, SRVGGNetCompact):
        return _compact(writer, network)
    return None


def _rrdbnet(writer: GraphWriter, network: RRDBNet, write_block: WriteBlock) -> Value:
    first = writer.cast(_first(writer, network), half=False)  # as the trunk
    features = first
    for index, block in enumerate(network.body):
        assert isinstance(block, RRDB)
        inner = features
        for number in (1, 2, 3):
            inner = write_block(writer, f"body.{index}.rdb{number}", getattr(block, f"rdb{number}"), inner)
        scaled = writer.scaled(f"body.{index}/scaled", inner, RESIDUAL_SCALE)
        features = writer.add(f"body.{index}", features, scaled)
    features = writer.add("trunk", first, _layer(writer, "conv_body", network.conv_body, features))
    for stage in range(1, network.num_stages + 1):
        name = f"conv_up{stage}"
        half = network.conv_hr.weight.dtype == torch.float16
        features = writer.nearest(f"nearest{stage}", writer.cast(features, half=half), 2)
        features = _activated(writer, name, network.get_submodule(name), features)
    features = _activated(writer, "conv_hr", network.conv_hr, features)
    return _layer(writer, "conv_last", network.conv_last, features)


def _first(writer: GraphWriter, network: RRDBNet) -> Value:
    factor, layer = network.unshuffle, network.conv_first
    if factor == 1:
        return _layer(writer, "conv_first", layer, writer.input)
    # SpaceToDepth puts the channels innermost, where pixel-unshuffle puts them outermost: the weights follow.
    unshuffled = Value(writer.node("SpaceToDepth", [writer.input.name], "unshuffle", blocksize=factor))
    features, channels, *sides = layer.weight.shape
    by_pixel = layer.weight.reshape(features, channels // factor**2, factor**2, *sides)
    weight = by_pixel.transpose(1, 2).reshape(features, channels, *sides)
    return writer.convolution("conv_first", unshuffled, weight, layer.bias)


def write_dense_block(writer: GraphWriter, name: str, block: ResidualDenseBlock, x: Value) -> Value:
    """A dense block as it is, in the precision of its weights."""
    inner = writer.cast(x, half=block.conv1.weight.dtype == torch.float16)
    seen = [inner]
    for number in (1, 2, 3, 4):
        joined = writer.concatenate(f"{name}/concat{number}", seen) if number > 1 else inner
        features = _activated(writer, f"{name}.conv{number}", block.get_submodule(f"conv{number}"), joined)
        if number == 2 and block.conv1x1 is not None:
            features = writer.add(f"{name}/plus2", features, _layer(writer, f"{name}.conv1x1", block.conv1x1, inner))
        if number == 4 and block.conv1x1 is not None:
            features = writer.add(f"{name}/plus4", features, seen[2])
        seen.append(features)
    residual = _layer(writer, f"{name}.conv5", block.conv5, writer.concatenate(f"{name}/concat5", seen))
    return writer.add(name, x, writer.scaled(f"{name}/scaled", writer.cast(residual, half=False), RESIDUAL_SCALE))


def _compact(writer: GraphWriter, network: SRVGGNetCompact) -> Value:
    features = writer.input
    for index, layer in enumerate(network.body):
        features = _compact_layer(writer, f"body.{index}", layer, features)
    if network.scale > 1:
        inputs = [features.name]
        shuffled = writer.node("DepthToSpace", inputs, "shuffle", blocksize=network.scale, mode="CRD")
        features = Value(shuffled, features.half)
    return writer.add("sum", features, writer.nearest("nearest", writer.input, network.scale))


def _compact_layer(writer: GraphWriter, name: str, layer: nn.Module, features: Value) -> Value:
    match layer:
        case nn.Conv2d():
            return _layer(writer, name, layer, features)
        case nn.PReLU():
            slopes = writer.constant(f"{name}.weight", array(layer.weight)[:, None, None])
            return Value(writer.node("PRelu", [features.name, slopes], name), features.half)
        case nn.LeakyReLU():
            return writer.leaky_relu(name, features, layer.negative_slope)
        case _:
            return Value(writer.node("Relu", [features.name], name), features.half)


def _layer(writer: GraphWriter, name: str, layer: Any, value: Value) -> Value:
    weight: Tensor = layer.weight
    return writer.convolution(name, value, weight, layer.bias)


def _activated(writer: GraphWriter, name: str, layer: Any, value: Value) -> Value:
    return writer.leaky_relu(f"{name}/leaky", _layer(writer, name, layer, value), NEGATIVE_SLOPE)
