"""The project's own Triton kernels: RRDBNet with one launch for a convolution and all that follows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

import torch
from torch import Tensor

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends.config import TorchConfig, TritonConfig
from esrgan_video.engine.backends.torch_backend import TorchBackend
from esrgan_video.engine.cuda_graphs import GraphedPass
from esrgan_video.engine.devices import find_device
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.precision import MIN_PSNR, TORCH_DTYPES, is_supported, psnr_on_probe
from esrgan_video.engine.triton_kernels.network import PackedRRDBNet

_log = logging.getLogger(__name__)

_MEMORY_MARGIN = 1.2
"""Over what is allocated: pieces that the allocator cannot use."""


class TritonBackend:
    """An RRDBNet in Triton kernels, NHWC, with a float32 trunk and last convolution.

    Args:
        loaded: the network.
        dtype: of the convolutions.
        device: a CUDA device, or the processor where the kernels are interpreted.
        config: as the caller chose.
    """

    name = "triton"
    workers = 1

    def __init__(
        self, loaded: LoadedNetwork, *, dtype: torch.dtype, device: torch.device, config: TritonConfig
    ) -> None:
        network = loaded.network
        assert isinstance(network, RRDBNet)
        self._loaded = loaded
        self._dtype = dtype
        self.device = device
        self._packed = PackedRRDBNet(network, dtype=dtype, device=device)
        self._pass = GraphedPass(self._packed) if config.graphs and device.type == "cuda" else self._packed
        self.bytes_per_pixel = self._packed.bytes_per_pixel() * _MEMORY_MARGIN
        self._exact: TorchBackend | None = None

    @property
    def precision(self) -> str:
        """Precision of the convolutions."""
        return str(self._dtype).removeprefix("torch.")

    @property
    def batch_rounds(self) -> bool:
        """Blocks are chosen by the number of pixels in a pass: nobody has shown yet that no bit depends on them."""
        return self.device.type != "cpu"

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights."""
        return {"backend": self.name, "precision": self.precision, "version of triton": version("triton")}

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32."""
        if self.device.type != "cuda":
            return self._pass(images)
        with torch.cuda.device(self.device):  # Triton launches on the current one
            return self._pass(images)

    def exact(self) -> TorchBackend | None:
        """The network in torch's float32, which is faster than these kernels' and the reference besides."""
        if self._dtype == torch.float32:
            return None
        if self._exact is None:
            self._exact = TorchBackend(self._loaded, dtype=torch.float32, device=self.device, config=TorchConfig())
        return self._exact


def computes(loaded: LoadedNetwork) -> bool:
    """Whether these kernels are for this network: an RRDBNet, but not that of ESRGAN+."""
    return isinstance(loaded.network, RRDBNet) and not _is_plus(loaded.network)


def _is_plus(network: RRDBNet) -> bool:
    return any(name.endswith("conv1x1.weight") for name, _ in network.named_parameters())


def build(loaded: LoadedNetwork, options: EngineOptions, config: TritonConfig) -> TritonBackend:
    """The network on a CUDA device, in the precision that `options` ask for.

    `auto` is float16 where the network is known to bear it and these kernels keep to the bound on the probe picture.

    Raises:
        UsageError: a device that is not CUDA's, or a network that these kernels do not compute.
        MissingExtraError: Triton is not installed.
    """
    if not isinstance(loaded.network, RRDBNet):
        raise UsageError(
            f"backend triton runs RRDBNet only, and this network is {loaded.facts.architecture}: use backend torch"
        )
    if _is_plus(loaded.network):
        raise UsageError("backend triton does not run the dense blocks of ESRGAN+: use backend torch")
    if find_spec("triton") is None:
        raise MissingExtraError("backend triton", "triton")
    from esrgan_video.engine.triton_kernels.convolution import INTERPRETED

    device = find_device(options.device)
    if device.type != "cuda" and not (INTERPRETED and device.type == "cpu"):
        raise UsageError(
            f"backend triton needs a CUDA device, and device {options.device!r} is {device.type}: use backend usual "
            "(TRITON_INTERPRET=1 in the environment interprets its kernels on the processor, to check their values)"
        )
    if options.dtype != "auto":
        return TritonBackend(loaded, dtype=TORCH_DTYPES[options.dtype], device=device, config=config)
    if is_supported(loaded, torch.float16):
        backend = TritonBackend(loaded, dtype=torch.float16, device=device, config=config)
        if INTERPRETED:  # the probe would take minutes
            return backend
        psnr = psnr_on_probe(loaded, backend, device)
        _log.info("float16 in Triton against float32: %.1f dB", psnr)
        if psnr >= MIN_PSNR:
            return backend
    return TritonBackend(loaded, dtype=torch.float32, device=device, config=config)
