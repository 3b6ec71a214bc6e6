"""What a measurement was taken on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("esrgan", "torch", "av", "numpy", "openvino", "onnxruntime")


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the system names it."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Of the processor or the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def versions() -> dict[str, str]:
    """Of Python and the packages that speed depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
