"""What a caller needs to know of a network, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """Properties of a network that were read from its weights, never from a file's name."""

    architecture: str
    """`RRDBNet`, `SRVGGNetCompact`, or the name that spandrel gives."""
    layout: str
    """Naming scheme of the file: `basicsr`, `official-2018`, `old`, `compact`, or `spandrel`."""
    scale: int
    """Size ratio of output to input."""
    in_channels: int
    """Channels of the image that the network takes (before any pixel-unshuffle)."""
    out_channels: int
    """Channels of the image that it gives."""
    size_multiple: int
    """Height and width of the input must be multiples of this."""
    parameters: int
    """Number of weights and biases."""
    supports_float16: bool
    """Whether float16 is known to be safe for this architecture."""
    supports_bfloat16: bool
    """Whether bfloat16 is known to be safe for this architecture."""
    config: Mapping[str, int | str | bool]
    """Constructor arguments that rebuild the network; empty for a network of spandrel's."""
    face_side: int | None = None
    """Height and width of the aligned face that the network restores; `None` where it takes any image."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode on the CPU in float32, and its facts."""

    network: nn.Module
    """`(N, in_channels, H, W)` -> `(N, out_channels, H * scale, W * scale)`, RGB in 0..1, not clamped."""
    facts: NetworkFacts
