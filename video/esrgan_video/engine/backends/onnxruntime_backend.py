"""onnxruntime: the graph of `esrgan_video.export`, on processors and on NVIDIA's GPUs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends.compiled import HOST, as_memory_error, check_host, is_exact_enough, memory_for_pixel
from esrgan_video.engine.backends.config import OnnxRuntimeConfig
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.options import EngineOptions
from esrgan_video.export.graph import INPUT
from esrgan_video.export.model import ExportOptions, onnx_model

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_PRECISIONS = ("float32", "float16")


class OnnxRuntimeBackend:
    """A network in a session of onnxruntime.

    Args:
        loaded: the network, RRDBNet or SRVGGNetCompact.
        precision: of the convolutions, `float32` or `float16`.
        provider: `cpu`, `cuda` or `tensorrt`.
        threads: processor cores to use.
    """

    name = "onnxruntime"
    device = HOST
    workers = 1

    def __init__(self, loaded: LoadedNetwork, *, precision: str, provider: str, threads: int | None) -> None:
        self._loaded = loaded
        self._provider = provider
        self._threads = threads
        self.precision = precision
        self.bytes_per_pixel = memory_for_pixel(loaded, precision)
        self._library = _import_onnxruntime()
        self._session = self._started()
        # Python takes no notice of Ctrl-C in a thread that is inside the library.
        self._passing = ThreadPoolExecutor(thread_name_prefix="esrgan-onnxruntime")
        self._exact: OnnxRuntimeBackend | None = None

    @property
    def batch_rounds(self) -> bool:
        """As all libraries for GPUs."""
        return self._provider != "cpu"

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights."""
        return {
            "backend": self.name,
            "backend's device": self._provider,
            "precision": self.precision,
            "version of onnxruntime": str(self._library.__version__),
        }

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32."""
        inputs = {INPUT: images.contiguous().numpy()}
        settings = self._library.RunOptions()
        passing = self._passing.submit(self._session.run, None, inputs, settings)
        try:
            (result,) = passing.result()
        except Exception as error:  # the library's have no other base
            raise as_memory_error(error) from error
        except BaseException:  # Ctrl-C: the library looks at this before each layer
            settings.terminate = True
            with contextlib.suppress(Exception):  # "terminate flag", or what it failed with
                passing.result()
            raise
        return torch.from_numpy(result)

    def exact(self) -> OnnxRuntimeBackend | None:
        """The same network in float32."""
        if self.precision == "float32":
            return None
        if self._exact is None:
            self._exact = OnnxRuntimeBackend(
                self._loaded, precision="float32", provider=self._provider, threads=self._threads
            )
        return self._exact

    def _started(self) -> Any:
        settings = self._library.SessionOptions()
        settings.intra_op_num_threads = threads_for(self._threads)
        settings.enable_mem_pattern = False  # a pattern is for one shape, and frames have many
        settings.log_severity_level = 3  # errors
        # Threads that wait by spinning take the cores from the decoder and the encoder.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = onnx_model(self._loaded, ExportOptions(batch=None, half=self.precision == "float16"))
        wanted = _PROVIDERS[self._provider]
        session = self._library.InferenceSession(
            model.SerializeToString(), settings, providers=_with_fallbacks(self._provider)
        )
        if session.get_providers()[0] != wanted:  # onnxruntime only warns, and goes on with the processor
            raise UsageError(f"onnxruntime could not start {wanted}: is its library for the GPU complete?")
        return session


def build(loaded: LoadedNetwork, options: EngineOptions, config: OnnxRuntimeConfig) -> OnnxRuntimeBackend:
    """The network on onnxruntime's provider and in the precision that `options` ask for.

    Raises:
        UsageError: a provider or precision that is not there, or an architecture that is not ours.
        MissingExtraError: onnxruntime or the package onnx is not installed.
    """
    check_host(options, OnnxRuntimeBackend.name)
    provider = _find_provider(config)

    def make(precision: str) -> OnnxRuntimeBackend:
        return OnnxRuntimeBackend(loaded, precision=precision, provider=provider, threads=options.threads)

    if options.dtype != "auto":
        if options.dtype not in _PRECISIONS:
            raise UsageError(f"backend onnxruntime computes in {' or '.join(_PRECISIONS)}, got dtype {options.dtype}")
        return make(options.dtype)
    if provider != "cpu" and loaded.facts.supports_float16:
        backend = make("float16")
        if is_exact_enough(loaded, backend, "float16"):
            return backend
    return make("float32")


def _find_provider(config: OnnxRuntimeConfig) -> str:
    there = _import_onnxruntime().get_available_providers()
    if config.provider == "auto":
        return "cuda" if _PROVIDERS["cuda"] in there else "cpu"
    if _PROVIDERS[config.provider] not in there:
        raise UsageError(f"this onnxruntime has no {_PROVIDERS[config.provider]}, only {', '.join(there)}")
    return config.provider


def _with_fallbacks(provider: str) -> list[str]:
    """TensorRT leaves layers that it does not know to CUDA, and that to the processor."""
    order = ("tensorrt", "cuda", "cpu")
    return [_PROVIDERS[name] for name in order[order.index(provider) :]]


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("backend onnxruntime", "onnxruntime") from None
    return onnxruntime
