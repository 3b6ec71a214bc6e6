"""`Upscaler`: the network at work on batches of frames."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esrgan.errors import EngineError, UsageError
from esrgan.system_memory import available_bytes
from esrgan.weights import LoadedNetwork, NetworkFacts, load_network
from esrgan_video.engine.backends.base import Backend
from esrgan_video.engine.backends.making import make_backend
from esrgan_video.engine.guard import MIN_CROP_PSNR, poor_pictures
from esrgan_video.engine.memory import LEAST_BYTES, free_bytes
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.planner import Plan, Planner, smaller_pass
from esrgan_video.engine.remembering import TileMemory
from esrgan_video.engine.self_ensemble import self_ensemble
from esrgan_video.engine.tiles import cut, kept, kept_of_window, window

_log = logging.getLogger(__name__)


class Upscaler:
    """Upscales batches of RGB frames with one network on one device.

    Args:
        model: name in the registry, path of a weights file, or a network that was loaded already.
        options: device, precision, tiles and batch.

    Raises:
        UsageError: an unknown model or device, or a network whose channels are not those of an image.
        WeightsError: weights that cannot be read.

    Example:
        >>> upscaler = Upscaler("default")
        >>> large = upscaler(torch.rand(1, 3, 120, 160))  # (1, 3, 480, 640)
    """

    def __init__(
        self, model: str | os.PathLike[str] | LoadedNetwork = "default", options: EngineOptions | None = None
    ) -> None:
        self._options = options or EngineOptions()
        self._loaded = model if isinstance(model, LoadedNetwork) else load_network(model)
        if (self.facts.in_channels, self.facts.out_channels) not in ((1, 1), (3, 3)):
            raise UsageError(
                f"the network takes {self.facts.in_channels} and gives {self.facts.out_channels} channels: "
                "only grey (1) and RGB (3) networks upscale images"
            )
        self._backend = make_backend(self._loaded, self._options)
        self._full_passes = self._backend.batch_rounds
        self._checks_pictures = self._options.dtype == "auto" and self._backend.precision == "bfloat16"
        self._said_poor = False
        self._ceilings: list[int] = []  # bytes that runs at work now leave
        self._max_pixels: int | None = None  # learned from the first time that memory ran out
        self._planner = Planner(
            self._options,
            multiple=self.facts.size_multiple,
            device_type=self.device.type,
            workers=self._backend.workers,
        )

    @property
    def facts(self) -> NetworkFacts:
        """Properties of the network."""
        return self._loaded.facts

    @property
    def scale(self) -> int:
        """Size ratio of output to input."""
        return self.facts.scale

    @property
    def device(self) -> torch.device:
        """Where the network runs and results lie."""
        return self._backend.device

    @property
    def backend(self) -> str:
        """Name of the library that runs the network."""
        return self._backend.name

    @property
    def precision(self) -> str:
        """Precision of the convolutions, as in `EngineOptions.dtype`."""
        return self._backend.precision

    @property
    def dtype(self) -> torch.dtype:
        """The same as torch's type."""
        return getattr(torch, self.precision)  # type: ignore[no-any-return]

    @property
    def identity(self) -> Mapping[str, str]:
        """What the result depends on: weights, backend and precision, and how frames are cut."""
        options = self._options
        return {
            "network": self.facts.architecture,
            "weights": checksum(self._loaded.network),
            **self._backend.identity,
            **({"pictures in float32": f"under {MIN_CROP_PSNR:g} dB"} if self._checks_pictures else {}),
            "tile": "by memory" if options.tile is None else str(options.tile),
            "tile overlap": str(options.overlap),
            **({"pre-pad": f"{options.pre_pad} pixels"} if options.pre_pad else {}),
            **({"self-ensemble": "eight orientations"} if options.tta else {}),
        }

    def plan(self, height: int, width: int) -> Plan:
        """How frames of `height` x `width` will be run with the memory that is free now.

        The plan for a size stays while it fits and memory for twice as much has not become free.

        Raises:
            EngineError: not even the smallest tile fits.
        """
        free = min([free_bytes(self.device), *self._ceilings])
        max_pixels = int(free / self._backend.bytes_per_pixel)
        if self._max_pixels is not None:
            max_pixels = min(max_pixels, self._max_pixels)
        return self._planner.plan(height, width, max_pixels=max_pixels)

    @contextlib.contextmanager
    def beside(self, held: int) -> Iterator[None]:
        """Plan inside this context with what is free now less `held` bytes, which the caller is going to take.

        Only on a processor: on other devices the caller's memory is not the engine's.
        """
        if self.device.type != "cpu":
            yield
            return
        ceiling = max(LEAST_BYTES, available_bytes() - held)
        self._ceilings.append(ceiling)
        try:
            yield
        finally:
            self._ceilings.remove(ceiling)

    def __call__(self, batch: Tensor, *, memory: TileMemory | None = None) -> Tensor:
        """Upscale a batch.

        Args:
            batch: `(N, 3, H, W)`, floating point, RGB in 0..1, on any device; N, H and W at least 1.
            memory: what is known of the frame before the first one, and will be known of the last one: tiles that
                did not change are copied.

        Returns:
            `(N, 3, H * scale, W * scale)`, float32, on `device`, not clamped.

        Raises:
            UsageError: a shape or dtype that is not as above.
            EngineError: memory does not suffice for the smallest tile, or the network's output is
                not finite in float32 either.
        """
        with torch.inference_mode():
            frames = self._pictures(batch)
            result = self._upscale(self._backend, frames, memory)
            finite = _finite(result)
            if not finite.all():
                result = self._recompute(frames, result, finite)
            if self._checks_pictures:
                self._replace_poor(frames, result)
            return result.view(batch.shape[0], 3, *result.shape[-2:])

    def unchecked(self, batch: Tensor, *, memory: TileMemory | None = None) -> tuple[Tensor, Tensor]:
        """Upscale a batch without looking at the result, which would wait for the device.

        Args:
            batch: as for a call.
            memory: as for a call. Comparing tiles waits.

        Returns:
            The result of a call, and `(N,)` bool on `device`: which pictures that is true of. A call would compute the
            others again in float32.

        Raises:
            UsageError: as a call.
            EngineError: memory does not suffice for the smallest tile.
        """
        with torch.inference_mode():
            frames = self._pictures(batch)
            result = self._upscale(self._backend, frames, memory)
            good = _finite(result)
            if self._checks_pictures:
                good &= ~self._poor(frames)
            return result.view(batch.shape[0], 3, *result.shape[-2:]), good.view(batch.shape[0], -1).all(1)

    def _pictures(self, batch: Tensor) -> Tensor:
        """What the network sees of a batch: `(N, C, H, W)` float32 on the device."""
        if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape or not batch.is_floating_point():
            raise UsageError(f"a batch is (N, 3, H, W) in floating point, got {tuple(batch.shape)} {batch.dtype}")
        frames = batch.to(self.device, torch.float32)
        # A grey network takes each channel as a picture of its own.
        return frames.flatten(0, 1).unsqueeze(1) if self.facts.in_channels == 1 else frames

    def _recompute(self, frames: Tensor, result: Tensor, finite: Tensor) -> Tensor:
        """Compute the frames that overflowed once more, in float32."""
        bad = (~finite).nonzero().flatten().tolist()
        exact = self._backend.exact()
        if exact is not None:
            _log.warning("%d frame(s) were not finite in %s: computed again in float32", len(bad), self.precision)
            result[bad] = self._upscale(exact, frames[bad])
        if not torch.isfinite(result.sum()):
            raise EngineError("the network's output is not finite in float32: the weights or the input are broken")
        return result

    def _replace_poor(self, frames: Tensor, result: Tensor) -> None:
        """Compute pictures that rounding costs too much once more, in float32."""
        exact = self._backend.exact()
        poor = self._poor(frames)
        if exact is None or not poor.any():
            return
        if not self._said_poor:
            self._said_poor = True
            _log.warning(
                "%s keeps less than %.0f dB against float32 in places of some frames: these are computed in float32",
                self.precision,
                MIN_CROP_PSNR,
            )
        places = poor.nonzero().flatten().tolist()
        result[places] = self._upscale(exact, frames[places])

    def _poor(self, frames: Tensor) -> Tensor:
        """`(N,)` bool: which pictures rounding costs too much."""
        exact = self._backend.exact()
        if exact is None:
            return torch.zeros(len(frames), dtype=torch.bool, device=frames.device)
        return poor_pictures(frames, partial(self._upscale, self._backend), partial(self._upscale, exact))

    def _upscale(self, backend: Backend, frames: Tensor, memory: TileMemory | None = None) -> Tensor:
        """`(N, C, H, W)` float32 -> `(N, C, H * s, W * s)` float32, in as many passes as memory asks for."""
        height, width = frames.shape[-2:]
        border = self._options.pre_pad
        padded = _pad_to_multiple(_mirrored_around(frames, border), self.facts.size_multiple)
        rows, columns = (slice(border * self.scale, (border + side) * self.scale) for side in (height, width))
        before = self._max_pixels
        while True:
            try:
                plan = self.plan(*padded.shape[-2:])
            except EngineError:
                # Maybe it is the result that does not fit, however small a pass is: other frames may.
                self._max_pixels = before
                self._planner.forget()
                raise
            try:
                result = self._run_plan(backend, padded, plan, memory)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if memory is not None:
                    memory.forget()
                self._shrink(padded, plan)
            else:
                return result[..., rows, columns]

    def _shrink(self, frames: Tensor, plan: Plan) -> None:
        """Let the next plan hold half of what did not fit."""
        height, width = frames.shape[-2:]
        self._max_pixels = smaller_pass(height, width, plan=plan, multiple=self.facts.size_multiple)
        self._planner.forget()
        _log.warning("out of memory with %s: going on with %d input pixels a pass", plan, self._max_pixels)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run_plan(self, backend: Backend, frames: Tensor, plan: Plan, memory: TileMemory | None) -> Tensor:
        if plan.tile is None:
            results = [self._run(backend, part) for part in torch.split(frames, plan.batch)]
            return results[0] if len(results) == 1 else torch.cat(results)  # a copy of a large result takes its time
        height, width = frames.shape[-2:]
        scale = self.scale
        tiles = cut(height, width, tile=plan.tile, overlap=plan.overlap, multiple=self.facts.size_multiple)
        result = torch.empty(
            (frames.shape[0], self.facts.out_channels, height * scale, width * scale), device=self.device
        )
        jobs = [(index, tile) for index in range(frames.shape[0]) for tile in tiles]
        if memory is not None:
            jobs = memory.changed(frames, tiles)
        for start in range(0, len(jobs), plan.batch):
            group = jobs[start : start + plan.batch]
            windows = torch.stack([window(frames[index], tile) for index, tile in group])
            outputs = self._run(backend, self._filled_up(windows, min(plan.batch, len(tiles))))
            for (index, tile), output in zip(group, outputs, strict=False):
                kept(result[index], tile, scale).copy_(kept_of_window(output, tile, scale))
        if memory is not None:
            memory.complete(frames, result, tiles, computed=jobs)
        return result

    def _filled_up(self, windows: Tensor, count: int) -> Tensor:
        """`windows` and, on a GPU, copies of the last one up to `count`.

        GPU libraries round differently for batches of different shape, and how many tiles are left for a pass depends
        on how many were copied.
        """
        missing = max(0, count - len(windows)) if self._full_passes else 0
        return torch.cat((windows, windows[-1:].expand(missing, -1, -1, -1)))

    def _run(self, backend: Backend, images: Tensor) -> Tensor:
        """One pass of the network, or one for each orientation of the images."""
        return self_ensemble(backend, images) if self._options.tta else backend(images)


def checksum(network: nn.Module) -> str:
    """The beginning of a hash of all parameters and buffers, as they are in memory."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _finite(result: Tensor) -> Tensor:
    """`(N,)` bool."""
    return torch.isfinite(result.sum(dim=(1, 2, 3)))


def _mirrored_around(frames: Tensor, border: int) -> Tensor:
    """Go on beyond each side as in a mirror, the outermost pixels twice: so the LR of bicubic reduction was made.

    As often as it takes, where `border` is more than the frame has.
    """
    if not border:
        return frames
    rows, columns = (_mirrored(side, border, frames.device) for side in frames.shape[-2:])
    return frames.index_select(-2, rows).index_select(-1, columns)


def _mirrored(side: int, border: int, device: torch.device) -> Tensor:
    """Which of `side` pixels lies at each place from `-border` to `side + border`."""
    places = torch.arange(-border, side + border, device=device) % (2 * side)
    return torch.minimum(places, 2 * side - 1 - places)


def _pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Pad below and on the right: mirrored where the frame is large enough to be, else repeated."""
    height, width = frames.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return frames
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(frames, (0, right, 0, below), mode=mode)


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU allocator has no exception type of its own.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
