"""What backends share that compile an ONNX graph."""

from __future__ import annotations

import logging
from typing import Protocol

import torch
from torch import Tensor

from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.memory import bytes_per_pixel
from esrgan_video.engine.options import DType, EngineOptions
from esrgan_video.engine.precision import (
    MIN_PSNR,
    TORCH_DTYPES,
    cast,
    casts_its_input,
    fast_dtype,
    is_supported,
    psnr_on_probe,
)

_log = logging.getLogger(__name__)

HOST = torch.device("cpu")
"""Where these backends take images and leave results, wherever they compute."""


class Pass(Protocol):
    """One pass of a network: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32, in host memory."""

    def __call__(self, images: Tensor) -> Tensor:
        """Run it."""
        ...


def check_host(options: EngineOptions, name: str) -> None:
    """These backends have device names of their own.

    Raises:
        UsageError: `options` name a device of torch's that is not the processor.
    """
    if options.device not in ("auto", "cpu"):
        raise UsageError(
            f"device {options.device!r} is one of torch's: with backend {name}, write its own, as openvino:GPU or "
            "onnxruntime:cuda"
        )


def on_processor(loaded: LoadedNetwork) -> DType:
    """bfloat16 where the processor multiplies it natively and the network is known to bear it, else float32."""
    dtype = fast_dtype(HOST)
    return "bfloat16" if dtype == torch.bfloat16 and is_supported(loaded, dtype) else "float32"


def is_exact_enough(loaded: LoadedNetwork, run: Pass, label: str) -> bool:
    """Whether `run` keeps to the bound for automatic precision on the probe picture."""
    psnr = psnr_on_probe(loaded, run)
    _log.info("%s against float32: %.1f dB", label, psnr)
    return psnr >= MIN_PSNR


def memory_for_pixel(loaded: LoadedNetwork, precision: str) -> float:
    """Bytes for an input pixel: what torch would need, which was the more wherever both were measured."""
    dtype = TORCH_DTYPES.get(precision, torch.bfloat16)
    network = cast(loaded.network, dtype)
    return bytes_per_pixel(
        network,
        in_channels=loaded.facts.in_channels,
        dtype=torch.float32 if casts_its_input(network) else dtype,
        device=HOST,
    )


def as_memory_error(error: Exception) -> Exception:
    """`MemoryError` for what these libraries raise when an allocation fails, else `error`."""
    text = str(error).lower()
    return MemoryError(str(error)) if "bad_alloc" in text or "allocat" in text or "out of memory" in text else error
