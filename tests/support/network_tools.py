"""Networks with the facts that the engine wants, without a file."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import LoadedNetwork, NetworkFacts, save_network


def loaded(network: nn.Module, scale: int) -> LoadedNetwork:
    """A network with the facts that the engine wants."""
    facts = NetworkFacts(
        architecture=type(network).__name__,
        layout="basicsr",
        scale=scale,
        in_channels=3,
        out_channels=3,
        size_multiple=1,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        supports_float16=True,
        supports_bfloat16=True,
        config={},
    )
    return LoadedNetwork(network.eval(), facts)


def small_rrdb(seed: int = 0) -> LoadedNetwork:
    """A tiny RRDBNet x4 with random weights."""
    torch.manual_seed(seed)
    return loaded(RRDBNet(num_feat=8, num_grow_ch=4, num_block=1), 4)


def random_rrdb(scale: int = 4, **sizes: int) -> LoadedNetwork:
    """With weights so large that each layer matters."""
    torch.manual_seed(0)
    network = RRDBNet(scale=scale, **{"num_feat": 16, "num_grow_ch": 16, "num_block": 1, **sizes})
    for name, parameter in network.named_parameters():
        parameter.data.mul_(3.0 if name.startswith("body") else 1.0)
    return loaded(network, scale)


def shallow() -> LoadedNetwork:
    """A x2 network of two convolutions with random weights, which sees 2 pixels around each."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(3, 3, 3, padding=1))
    return loaded(nn.Sequential(*layers).requires_grad_(False), 2)


def reference(network: LoadedNetwork, images: Tensor) -> Tensor:
    """What the network gives in float64."""
    with torch.no_grad():
        return copy.deepcopy(network.network).double()(images.double())


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of `expected`."""
    return ((result.cpu() - expected).square().mean() / expected.square().mean()).sqrt().item()


def noise() -> NDArray[np.uint8]:
    """A picture of 17x12, `(H, W, 3)`."""
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def by_command(network: LoadedNetwork, pixels: NDArray[np.uint8], folder: Path, *options: str) -> NDArray[np.uint8]:
    """What `esrgan upscale` in float32 makes of `pixels`, `(H, W, 3)`, with the network in a file."""
    from esrgan_video.cli.main import main

    source, weights, target = (str(folder / name) for name in ("in.png", "network.safetensors", "out.png"))
    save_network(network, weights)
    Image.fromarray(pixels).save(source)
    assert main(["upscale", source, "-o", target, "-n", weights, "--fp32", *options, "--progress", "none"]) == 0
    with Image.open(target) as image:
        return np.asarray(image)


def check_rounded(written: NDArray[np.uint8], expected: NDArray[np.float64]) -> None:
    """Hold `(H, W, 3)` code values against the exact `(3, H, W)` in 0..1: only ties may round otherwise."""
    difference = written.astype(int) - (expected.clip(0, 1) * 255).round().transpose(1, 2, 0)
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) < difference.size / 1000
