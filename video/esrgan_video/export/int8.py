"""8-bit integers for the dense blocks of RRDBNet, which are nine tenths of its work.

The first convolution, the one behind the blocks, the upsampler and the residual trunk keep their precision: they cost
little, and most of the error of an integer network comes from them.

One scale serves all that a block's convolutions read, so that their concatenation is one of integers. Channels differ
in range, and a scale for the largest would leave few bits to the others. So each channel is divided by its own range
when it is written, and the weights that read it are multiplied by it: leaky ReLU is homogeneous, so that changes
nothing but the rounding (cross-layer equalisation: Nagel et al. 2019, arXiv:1906.04721, section 4.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esrgan.archs.rrdbnet import NEGATIVE_SLOPE, RESIDUAL_SCALE, ResidualDenseBlock, RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.guard import busiest_crops
from esrgan_video.engine.precision import psnr
from esrgan_video.export.graph import GraphWriter, Value, array

CROP_SIDE = 64
"""Of the part of each frame that is looked at, where its neighbouring pixels differ most."""
_LARGEST = 127
_LEAST_SHARE = 1 / 64
"""Of the widest channel of a block, that a channel's range is taken for at least: in other frames it may be wider."""
_MARGIN = 2**0.5
"""That a range gets for what other frames hold. Measured with the default network on seven photographs and a drawing:
where a range is exceeded 6 dB are lost, and the margin costs 0.5."""
_STEPS = 16
"""Ranges are rounded up to powers of 2 ** (1 / 16), so that the last bits of sums do not change them."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the dense blocks of a network see in some frames."""

    ranges: Mapping[str, Tensor]
    """Of each block, by its name in the network: the largest magnitude of each channel that its last convolution reads,
    with a margin, `(num_feat + 4 * num_grow_ch,)`."""
    crops: tuple[Tensor, ...]
    """The parts of the frames that were looked at, `(1, 3, h, w)` in 0..1."""
    expected: tuple[Tensor, ...]
    """What the float32 network makes of them, `(1, 3, h * scale, w * scale)`."""

    @property
    def digest(self) -> str:
        """The beginning of a hash of the ranges."""
        found = hashlib.sha256()
        for name, values in sorted(self.ranges.items()):
            found.update(name.encode())
            found.update(values.numpy().tobytes())
        return found.hexdigest()[:16]

    def psnr(self, upscale: Callable[[Tensor], Tensor]) -> float:
        """PSNR in dB of `upscale` against float32 over all crops; an `Upscaler`, but without `tta` and `pre_pad`."""
        results = [upscale(crop).cpu().flatten() for crop in self.crops]
        return psnr(torch.cat([part.flatten() for part in self.expected]), torch.cat(results))


def check_int8(loaded: LoadedNetwork) -> RRDBNet:
    """The network, if it has dense blocks that can be in 8 bits.

    Raises:
        UsageError: it has not.
    """
    network = loaded.network
    if not isinstance(network, RRDBNet):
        raise UsageError(f"dtype int8 is for the dense blocks of RRDBNet, not for {loaded.facts.architecture}")
    if any(block.conv1x1 is not None for block in network.modules() if isinstance(block, ResidualDenseBlock)):
        raise UsageError("dtype int8 is for the dense blocks of ESRGAN, not for those of ESRGAN+")
    return network


@torch.inference_mode()
def calibrate(loaded: LoadedNetwork, frames: Iterable[Tensor]) -> Calibration:
    """Run a network on some frames in float32, and note how wide its channels are.

    Args:
        loaded: the network, an RRDBNet.
        frames: `(N, 3, H, W)` or `(3, H, W)`, RGB in 0..1: what is to be upscaled, or like it. Eight are enough.

    Raises:
        UsageError: another architecture, or no frame.
    """
    network = check_int8(loaded)
    crops = [_crop(image[None], loaded) for batch in frames for image in (batch if batch.ndim == 4 else batch[None])]
    if not crops:
        raise UsageError("dtype int8 is calibrated on frames, got none")
    ranges: dict[str, Tensor] = {}

    def note(name: str, _layer: nn.Module, inputs: tuple[Tensor]) -> None:
        seen = inputs[0].abs().amax((0, 2, 3))
        ranges[name] = torch.maximum(ranges[name], seen) if name in ranges else seen

    handles = [
        block.conv5.register_forward_pre_hook(partial(note, name))
        for name, block in network.named_modules()
        if isinstance(block, ResidualDenseBlock)
    ]
    try:
        expected = [_run(loaded, crop) for crop in crops]
    finally:
        for handle in handles:
            handle.remove()
    return Calibration({name: _rounded_up(seen) for name, seen in ranges.items()}, tuple(crops), tuple(expected))


