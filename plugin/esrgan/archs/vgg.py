"""VGG19 (Simonyan & Zisserman 2014, configuration E) as an extractor of features before activation."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of the five blocks; a max-pooling stands between two blocks."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB in 0..1 over ImageNet, which torchvision's weights expect removed."""


def _layers() -> Iterator[tuple[str, int, int, int]]:
    """Name, position in torchvision's `features`, input and output channels of each convolution."""
    position, channels = 0, 3
    for block, (width, count) in enumerate(_BLOCKS, start=1):
        for number in range(1, count + 1):
            yield f"conv{block}_{number}", position, channels, width
            position, channels = position + 2, width  # a ReLU follows each convolution
        position += 1


LAYERS = tuple(name for name, *_ in _layers())
"""Names of the sixteen convolutions, `conv1_1` to `conv5_4`, shallow to deep."""


class VGG19Features(nn.Module):
    """The convolutions of VGG19 up to the deepest layer asked for; frozen.

    The paper compares features *before* activation (section 3.3): activated ones are sparse in deep
    layers and give weak supervision and uneven brightness.

    Args:
        layers: names out of `LAYERS`.
        normalise: remove ImageNet's mean and divide by its standard deviation first.

    Shape: `(N, 3, H, W)`, RGB in 0..1 -> name -> `(N, F, H / 2**b, W / 2**b)`, where b blocks come before.

    Raises:
        ValueError: no layer, or an unknown name; or an image too small for the poolings.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Collection[str], *, normalise: bool = True) -> None:
        super().__init__()
        for name in layers:
            if name not in LAYERS:
                raise ValueError(f"VGG19: no layer {name!r}; the layers are {LAYERS[0]} to {LAYERS[-1]}: {_names()}")
        self.layers = frozenset(layers)
        self.deepest = deepest(layers)
        for name, _, channels, width in _layers():
            self.add_module(name, nn.Conv2d(channels, width, 3, padding=1))
            if name == self.deepest:
                break
        self.normalise = normalise
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The features of each layer asked for, before its activation."""
        if self.normalise:
            x = (x - self.mean) / self.std
        found = {}
        for name, layer in self.named_children():
            if name.endswith("_1") and name != LAYERS[0]:
                x = F.max_pool2d(x, 2)
            x = layer(x)
            if name in self.layers:
                found[name] = x
            # A kept feature must not be overwritten by its activation; the others may.
            x = F.relu(x, inplace=name not in self.layers)
        return found


def deepest(layers: Collection[str]) -> str:
    """The layer of `layers` that comes last in the network.

    Raises:
        ValueError: no layer is given.
    """
    if not layers:
        raise ValueError(f"VGG19: no layer is asked for; choose from {_names()}")
    return max(layers, key=LAYERS.index)


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's `features.N.weight|bias` to `convB_K.weight|bias`; other keys are left out."""
    names = {position: name for name, position, *_ in _layers()}
    renamed = {}
    for key, tensor in state.items():
        found = re.fullmatch(r"features\.(\d+)\.(weight|bias)", key)
        if found and int(found[1]) in names:
            renamed[f"{names[int(found[1])]}.{found[2]}"] = tensor
    return renamed


def deepest_in(state: Mapping[str, Tensor]) -> str | None:
    """The last layer up to which `state` (keys `convB_K.weight|bias`) is without a gap."""
    last = None
    for name in LAYERS:
        if f"{name}.weight" not in state or f"{name}.bias" not in state:
            break
        last = name
    return last


def _names() -> str:
    return ", ".join(LAYERS)
