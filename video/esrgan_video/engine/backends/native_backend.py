"""The project's own float32 kernel: the same network with a quarter of the multiplications."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends.config import NativeConfig
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.devices import find_device
from esrgan_video.engine.native.library import PORTABLE, Library, find_library
from esrgan_video.engine.native.packing import pack
from esrgan_video.engine.native.workspaces import Workspaces
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.workers import Workers

_log = logging.getLogger(__name__)

_MIN_FEATURES = 16
"""Of networks that are faster here than in torch: channels are computed in blocks of as many."""
_USUAL_SIDE = 256
"""Pictures of this size stand for all where memory is planned: larger ones need less for a pixel."""


class NativeBackend:
    """An RRDBNet by Winograd's F(4x4, 3x3) in float32.

    A picture's values do not depend on the number of threads or on the pictures beside it.

    Args:
        loaded: the network.
        library: the compiled part.
        kernel: name of one of its kernels.
        threads: processor cores to use.
    """

    name = "native"
    precision = "float32"
    device = torch.device("cpu")
    batch_rounds = False

    def __init__(self, loaded: LoadedNetwork, *, library: Library, kernel: str, threads: int | None = None) -> None:
        network = loaded.network
        assert isinstance(network, RRDBNet)
        self._unshuffle = network.unshuffle
        self._workers = Workers(threads_for(threads))
        self._packed = pack(network, self._workers)
        self._library = library
        self._kernel = kernel
        self._workspaces = Workspaces()
        side = _USUAL_SIDE // self._unshuffle
        self.bytes_per_pixel = self._bytes(side, side, self._workers.threads) / _USUAL_SIDE**2

    @property
    def workers(self) -> int:
        """Pictures that are computed at the same time."""
        return self._workers.threads

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights."""
        return {"backend": self.name, "precision": self.precision, "kernel": self._kernel}

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32."""
        images = F.pixel_unshuffle(images, self._unshuffle)
        network, enlarged = self._packed.network, 1 << self._packed.network.num_stages
        height, width = images.shape[-2:]
        result = torch.empty(len(images), network.out_channels, height * enlarged, width * enlarged)
        stopped = ctypes.c_int32(0)
        try:
            self._workers.fill(partial(self._run, stopped), images, result)
        except BaseException:  # Ctrl-C comes here while the threads are at work: the process waits for them to end
            stopped.value = 1
            raise
        return result

    def exact(self) -> None:
        """This one is in float32."""

    def _run(self, stopped: ctypes.c_int32, images: Tensor, result: Tensor) -> None:
        images = images.contiguous()
        height, width = images.shape[-2:]
        network, threads = self._packed.network, torch.get_num_threads()
        size = self._library.workspace_bytes(network, height=height, width=width, kernel=self._kernel, threads=threads)
        with self._workspaces.borrow(size) as workspace:
            for image, target in zip(images, result, strict=True):
                self._library.run(
                    network,
                    source=image.data_ptr(),
                    target=target.data_ptr(),
                    height=height,
                    width=width,
                    kernel=self._kernel,
                    threads=threads,
                    workspace=workspace,
                    stopped=stopped,
                )

    def _bytes(self, height: int, width: int, threads: int) -> int:
        """At the peak of a pass over one picture of `height` x `width` after the pixel-unshuffle."""
        network = self._packed.network
        workspace = self._library.workspace_bytes(
            network, height=height, width=width, kernel=self._kernel, threads=threads
        )
        values = int(network.in_channels + (network.out_channels << 2 * network.num_stages))
        return workspace + height * width * values * torch.float32.itemsize


def why_not(loaded: LoadedNetwork) -> str | None:
    """The reason why `loaded` cannot run here in this backend; `None` where it can."""
    if not isinstance(loaded.network, RRDBNet):
        return f"it runs RRDBNet only, and this network is {loaded.facts.architecture}"
    if any(name.endswith("conv1x1.weight") for name, _ in loaded.network.named_parameters()):
        return "it does not run the dense blocks of ESRGAN+"
    if find_library() is None:
        return "it was not compiled when this package was installed: install a C++ compiler, then the package again"
    return None


def is_worth_it(loaded: LoadedNetwork) -> bool:
    """Whether `loaded` can run here, on a kernel and with a size at which it is faster than torch in float32."""
    library = find_library()
    if library is None or why_not(loaded) is not None or next(iter(library.kernels)) == PORTABLE:
        return False
    return len(loaded.network.get_parameter("conv_first.bias")) >= _MIN_FEATURES


def build(loaded: LoadedNetwork, options: EngineOptions, config: NativeConfig) -> NativeBackend:
    """The network in float32 on the processor.

    Raises:
        UsageError: another device or precision was asked for, or the network cannot run here.
    """
    if options.device not in ("auto", "cpu") and find_device(options.device).type != "cpu":
        raise UsageError(f"backend native runs on processors, got device {options.device!r}")
    if options.dtype not in ("auto", "float32"):
        raise UsageError(f"backend native computes in float32, got dtype {options.dtype!r}")
    library, reason = find_library(), why_not(loaded)
    if library is None or reason is not None:
        raise UsageError(f"backend native is not available: {reason}")
    kernel = config.kernel if config.kernel is not None else next(iter(library.kernels))
    if kernel not in library.kernels:
        raise UsageError(f"kernel must be one of {', '.join(library.kernels)} on this processor, got {kernel!r}")
    _log.info("backend native: %s", kernel)
    return NativeBackend(loaded, library=library, kernel=kernel, threads=options.threads)
