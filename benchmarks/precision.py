"""How far the default precision lies from float32 on real frames: PSNR of each, the lowest per file.

    python benchmarks/precision.py FILES [-n MODEL ...] [--frames 4] [--side 256]

Frames are spread over each clip; of a large picture the square of `--side` pixels with the most detail is taken, where
rounding shows most. In brackets: the crop by which the engine decides whether a picture is computed in float32.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from esrgan.weights import load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.engine.guard import CROP_SIDE, busiest_crops
from machine import describe_machine

_VIDEO = (".mp4", ".mkv", ".webm", ".mov")


def pictures(file: Path, count: int) -> Iterator[Tensor]:
    """Frames or the picture as `(1, 3, H, W)` in 0..1."""
    if file.suffix.lower() not in _VIDEO:
        yield as_tensor(cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
        return
    with av.open(file) as container:
        if not container.streams.video:
            return
        frames = []
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):  # a damaged packet costs its own frames only
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    if not frames:
        return
    for index in sorted({round(place) for place in np.linspace(0, len(frames) - 1, count)}):
        yield as_tensor(frames[index])


def as_tensor(pixels: np.ndarray) -> Tensor:
    """`(H, W, 3)` uint8 -> `(1, 3, H, W)`."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def psnr(one: Tensor, other: Tensor) -> float:
    """In dB, for values clamped to 0..1."""
    error = (one.clamp(0, 1) - other.clamp(0, 1)).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-n", "--model", action="append", default=[])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    given = parser.parse_args()
    print(describe_machine())
    for model in given.model or ["default"]:
        loaded = load_network(model)
        exact = Upscaler(loaded, EngineOptions(device="cpu", dtype="float32"))
        rounded = Upscaler(loaded, EngineOptions(device="cpu", dtype="bfloat16"))
        print(f"{model}: bfloat16 against float32, in brackets the crop")
        lowest: list[float] = []
        for file in given.files:
            values, crops = [], []
            for picture in pictures(file, given.frames):
                part = busiest_crops(picture, given.side)
                ours = rounded(part)
                values.append(psnr(ours, exact(part)))
                crop = busiest_crops(picture, CROP_SIDE)
                crops.append(psnr(rounded(crop), exact(crop)))
            if values:
                shown = " ".join(f"{value:5.1f} ({crop:4.1f})" for value, crop in zip(values, crops, strict=True))
                print(f"  {file.name:<44}{shown}", flush=True)
                lowest += values
        print(f"  lowest of {len(lowest)}: {min(lowest):.1f} dB")


if __name__ == "__main__":
    main()
