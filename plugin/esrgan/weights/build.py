"""Hyper-parameters from the shapes of tensors, and the network with those tensors in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import WeightsError
from esrgan.weights.facts import LoadedNetwork, NetworkFacts
from esrgan.weights.layouts import Layout, shown

_MAX_CHANNELS = 4096
"""More features than this in one layer is a damaged or hostile file."""

_SCALES = (1, 2, 4, 8, 16)


def build_network(state: Mapping[str, Tensor], layout: Layout) -> LoadedNetwork:
    """The RRDBNet or SRVGGNetCompact that `state` (BasicSR's names) belongs to. Float32 tensors are not copied.

    Raises:
        WeightsError: a tensor is missing, of the wrong shape, or one too many; the message names it.
    """
    return _build_compact(state) if layout == "compact" else _build_rrdbnet(state, layout)


def _build_rrdbnet(state: Mapping[str, Tensor], layout: Layout) -> LoadedNetwork:
    num_feat, first_channels = _conv_channels(state, "conv_first.weight")
    num_out_ch, _ = _conv_channels(state, "conv_last.weight")
    num_grow_ch, _ = _conv_channels(state, "body.0.rdb1.conv1.weight")
    num_block = _count(state, "body.", ".rdb1.conv1.weight", start=0)
    stages = _count(state, "conv_up", ".weight", start=1)
    unshuffle = _unshuffle(first_channels, num_out_ch, stages)
    scale = 2**stages // unshuffle
    if scale not in _SCALES:
        raise WeightsError(f"{stages} upsampling layers make x{scale}, but the largest scale known is x{_SCALES[-1]}")
    config = {
        "num_in_ch": first_channels // unshuffle**2,
        "num_out_ch": num_out_ch,
        "scale": scale,
        "num_feat": num_feat,
        "num_block": num_block,
        "num_grow_ch": num_grow_ch,
        "unshuffle": unshuffle,
    }
    plus = any(".conv1x1." in key for key in state)
    network = _filled(lambda: RRDBNet(**config, plus=plus), state)
    return LoadedNetwork(network, _facts(network, "RRDBNet", layout, {**config, "plus": plus}))


def _build_compact(state: Mapping[str, Tensor]) -> LoadedNetwork:
    num_feat, channels = _conv_channels(state, "body.0.weight")
    last = max(int(key.split(".")[1]) for key in state)
    if last < 2 or last % 2:
        raise WeightsError(
            f"SRVGGNetCompact ends with body.N.weight of an even N from 2 on, this file with body.{last}"
        )
    if not any(int(key.split(".")[1]) % 2 for key in state):
        raise WeightsError(
            "SRVGGNetCompact without PReLU weights (body.1.weight): whether it was trained with ReLU or LeakyReLU "
            "cannot be told from the file"
        )
    shuffled, _ = _conv_channels(state, f"body.{last}.weight")
    upscale = math.isqrt(shuffled // channels)
    if upscale < 1 or channels * upscale**2 != shuffled:
        raise WeightsError(f"'body.{last}.weight' gives {shuffled} channels: not {channels} times a square")
    config = {
        "num_in_ch": channels,
        "num_out_ch": channels,
        "num_feat": num_feat,
        "num_conv": last // 2 - 1,
        "upscale": upscale,
    }
    network = _filled(lambda: SRVGGNetCompact(**config, act_type="prelu"), state)
    return LoadedNetwork(network, _facts(network, "SRVGGNetCompact", "compact", {**config, "act_type": "prelu"}))


def _unshuffle(first_channels: int, out_channels: int, stages: int) -> int:
    """Factor of the pixel-unshuffle in front: Real-ESRGAN's x2 and x1 take 4 and 16 times the image's channels.

    A network that would give a smaller image than it takes is read as one with many input channels.
    """
    for factor in (2, 4):
        if first_channels == out_channels * factor**2 and factor <= 2**stages:
            return factor
    return 1


def _conv_channels(state: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    """Output and input channels of a 3x3 convolution."""
    if key not in state:
        raise WeightsError(f"{shown(key)} is missing")
    shape = tuple(state[key].shape)
    if len(shape) != 4 or shape[2:] != (3, 3):
        raise WeightsError(f"{shown(key)} has shape {shape}, expected that of a 3x3 convolution (out, in, 3, 3)")
    if not (1 <= shape[0] <= _MAX_CHANNELS and 1 <= shape[1] <= _MAX_CHANNELS):
        raise WeightsError(f"{shown(key)} has shape {shape}: channels must be 1 to {_MAX_CHANNELS}")
    return shape[0], shape[1]


def _count(state: Mapping[str, Tensor], head: str, tail: str, *, start: int) -> int:
    """How many numbers from `start` on have a key `head` + number + `tail`; a gap is an error."""
    numbers = {int(key[len(head) :].split(".")[0]) for key in state if key.startswith(head)}
    for number in range(start, start + len(numbers)):
        if f"{head}{number}{tail}" not in state:
            raise WeightsError(f"'{head}{number}{tail}' is missing, but there are higher numbers")
    return len(numbers)


def _filled[Network: nn.Module](construct: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """Construct without memory, compare every name and shape, and only then put the tensors in."""
    with torch.device("meta"):
        network = construct()
    expected = network.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            raise WeightsError(f"{shown(key)} is missing")
        if state[key].shape != tensor.shape:
            raise WeightsError(
                f"{shown(key)} has shape {tuple(state[key].shape)}, but the other layers need {tuple(tensor.shape)}"
            )
        if not state[key].is_floating_point():
            raise WeightsError(f"{shown(key)} holds {state[key].dtype}, expected floating-point numbers")
    for key in state:
        if key not in expected:
            raise WeightsError(f"{shown(key)} is not part of {type(network).__name__}")
    values = {key: state[key].detach().to("cpu", torch.float32).contiguous() for key in expected}
    network.load_state_dict(values, assign=True)
    return network.eval().requires_grad_(False)


def _facts(
    network: nn.Module, architecture: str, layout: Layout, config: Mapping[str, int | str | bool]
) -> NetworkFacts:
    return NetworkFacts(
        architecture=architecture,
        layout=layout,
        scale=int(config.get("scale", config.get("upscale", 1))),
        in_channels=int(config["num_in_ch"]),
        out_channels=int(config["num_out_ch"]),
        size_multiple=int(config.get("unshuffle", 1)),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        supports_float16=True,
        supports_bfloat16=True,
        config=MappingProxyType(dict(config)),
    )
