"""How far the default precision lies from float32 on real frames: PSNR of each, the lowest per file.

    python benchmarks/precision.py FILES [-n MODEL ...] [--frames 4] [--side 256] [--plain]

Frames are spread over each clip; of a large picture the `--side` pixels square with the most detail is taken, where
rounding shows most. `--plain` casts the whole network instead of asking the engine, and so shows what the engine's
check is for.
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

from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
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


def busiest(picture: Tensor, side: int) -> Tensor:
    """The square of `side` pixels whose neighbouring pixels differ most."""
    height, width = picture.shape[-2:]
    detail = picture.diff(dim=-1).abs().mean(1)[0]
    best, place = -1.0, (0, 0)
    for top in range(0, max(1, height - side + 1), max(1, side // 2)):
        for left in range(0, max(1, width - side + 1), max(1, side // 2)):
            value = detail[top : top + side, left : left + side].mean().item()
            if value > best:
                best, place = value, (top, left)
    top, left = place
    return picture[..., top : top + side, left : left + side]


def psnr(one: Tensor, other: Tensor) -> float:
    """In dB, for values clamped to 0..1."""
    error = (one.clamp(0, 1) - other.clamp(0, 1)).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def plain(loaded: LoadedNetwork) -> torch.nn.Module:
    """The whole network in bfloat16."""
    import copy

    network = copy.deepcopy(loaded.network).bfloat16()
    return network.requires_grad_(False)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-n", "--model", action="append", default=[])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    print(describe_machine())
    for model in given.model or ["default"]:
        loaded = load_network(model)
        exact = Upscaler(loaded, EngineOptions(device="cpu", dtype="float32"))
        rounded = plain(loaded) if given.plain else Upscaler(loaded, EngineOptions(device="cpu"))
        print(f"{model}: {getattr(rounded, 'dtype', torch.bfloat16)} against float32")
        lowest: list[float] = []
        for file in given.files:
            values = []
            for picture in pictures(file, given.frames):
                part = busiest(picture, given.side)
                with torch.inference_mode():
                    ours = rounded(part.bfloat16()).float() if given.plain else rounded(part)
                values.append(psnr(ours, exact(part)))
            if values:
                print(f"  {file.name:<44}" + " ".join(f"{value:6.1f}" for value in values), flush=True)
                lowest += values
        print(f"  lowest of {len(lowest)}: {min(lowest):.1f} dB")


if __name__ == "__main__":
    main()
