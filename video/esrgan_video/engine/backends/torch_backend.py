"""PyTorch: every device, every network, the reference for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork
from esrgan_video.engine.backends.config import TorchConfig
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.cuda_graphs import GraphedPass
from esrgan_video.engine.devices import find_device
from esrgan_video.engine.memory import bytes_per_pixel
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.precision import cast, casts_its_input, choose_dtype, true_float32
from esrgan_video.engine.stopping import StoppableNetwork
from esrgan_video.engine.workers import Workers


class TorchBackend:
    """A network in eager PyTorch, channels last.

    Args:
        loaded: the network.
        dtype: of the convolutions.
        device: where it runs.
        config: as the caller chose.
        threads: processor cores to use where `device` is the processor.
    """

    name = "torch"

    def __init__(
        self,
        loaded: LoadedNetwork,
        *,
        dtype: torch.dtype,
        device: torch.device,
        config: TorchConfig,
        threads: int | None = None,
    ) -> None:
        self._loaded = loaded
        self._config = config
        self._threads = threads
        self.dtype = dtype
        self.device = device
        self.network = _place(cast(loaded.network, dtype), device)
        self._input_dtype = torch.float32 if casts_its_input(self.network) else next(self.network.parameters()).dtype
        self.bytes_per_pixel = bytes_per_pixel(
            self.network, in_channels=loaded.facts.in_channels, dtype=self._input_dtype, device=device
        )
        self._exact: TorchBackend | None = None
        self._workers = Workers(threads_for(threads)) if device.type == "cpu" else None
        self._stoppable = None if self._workers is None else StoppableNetwork(self.network)
        run = partial(self._run, self.network)
        self._pass = GraphedPass(run) if config.graphs else run

    @property
    def precision(self) -> str:
        """Precision of the convolutions."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def workers(self) -> int:
        """Pictures that are computed at the same time."""
        return 1 if self._workers is None else self._workers.threads

    @property
    def batch_rounds(self) -> bool:
        """GPU libraries choose another algorithm for another number of pictures."""
        return self.device.type != "cpu"

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on beside the weights."""
        return {"backend": self.name, "precision": self.precision}

    def __call__(self, images: Tensor) -> Tensor:
        """One pass: `(N, C, H, W)` -> `(N, C, H * scale, W * scale)`, float32."""
        if self._workers is not None and self._stoppable is not None:
            stopped = threading.Event()
            try:
                return self._workers(partial(self._run, partial(self._stoppable, stopped)), images)
            except BaseException:  # Ctrl-C comes here while the threads are at work: the process waits for them to end
                stopped.set()
                raise
        with true_float32(self.device):
            return self._pass(images)

    def _run(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return network(images.to(self._input_dtype).contiguous(memory_format=torch.channels_last)).float()

    def exact(self) -> TorchBackend | None:
        """The same network in float32."""
        if self.dtype == torch.float32:
            return None
        if self._exact is None:
            self._exact = TorchBackend(
                self._loaded, dtype=torch.float32, device=self.device, config=self._config, threads=self._threads
            )
        return self._exact


def build(loaded: LoadedNetwork, options: EngineOptions, config: TorchConfig) -> TorchBackend:
    """The network on the device and in the precision that `options` ask for.

    Raises:
        UsageError: a device that is not there, or CUDA graphs on another one.
    """
    device = find_device(options.device)
    if config.graphs and device.type != "cuda":
        raise UsageError(f"TorchConfig(graphs=True) needs a CUDA device, got device {options.device!r}")
    dtype = choose_dtype(options.dtype, loaded, device)
    return TorchBackend(loaded, dtype=dtype, device=device, config=config, threads=options.threads)


def _place(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload, no-any-return]
