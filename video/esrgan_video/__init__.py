"""Upscaling of images and video with ESRGAN weights.

`Upscaler`, `upscale_image` and `upscale_video` are loaded when they are first used, so that importing
the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esrgan_video.engine import EngineOptions as EngineOptions
    from esrgan_video.engine import Upscaler as Upscaler
    from esrgan_video.faces.options import FaceOptions as FaceOptions
    from esrgan_video.faces.restorer import FaceRestorer as FaceRestorer
    from esrgan_video.images import upscale_image as upscale_image
    from esrgan_video.options import VideoOptions as VideoOptions
    from esrgan_video.pipeline import upscale_video as upscale_video
    from esrgan_video.size import OutputSize as OutputSize

_HOMES = {
    "EngineOptions": "esrgan_video.engine",
    "FaceOptions": "esrgan_video.faces.options",
    "FaceRestorer": "esrgan_video.faces.restorer",
    "OutputSize": "esrgan_video.size",
    "Upscaler": "esrgan_video.engine",
    "VideoOptions": "esrgan_video.options",
    "upscale_image": "esrgan_video.images",
    "upscale_video": "esrgan_video.pipeline",
}

__all__ = [
    "EngineOptions",
    "FaceOptions",
    "FaceRestorer",
    "OutputSize",
    "Upscaler",
    "VideoOptions",
    "upscale_image",
    "upscale_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
