"""Memory over a long video: it must not grow with the number of frames.

    python benchmarks/long_video.py [--frames 30000] [--size 32x24] [--stop-at 0.5]

Makes a clip of small pictures, upscales it with a stand-in for the network that costs nothing (repeated pixels), and
prints the resident memory of the process at every tenth and after the segments are joined. With `--stop-at` the run is
broken off there and continued, as after a crash.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import torch
from torch.nn import functional as F

from esrgan_video import VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.pipeline import VideoProgress
from machine import describe_machine

_BATCH = 16


class _Plan:
    batch, tile = _BATCH, None


class Repeating:
    """Repeats each pixel."""

    scale, device = 2, torch.device("cpu")

    def plan(self, height: int, width: int) -> type[_Plan]:  # noqa: ARG002
        """Always the same batch."""
        return _Plan

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """`(N, 3, H, W)` to `(N, 3, 2 H, 2 W)`."""
        return F.interpolate(frames, scale_factor=2.0, mode="nearest")


class StoppedError(Exception):
    """Breaks a run off."""


class Memory:
    """Prints the resident memory at every tenth of the frames."""

    def __init__(self, total: int, stop_at: float | None) -> None:
        self._total, self._next, self._stop_at = total, 1, stop_at
        self._process = psutil.Process(os.getpid())
        self._started = time.monotonic()

    def __call__(self, progress: VideoProgress) -> None:
        """As `watch` of `upscale_video`."""
        share = progress.frames / self._total
        if share * 10 >= self._next:
            memory = self._process.memory_info().rss / 1e6
            print(
                f"{progress.frames:7d} frames  {memory:7.1f} MB  {time.monotonic() - self._started:6.1f} s", flush=True
            )
            self._next = int(share * 10) + 1
        if self._stop_at is not None and share >= self._stop_at:
            raise StoppedError


def make_clip(path: Path, frames: int, width: int, height: int) -> None:
    """Moving noise at 25 frames a second."""
    noise = np.random.default_rng(0).integers(16, 235, (height * 3 // 2, width), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 25, {"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, 1), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--size", default="32x24")
    parser.add_argument("--stop-at", type=float)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        make_clip(source, given.frames, width, height)
        options = VideoOptions(encoder=EncoderOptions(preset="ultrafast"), reuse=False)
        if given.stop_at is not None:
            memory = Memory(given.frames, given.stop_at)
            try:
                upscale_video(source, target, upscaler=Repeating(), options=options, progress="none", watch=memory)
            except StoppedError:
                print("broken off, going on")
        memory = Memory(given.frames, None)
        result = upscale_video(source, target, upscaler=Repeating(), options=options, progress="none", watch=memory)
        rss = psutil.Process(os.getpid()).memory_info().rss / 1e6
        print(
            f"{result.frames:7d} frames  {rss:7.1f} MB after joining, {result.seconds:.1f} s in all, "
            f"{result.resumed_frames} of an earlier run"
        )


if __name__ == "__main__":
    main()
