"""How far the default precision lies from float32 on real frames: PSNR of each, the lowest per file.

    python benchmarks/precision.py FILES [-n MODEL ...] [--frames 4] [--side 256] [--fp8]

Frames are spread over each clip; of a large picture the square of `--side` pixels with the most detail is taken, where
rounding shows most. In brackets: the crop by which the engine decides whether a picture is computed in float32.

`--fp8` measures, in place of bfloat16, 8-bit floats (e4m3) in the dense blocks of RRDBNet and float32 everywhere else.
They are emulated: what a convolution reads and its weights are rounded, its sums are exact. No kernel can be nearer.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import ResidualDenseBlock
from esrgan.weights import load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.engine.guard import CROP_SIDE, busiest_crops
from machine import describe_machine

_VIDEO = (".mp4", ".mkv", ".webm", ".mov")
_LARGEST_E4M3 = 448.0


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


def rounded_to_e4m3(values: Tensor, dim: tuple[int, ...]) -> Tensor:
    """`values` as 8-bit floats with one scale for all of `dim`, which takes the largest to the largest there is."""
    scale = values.abs().amax(dim, keepdim=True).clamp_min(1e-12) / _LARGEST_E4M3
    return (values / scale).to(torch.float8_e4m3fn).float() * scale


def with_fp8_blocks(network: nn.Module) -> nn.Module:
    """A copy whose dense blocks multiply 8-bit floats: a scale for each channel of a weight, and for each input."""
    copied = copy.deepcopy(network)
    for block in copied.modules():
        if not isinstance(block, ResidualDenseBlock):
            continue
        for layer in block.children():
            layer.weight.data = rounded_to_e4m3(layer.weight.detach(), (1, 2, 3))
            layer.register_forward_pre_hook(lambda _, read: (rounded_to_e4m3(read[0], (1, 2, 3)),))
    return copied


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-n", "--model", action="append", default=[])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--fp8", action="store_true", help="8-bit floats in the dense blocks, emulated")
    given = parser.parse_args()
    print(describe_machine())
    for model in given.model or ["default"]:
        loaded = load_network(model)
        exact = Upscaler(loaded, EngineOptions(device="cpu", dtype="float32"))
        rounded: Callable[[Tensor], Tensor]
        if given.fp8:
            rounded = torch.inference_mode()(with_fp8_blocks(loaded.network))
        else:
            rounded = Upscaler(loaded, EngineOptions(device="cpu", dtype="bfloat16"))
        name = "e4m3 in the dense blocks" if given.fp8 else "bfloat16"
        print(f"{model}: {name} against float32, in brackets the crop")
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
