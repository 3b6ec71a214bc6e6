"""The browser demo: upscaling of images and video, network interpolation, and what is known of the weights.

`AppOptions`, `build_app` and `launch_app` are loaded when they are first used. Nothing here imports gradio before
an app is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esrgan_gradio.app import build_app as build_app
    from esrgan_gradio.launch import launch_app as launch_app
    from esrgan_gradio.options import AppOptions as AppOptions

_HOMES = {
    "AppOptions": "esrgan_gradio.options",
    "build_app": "esrgan_gradio.app",
    "launch_app": "esrgan_gradio.launch",
}

__all__ = ["AppOptions", "build_app", "launch_app"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
