"""Networks with the facts that the engine wants, without a file."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import LoadedNetwork, NetworkFacts


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


def reference(network: LoadedNetwork, images: Tensor) -> Tensor:
    """What the network gives in float64."""
    with torch.no_grad():
        return copy.deepcopy(network.network).double()(images.double())


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of `expected`."""
    return ((result.cpu() - expected).square().mean() / expected.square().mean()).sqrt().item()
