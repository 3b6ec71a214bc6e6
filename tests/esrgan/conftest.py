"""Fixtures for the tests of `esrgan`: seeded weights, and other people's networks as oracles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, and far slower where others compute beside the tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def seeded() -> Callable[..., dict[str, Tensor]]:
    """Random values for every tensor of a network, large enough that no layer can be left out unseen."""

    def fill(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {
            key: torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5
            for key, tensor in network.state_dict().items()
        }

    return fill


@pytest.fixture
def image() -> Callable[..., Tensor]:
    """A random image `(1, C, H, W)` with values in 0..1."""

    def make(channels: int = 3, height: int = 8, width: int = 12) -> Tensor:
        return torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(1))

    return make


@pytest.fixture(scope="session")
def spandrel_model() -> Callable[[dict[str, Tensor]], nn.Module]:
    """The network that spandrel builds from a state dict."""
    import spandrel

    def load(state: dict[str, Tensor]) -> nn.Module:
        return spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state)).model.eval()

    return load