def _crop(image: Tensor, loaded: LoadedNetwork) -> Tensor:
    image = image.cpu().float()
    missing = [max(0, loaded.facts.size_multiple - side) for side in image.shape[-2:]]
    if any(missing):
        image = F.pad(image, (0, missing[1], 0, missing[0]), mode="replicate")
    crop = busiest_crops(image, CROP_SIDE)
    height, width = (side - side % loaded.facts.size_multiple for side in crop.shape[-2:])
    return crop[..., :height, :width].contiguous()


def _run(loaded: LoadedNetwork, image: Tensor) -> Tensor:
    if loaded.facts.in_channels == 1:  # as the engine does: each channel is a picture of its own
        result: Tensor = loaded.network(image.transpose(0, 1)).transpose(0, 1)
    else:
        result = loaded.network(image)
    return result


def _rounded_up(seen: Tensor) -> Tensor:
    wide = seen.clamp_min(seen.max().clamp_min(1e-6) * _LEAST_SHARE)
    return torch.exp2(((wide * _MARGIN).log2() * _STEPS).ceil() / _STEPS)


def write_int8_block(
    calibration: Calibration, writer: GraphWriter, name: str, block: ResidualDenseBlock, x: Value
) -> Value:
    """A dense block whose convolutions read and hold 8-bit integers; the residual joins the trunk in float32."""
    ranges = calibration.ranges[name]
    features, growth = block.conv1.in_channels, block.conv1.out_channels
    shares = writer.constant(f"{name}/shares", array(1 / ranges[:features])[None, :, None, None])
    seen = [_whole(writer, f"{name}/x", writer.node("Mul", [x.name, shares], f"{name}/equalised"))]
    for number in (1, 2, 3, 4):
        wide = features + growth * number
        made = _convolution(
            writer,
            f"{name}.conv{number}",
            block.get_submodule(f"conv{number}"),
            _real(writer, f"{name}/concat{number}", seen),
            reads=ranges[: wide - growth],
            writes=ranges[wide - growth : wide],
        )
        active = writer.leaky_relu(f"{name}.conv{number}/leaky", Value(made), NEGATIVE_SLOPE)
        seen.append(_whole(writer, f"{name}/x{number}", active.name))
    residual = _convolution(
        writer,
        f"{name}.conv5",
        block.conv5,
        _real(writer, f"{name}/concat5", seen),
        reads=ranges,
        writes=torch.full((features,), 1 / RESIDUAL_SCALE),
    )
    return writer.add(name, x, Value(residual))


def _whole(writer: GraphWriter, name: str, value: str) -> str:
    """-1..1 to 8-bit integers."""
    return writer.node("QuantizeLinear", [value, *_scale(writer)], f"{name}/int8")


def _real(writer: GraphWriter, name: str, parts: list[str]) -> str:
    """8-bit integers joined, and back, which runtimes take as the order to compute what follows with integers.

    Joined first: what OpenVINO 2026.4 makes of several parts that are each taken back is wrong on processors without
    AMX, where it gives integers an offset (24 dB in place of 50).
    """
    joined = writer.node("Concat", parts, name, axis=1) if len(parts) > 1 else parts[0]
    return writer.node("DequantizeLinear", [joined, *_scale(writer)], f"{name}/real")


def _scale(writer: GraphWriter) -> tuple[str, str]:
    """The names of the step between two integers, and of the integer that is 0."""
    return (
        writer.constant("int8/scale", np.asarray(1 / _LARGEST, np.float32)),
        writer.constant("int8/zero", np.asarray(0, np.int8)),
    )


def _convolution(writer: GraphWriter, name: str, layer: Any, value: str, *, reads: Tensor, writes: Tensor) -> str:
    """`layer` for inputs that were divided by `reads` and outputs that are to be divided by `writes`."""
    weight = layer.weight.detach() * reads[None, :, None, None] / writes[:, None, None, None]
    scale = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / _LARGEST
    whole = (weight / scale[:, None, None, None]).round().to(torch.int8)
    real = writer.node(
        "DequantizeLinear",
        [
            writer.constant(f"{name}.weight", array(whole)),
            writer.constant(f"{name}.scale", array(scale)),
            writer.constant(f"{name}.zero", np.zeros(len(scale), np.int8)),
        ],
        f"{name}/real",
        axis=0,
    )
    bias = writer.constant(f"{name}.bias", array(layer.bias.detach() / writes))
    return writer.node("Conv", [value, real, bias], name, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
