"""OpenVINO: the graph of `esrgan_video.export`, compiled for Intel's and other processors, and for Intel's GPUs."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends.compiled import (
    HOST,
    as_memory_error,
    check_host,
    is_exact_enough,
    memory_for_pixel,
    on_processor,
)
from esrgan_video.engine.backends.config import OpenVINOConfig
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.options import EngineOptions
from esrgan_video.export.int8 import Calibration, check_int8, write_int8_block
from esrgan_video.export.model import ExportOptions, onnx_model

_log = logging.getLogger(__name__)

_LOOK = 100
"""Milliseconds in which Python is not asked for signals: waiting longer, the library would not let it."""
_CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVINOBackend:
    """A network compiled by OpenVINO.

    Args:
        loaded: the network, RRDBNet or SRVGGNetCompact.
        precision: of the convolutions.
        config: as the caller chose.
        threads: processor cores to use.
        calibration: for `int8`.
    """

    name = "openvino"
    device = HOST
    workers = 1
    """Its threads take pieces of work as they get free: they do not wait for each other as torch's do."""

    def __init__(
        self,
        loaded: LoadedNetwork,
        *,
        precision: str,
        config: OpenVINOConfig,
        threads: int | None,
        calibration: Calibration | None = None,
    ) -> None:
        self._loaded = loaded
        self._config = config
        self._threads = threads
        self._calibration = calibration
        self.precision = precision
        self.bytes_per_pixel = memory_for_pixel(loaded, precision)
        self._library = _import_openvino()
        # The library's plugin for processors gives the thread that loads it another stack for signals, and frees it
        # when it is unloaded, in whatever thread that happens: the next signal would kill the process. So it is loaded
        # by a thread that ends.
        with ThreadPoolExecutor(1, thread_name_prefix="esrgan-openvino") as passing:
            self._request = passing.submit(lambda: self._compiled().create_infer_request()).result()
        self._lock = threading.Lock()  # a request holds the tensors of one pass
        self._exact: OpenVINOBackend | None = None

    @property
    def batch_rounds(self) -> bool:
        """As all libraries for GPUs."""
        return not self._config.device.startswith("CPU")

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights."""
        return {
            "backend": self.name,
            "backend's device": self._config.device,
            "precision": self.precision,
            "version of openvino": str(self._library.__version__),
            **({"calibration": self._calibration.digest} if self._calibration else {}),
        }

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32."""
        pixels = images.contiguous().numpy()
        try:
            with self._lock:
                self._request.start_async([pixels], share_inputs=True)
                self._wait()
                return torch.from_numpy(self._request.get_output_tensor().data.copy())
        except RuntimeError as error:
            raise as_memory_error(error) from error

    def _wait(self) -> None:
        """Until the pass is done; Ctrl-C ends it."""
        try:
            while not self._request.wait_for(_LOOK):
                pass
        except BaseException:
            self._request.cancel()
            with contextlib.suppress(RuntimeError):  # "cancelled", or what it failed with
                self._request.wait()
            raise

    def exact(self) -> OpenVINOBackend | None:
        """The same network in float32."""
        if self.precision == "float32":
            return None
        if self._exact is None:
            self._exact = OpenVINOBackend(self._loaded, precision="float32", config=self._config, threads=self._threads)
        return self._exact

    def _compiled(self) -> Any:
        core = self._library.Core()
        device = self._config.device
        if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
            raise UsageError(f"OpenVINO has no device {device!r} here, only {', '.join(core.available_devices)}")
        settings: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": self._hint(core),
            "PERFORMANCE_HINT": "LATENCY",
        }
        if device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads_for(self._threads)
        write_block = None if self._calibration is None else partial(write_int8_block, self._calibration)
        model = onnx_model(self._loaded, ExportOptions(batch=None), write_block=write_block)
        return core.compile_model(core.read_model(model.SerializeToString()), device, settings)

    def _hint(self, core: Any) -> str:
        """Precision of the convolutions that are not in 8 bits."""
        usual = self.precision if self._calibration is None else _fast(self._loaded, self._config)
        device = self._config.device
        if usual == "float16" and device == "CPU" and "FP16" not in core.get_property(device, _CAPABILITIES):
            _log.warning("OpenVINO has no float16 on this processor: it computes in float32")
            usual = "float32"  # left to choose, it would take bfloat16, which is less exact than float16
        return _PRECISIONS[usual]


def build(loaded: LoadedNetwork, options: EngineOptions, config: OpenVINOConfig) -> OpenVINOBackend:
    """The network on OpenVINO's device and in the precision that `options` ask for.

    Raises:
        UsageError: a device that is not there, or an architecture that is not ours.
        MissingExtraError: OpenVINO or the package onnx is not installed.
    """
    check_host(options, OpenVINOBackend.name)
    _import_openvino()

    def make(precision: str) -> OpenVINOBackend:
        return OpenVINOBackend(loaded, precision=precision, config=config, threads=options.threads)

    if options.dtype == "int8":
        check_int8(loaded)
        return OpenVINOBackend(
            loaded, precision="int8", config=config, threads=options.threads, calibration=options.calibration
        )
    if options.dtype != "auto":
        return make(options.dtype)
    fast = _fast(loaded, config)
    if fast != "float32":
        backend = make(fast)
        if is_exact_enough(loaded, backend, fast):
            return backend
    return make("float32")


def _fast(loaded: LoadedNetwork, config: OpenVINOConfig) -> str:
    return on_processor(loaded) if config.device == "CPU" else "float16"


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("backend openvino", "openvino") from None
    return openvino
