"""Devices by their names."""

from __future__ import annotations

import torch

from esrgan.errors import UsageError


def find_device(name: str) -> torch.device:
    """The device that `EngineOptions.device` names.

    Raises:
        UsageError: a device that is unknown or not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: use auto, cpu, mps, cuda or cuda:N") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UsageError(f"no device {name!r}: {count} CUDA device(s) found; use --device cpu or auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("no device 'mps' on this machine; use --device cpu or auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported: use auto, cpu, mps, cuda or cuda:N")
    return device
