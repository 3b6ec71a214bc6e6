"""The settings of each backend. Nothing here loads a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from esrgan.errors import UsageError

BackendName = Literal["usual", "torch", "openvino", "onnxruntime", "native", "triton", "auto"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt"]

BACKEND_HELP = (
    "library that runs the network: usual (torch; native on a processor), torch, openvino, onnxruntime, "
    "native, triton (kernels for CUDA devices, 2.5 times as fast as torch on an H100), or auto for the fastest one "
    "that is installed, measured once; openvino:GPU and onnxruntime:cuda name a device of theirs (default: %(default)s)"
)
"""Of the option `--backend`."""


@dataclass(frozen=True, kw_only=True)
class TorchConfig:
    """PyTorch, on every device that it knows."""

    graphs: bool = False
    """On CUDA: whether passes of a shape that comes again are captured and replayed as a CUDA graph."""


@dataclass(frozen=True, kw_only=True)
class OpenVINOConfig:
    """OpenVINO, on Intel's and other processors and on Intel's GPUs."""

    device: str = "CPU"
    """Name of a device of OpenVINO's: `CPU`, `GPU`, `GPU.1` …"""


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeConfig:
    """onnxruntime, on processors and on NVIDIA's GPUs."""

    provider: Provider = "auto"
    """`cpu`, `cuda`, `tensorrt`, or `auto`: CUDA where this build of onnxruntime has it, else the processor."""

    def __post_init__(self) -> None:
        if self.provider not in get_args(Provider):
            raise UsageError(f"onnxruntime's provider must be one of {_listed(Provider)}, got {self.provider!r}")


@dataclass(frozen=True, kw_only=True)
class NativeConfig:
    """The float32 kernel of this project, on processors."""

    kernel: str | None = None
    """Instruction set: `avx512`, `avx2` or `portable`; `None` takes the fastest one that this processor has."""


@dataclass(frozen=True, kw_only=True)
class TritonConfig:
    """RRDBNet in Triton kernels of this project, on CUDA devices."""

    graphs: bool = True
    """As `TorchConfig.graphs`: a pass of the usual network is 351 launches."""


type BackendConfig = TorchConfig | OpenVINOConfig | OnnxRuntimeConfig | NativeConfig | TritonConfig

DEFAULT_CONFIGS: dict[str, BackendConfig] = {
    "torch": TorchConfig(),
    "openvino": OpenVINOConfig(),
    "onnxruntime": OnnxRuntimeConfig(),
    "native": NativeConfig(),
    "triton": TritonConfig(),
}
"""By the names that `EngineOptions.backend` takes, `usual` and `auto` aside."""


def parse_backend(text: str) -> BackendName | BackendConfig:
    """`openvino`, or with a device of its own: `openvino:GPU`, `onnxruntime:cuda`.

    Raises:
        UsageError: an unknown name, or a device for a backend that has none of its own.
    """
    name, separator, device = text.partition(":")
    if name not in get_args(BackendName):
        raise UsageError(f"backend must be one of {_listed(BackendName)}, got {name!r}")
    if not separator:
        return name  # type: ignore[return-value]
    match name:
        case "openvino":
            return OpenVINOConfig(device=device.upper())
        case "onnxruntime":
            return OnnxRuntimeConfig(provider=device.lower())  # type: ignore[arg-type]
        case _:
            raise UsageError(f"backend {name} has no device of its own, got {text!r}: use --device")


def _listed(names: object) -> str:
    return ", ".join(get_args(names))
