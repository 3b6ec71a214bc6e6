"""The engine: a batch of frames in, a batch of larger frames out. Every front end runs this one.

`Upscaler` and `Plan` are loaded when they are first used: commands that only parse their options need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from esrgan_video.engine.options import DType, EngineOptions

if TYPE_CHECKING:
    from esrgan_video.engine.planner import Plan
    from esrgan_video.engine.upscaler import Upscaler

_HOMES = {"Plan": "esrgan_video.engine.planner", "Upscaler": "esrgan_video.engine.upscaler"}

__all__ = ["DType", "EngineOptions", "Plan", "Upscaler"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
