"""The settings of each backend. Nothing here loads a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackendName = Literal["auto", "torch", "native"]


@dataclass(frozen=True, kw_only=True)
class TorchConfig:
    """PyTorch, on every device that it knows."""


@dataclass(frozen=True, kw_only=True)
class NativeConfig:
    """The float32 kernel of this project, on processors."""


type BackendConfig = TorchConfig | NativeConfig

DEFAULT_CONFIGS: dict[str, BackendConfig] = {"torch": TorchConfig(), "native": NativeConfig()}
"""By the names that `EngineOptions.backend` takes, `auto` aside."""
