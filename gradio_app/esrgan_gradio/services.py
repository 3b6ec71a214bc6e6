"""What all tabs of one app share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esrgan_gradio.catalogue import Catalogue
from esrgan_gradio.device import QUEUE, Device
from esrgan_gradio.options import AppOptions
from esrgan_gradio.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Services:
    """One app's options, files, device and models."""

    options: AppOptions
    workspace: Workspace
    device: Device
    catalogue: Catalogue


DEVICE_EVENT: dict[str, Any] = {
    "concurrency_id": QUEUE,
    "concurrency_limit": 1,
    "preprocess": False,
    "api_visibility": "private",
}
"""Arguments of events that compute: one queue for all, and values as the visitor sent them, checked by us."""
LIGHT_EVENT: dict[str, Any] = {
    "concurrency_id": "light",
    "concurrency_limit": 4,
    "preprocess": False,
    "api_visibility": "private",
}
"""Arguments of events that only look at a file."""
