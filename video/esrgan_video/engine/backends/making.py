"""From options to a backend."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends import native_backend
from esrgan_video.engine.backends.automatic import choose_backend
from esrgan_video.engine.backends.base import Backend
from esrgan_video.engine.backends.config import (
    DEFAULT_CONFIGS,
    BackendConfig,
    NativeConfig,
    OnnxRuntimeConfig,
    OpenVINOConfig,
    TorchConfig,
    TritonConfig,
)
from esrgan_video.engine.devices import find_device
from esrgan_video.engine.options import EngineOptions

_HOMES: dict[type[Any], str] = {
    TorchConfig: "torch_backend",
    OpenVINOConfig: "openvino_backend",
    OnnxRuntimeConfig: "onnxruntime_backend",
    NativeConfig: "native_backend",
    TritonConfig: "triton_backend",
}
"""Modules beside this one. Each has `build(loaded, options, config) -> Backend`."""


def make_backend(loaded: LoadedNetwork, options: EngineOptions) -> Backend:
    """The backend that `options` name, ready to run `loaded`.

    Raises:
        UsageError: a device or precision that it does not have.
        MissingExtraError: its library is not installed.
    """
    if options.dtype == "int8":
        if options.calibration is None:
            raise UsageError(
                "dtype int8 needs to see some frames: EngineOptions(calibration=calibrate(network, frames))"
            )
        config = options.backend if isinstance(options.backend, OpenVINOConfig) else OpenVINOConfig()
        return _build(loaded, options, config)
    if options.backend == "usual":
        return _usual(loaded, options)
    if options.backend == "auto":
        return choose_backend(loaded, options, lambda name: _build(loaded, options, DEFAULT_CONFIGS[name]))
    return _build(
        loaded, options, DEFAULT_CONFIGS[options.backend] if isinstance(options.backend, str) else options.backend
    )


def _usual(loaded: LoadedNetwork, options: EngineOptions) -> Backend:
    """PyTorch, or on processors the project's own kernel: faster in float32 than PyTorch is, even in bfloat16."""
    on_processor = find_device(options.device).type == "cpu" and options.dtype in ("auto", "float32")
    if on_processor and native_backend.is_worth_it(loaded):
        return _build(loaded, options, NativeConfig())
    return _build(loaded, options, TorchConfig())


def _build(loaded: LoadedNetwork, options: EngineOptions, config: BackendConfig) -> Backend:
    home = f"{__package__}.{_HOMES[type(config)]}"
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        raise UsageError(f"backend {options.backend!r} is not part of this build: use another --backend") from None
    backend: Backend = module.build(loaded, options, config)
    return backend
