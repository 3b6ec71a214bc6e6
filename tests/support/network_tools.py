"""Networks with the facts that the engine wants, without a file."""

from __future__ import annotations

import torch
from torch import nn

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
