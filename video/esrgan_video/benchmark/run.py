"""`benchmark`: one network on one device, measured."""

from __future__ import annotations

import math
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from esrgan import __version__
from esrgan.errors import UsageError
from esrgan.progress import Progress, ProgressMode
from esrgan.weights import load_network
from esrgan_video.benchmark.clip import moving_frames, write_clip
from esrgan_video.benchmark.machine import device_name, versions
from esrgan_video.benchmark.work import flops_per_pixel, matrix_peak, median_rate
from esrgan_video.container import EncoderOptions
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.engine.cores import threads_for
from esrgan_video.engine.memory import peak_memory
from esrgan_video.engine.precision import probe_picture
from esrgan_video.images.reading import read_image
from esrgan_video.options import VideoOptions
from esrgan_video.pipeline import upscale_video

_PEAK_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PROBE_SIDE = 96
_PICTURE_SIDE = 128
_MOST_FRAMES = 240
_FEWEST_PASSES = 2


@dataclass(frozen=True, kw_only=True)
class PictureError:
    """How far a result lies from that of the float32 network, for values clamped to 0..1."""

    picture: str
    """`probe`, or the name of a file."""
    psnr: float | None
    """In dB; `None` where there is no difference."""
    largest: float
    """Largest difference in 1/255."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """What was measured. Rates are in frames a second, sizes in bytes, times in seconds."""

    model: str
    """As it was called."""
    architecture: str
    """Of the network."""
    scale: int
    """Size ratio of output to input."""
    parameters: int
    """Of the network."""
    width: int
    """Columns of the input."""
    height: int
    """Rows of the input."""
    backend: str
    """Library that ran the network."""
    precision: str
    """Of the convolutions."""
    device: str
    """Name of the processor or GPU."""
    threads: int
    """Cores that were used, where the device is the processor."""
    first_frame: float
    """From reading the weights to the first result, everything imported."""
    engine: float
    """Rate of the network with its tiles and batches, frames in memory."""
    end_to_end: float
    """Rate from a file to a file."""
    frames: int
    """Frames of that clip."""
    flops_per_frame: float
    """Operations of convolutions and linear layers for a frame, counted in the network."""
    peak: float | None
    """Operations a second in a product of large matrices of this precision; `None` where torch has none."""
    peak_memory: int
    """Of this process, at most."""
    errors: tuple[PictureError, ...]
    """Against the float32 network."""
    versions: Mapping[str, str]
    """Of Python and packages."""

    @property
    def share_of_peak(self) -> float | None:
        """Part of the matrix product's rate that the network reaches."""
        return None if self.peak is None else self.engine * self.flops_per_frame / self.peak

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"event": "benchmark", **asdict(self), "share_of_peak": self.share_of_peak}

    def line(self) -> str:
        """All that a reader of an issue needs, in one line."""
        share = self.share_of_peak
        errors = ", ".join(f"{error.picture} {_in_db(error.psnr)} max {error.largest:.2g}/255" for error in self.errors)
        packages = " ".join(f"{name} {value}" for name, value in self.versions.items() if name != "esrgan")
        parts = (
            f"esrgan {__version__}",
            f"{self.model}: {self.architecture} x{self.scale}, {self.parameters:,} parameters",
            f"{self.backend} {self.precision}, {self.width}x{self.height}",
            f"engine {self.engine:.3g}/s" + ("" if share is None else f" ({share:.0%} of {self.peak or 0:.3g} FLOP/s)"),
            f"end to end {self.end_to_end:.3g}/s",
            f"first frame {self.first_frame:.2g} s",
            errors,
            f"{self.peak_memory / 1e6:.0f} MB",
            f"{self.device}, {self.threads} threads, {platform.system()} {platform.machine()}",
            packages,
        )
        return " | ".join(parts)


