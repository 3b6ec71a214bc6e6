"""Half precision where it is fast, checked against float32 with the weights at hand."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import threading
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.processor import multiplies_bfloat16
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.options import DType

_log = logging.getLogger(__name__)

MIN_PSNR = 52.0
"""dB against float32 on the probe picture below which `auto` stays with float32. Real frames came out within 2 dB
of the probe, and 50 dB is the promise."""

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PROBE_SIDE = 48


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of `network` whose convolutions run in `dtype`.

    RRDBNet keeps its residual trunk and its last convolution in float32: they cost little and hold
    most of the rounding error.
    """
    copied = copy.deepcopy(network).to(dtype)
    if isinstance(copied, RRDBNet):
        copied.conv_last.float()
    return copied


def choose_dtype(wanted: DType, loaded: LoadedNetwork, device: torch.device) -> torch.dtype:
    """The precision to run in; `auto` is decided by `fast_dtype` and, if that is not float32, by a probe."""
    if wanted != "auto":
        dtype = TORCH_DTYPES[wanted]
        if device.type == "cpu" and dtype == torch.bfloat16 and not multiplies_bfloat16():
            _log.warning("this processor has no bfloat16: in software it is far slower than float32")
        return dtype
    dtype = fast_dtype(device)
    if dtype == torch.float32 or not is_supported(loaded, dtype):
        return torch.float32
    psnr = probe_psnr(loaded, dtype, device)
    _log.info("%s against float32: %.1f dB", str(dtype).removeprefix("torch."), psnr)
    return dtype if psnr >= MIN_PSNR else torch.float32


def fast_dtype(device: torch.device) -> torch.dtype:
    """float16 on GPUs; bfloat16 on processors that multiply it natively, which float16 is emulated on."""
    if device.type == "cpu":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if native() else torch.float32
    return torch.float16


def is_supported(loaded: LoadedNetwork, dtype: torch.dtype) -> bool:
    """Whether the network is known to bear half precision `dtype`."""
    return loaded.facts.supports_float16 if dtype == torch.float16 else loaded.facts.supports_bfloat16


def probe_psnr(loaded: LoadedNetwork, dtype: torch.dtype, device: torch.device) -> float:
    """PSNR in dB between `dtype` and float32 on the probe picture, for values clamped to 0..1."""
    rounded = cast(loaded.network, dtype).to(device)
    return psnr_on_probe(loaded, lambda image: rounded(_input_for(loaded, image, dtype)).float(), device)


def psnr_on_probe(loaded: LoadedNetwork, run: Callable[[Tensor], Tensor], device: torch.device | None = None) -> float:
    """PSNR in dB between `run`, on `device` (the processor by default), and the network in float32.

    On the probe picture, for values clamped to 0..1.
    """
    device = device or torch.device("cpu")
    side = -(-_PROBE_SIDE // loaded.facts.size_multiple) * loaded.facts.size_multiple
    image = probe_picture(side)[:, : loaded.facts.in_channels].to(device)
    with torch.inference_mode():
        exact = copy.deepcopy(loaded.network).to(device)(image)
        return psnr(exact, run(image))


def psnr(exact: Tensor, rounded: Tensor) -> float:
    """PSNR in dB of values clamped to 0..1; 0 where one is not finite."""
    error = (exact.clamp(0, 1) - rounded.clamp(0, 1)).square().mean().item()
    if not math.isfinite(error):
        return 0.0
    return -10 * math.log10(max(error, 1e-12))


def _input_for(loaded: LoadedNetwork, image: Tensor, dtype: torch.dtype) -> Tensor:
    return image if casts_its_input(loaded.network) else image.to(dtype)


def casts_its_input(network: nn.Module) -> bool:
    """Whether `network` takes a float32 image whatever its weights are: ours do, and keep it exact."""
    return type(network).__module__.startswith("esrgan.archs")


class _TF32Switch:
    """cuDNN's permission to round float32 inputs to 10 bits, taken away while any thread is inside.

    The permission belongs to the process, so threads that come and go must not restore it under each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = True

    def forbid(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.backends.cudnn.allow_tf32
                torch.backends.cudnn.allow_tf32 = False
            self._inside += 1

    def restore(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cudnn.allow_tf32 = self._before


_TF32 = _TF32Switch()


@contextlib.contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Keep cuDNN from rounding float32 inputs to 10 bits (TF32), which would not be float32."""
    if device.type != "cuda":
        yield
        return
    _TF32.forbid()
    try:
        yield
    finally:
        _TF32.restore()


def probe_picture(side: int) -> Tensor:
    """A picture `(1, 3, side, side)` in 0..1 with the spectrum of photographs, hard edges and a gradient.

    Always the same, so that a network gets the same precision in every front end.
    """
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(side)
    radius = (frequency[:, None].square() + frequency[None, :].square()).sqrt().clamp_min(1 / side)
    noise = torch.fft.fft2(torch.randn(1, 3, side, side, generator=generator))
    texture: Tensor = torch.fft.ifft2(noise / radius).real  # amplitude ~ 1/f, as in natural images
    texture = 0.5 + 0.18 * texture / texture.std()
    edges = torch.zeros(side, side)
    edges[side // 4 : side // 2, side // 4 :] = 0.6
    edges[side // 2 :, : side // 3] = -0.5
    ramp = torch.linspace(-0.2, 0.2, side)
    picture: Tensor = (texture + edges + ramp).clamp(0, 1)
    return picture