def benchmark(
    model: str | os.PathLike[str] = "default",
    options: EngineOptions | None = None,
    *,
    size: tuple[int, int] = (320, 180),
    picture: Path | None = None,
    seconds: float = 6.0,
    progress: ProgressMode = "auto",
) -> BenchmarkResult:
    """Measure speed, memory and error.

    Args:
        model: name or weights file.
        options: how the network runs.
        size: columns and rows of the frames.
        picture: an image on which the error is measured too, in its middle.
        seconds: about the time that the engine, and the way from file to file, are measured for, each.
        progress: how progress is shown on standard error.

    Raises:
        UsageError: a size or time that is not positive.
        WeightsError: weights that cannot be read.
        MediaError: a picture that cannot be read.
        EngineError: the network cannot run.
    """
    width, height = size
    if width < 1 or height < 1 or seconds <= 0:
        raise UsageError(f"sizes and times must be more than 0, got {width}x{height} and {seconds} s")
    options = options or EngineOptions()
    pictures = {"probe": probe_picture(_PROBE_SIDE)}
    if picture is not None:
        pictures[picture.name] = _middle(picture)
    with Progress("benchmark", total=4 + len(pictures), unit="step", mode=progress) as shown:
        frame = next(moving_frames(width, height, 1))[None]
        start = time.perf_counter()
        loaded = load_network(model, progress=progress)
        upscaler = Upscaler(loaded, options)
        upscaler(frame).sum().item()  # waits for the device
        first_frame = time.perf_counter() - start
        shown.update()
        engine = _engine_rate(upscaler, width, height, seconds)
        shown.update()
        frames = max(2, min(_MOST_FRAMES, round(engine * seconds)))
        end_to_end = _file_rate(upscaler, width, height, frames)
        memory = peak_memory()  # what follows is not part of the work
        shown.update()
        threads = threads_for(options.threads)
        dtype = _PEAK_TYPES.get(upscaler.precision)
        peak = None if dtype is None else matrix_peak(dtype, upscaler.device, threads)
        shown.update()
        exact = Upscaler(loaded, EngineOptions(backend="torch", device="cpu", dtype="float32", threads=options.threads))
        errors = []
        for name, image in pictures.items():
            errors.append(_error(name, upscaler(image), exact(image)))
            shown.update()
    return BenchmarkResult(
        model=os.fspath(model),
        architecture=loaded.facts.architecture,
        scale=loaded.facts.scale,
        parameters=loaded.facts.parameters,
        width=width,
        height=height,
        backend=upscaler.backend,
        precision=upscaler.precision,
        device=device_name(upscaler.device),
        threads=threads,
        first_frame=first_frame,
        engine=engine,
        end_to_end=end_to_end,
        frames=frames,
        flops_per_frame=flops_per_pixel(loaded) * width * height * (3 if loaded.facts.in_channels == 1 else 1),
        peak=peak,
        peak_memory=memory,
        errors=tuple(errors),
        versions=versions(),
    )


def _engine_rate(upscaler: Upscaler, width: int, height: int, seconds: float) -> float:
    plan = upscaler.plan(height, width)
    count = plan.batch if plan.tile is None else 1
    frames = torch.stack(list(moving_frames(width, height, count)))
    upscaler(frames)
    times: list[float] = []
    while len(times) < _FEWEST_PASSES or sum(times) < seconds:
        start = time.perf_counter()
        upscaler(frames).sum().item()
        times.append(time.perf_counter() - start)
    return median_rate(count, times)


def _file_rate(upscaler: Upscaler, width: int, height: int, frames: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mkv"
        write_clip(source, width, height, frames)
        options = VideoOptions(encoder=EncoderOptions(codec="h264"))
        done = upscale_video(source, Path(folder) / "out.mkv", upscaler=upscaler, options=options, progress="none")
    return done.frames / done.seconds


def _error(name: str, result: Tensor, expected: Tensor) -> PictureError:
    difference = (result.cpu().clamp(0, 1) - expected.clamp(0, 1)).double()
    square = difference.square().mean().item()
    psnr = -10 * math.log10(square) if square else None
    return PictureError(picture=name, psnr=psnr, largest=difference.abs().max().item() * 255)


def _middle(file: Path) -> Tensor:
    """The middle of a picture, `(1, 3, H, W)` in 0..1."""
    pixels = read_image(file).pixels
    top, left = (max(0, (length - _PICTURE_SIDE) // 2) for length in pixels.shape[:2])
    part = pixels[top : top + _PICTURE_SIDE, left : left + _PICTURE_SIDE]
    colours = part.reshape(*part.shape[:2], -1)[..., : 3 if part.ndim == 3 and part.shape[2] >= 3 else 1]
    values = torch.from_numpy(colours.astype(np.float32) / np.iinfo(pixels.dtype).max)
    return values.permute(2, 0, 1).expand(3, -1, -1)[None].contiguous()


def _in_db(psnr: float | None) -> str:
    return "equal" if psnr is None else f"{psnr:.1f} dB"
