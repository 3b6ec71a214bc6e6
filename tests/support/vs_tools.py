"""Clips whose every frame is known, and networks whose result is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esrgan.weights import LoadedNetwork
from network_tools import loaded

vs = pytest.importorskip("vapoursynth")


def random_planes(video_format: vs.VideoFormat, width: int, height: int, frames: int, seed: int = 0) -> list[list[Any]]:
    """Noise in every plane of every frame; floats lie in 0..1 (chroma in -0.5..0.5), integers use all values."""
    generator = np.random.default_rng(seed)
    result = []
    for _ in range(frames):
        planes = []
        for plane in range(video_format.num_planes):
            shape = (
                (height >> video_format.subsampling_h, width >> video_format.subsampling_w)
                if plane
                else (height, width)
            )
            if video_format.sample_type == vs.FLOAT:
                values = generator.random(shape) - (0.5 if plane and video_format.color_family == vs.YUV else 0)
                planes.append(values.astype(np.float16 if video_format.bits_per_sample == 16 else np.float32))
            else:
                dtype = np.uint8 if video_format.bits_per_sample == 8 else np.uint16
                planes.append(generator.integers(0, 1 << video_format.bits_per_sample, shape).astype(dtype))
        result.append(planes)
    return result


def clip_of(
    frames: Sequence[Sequence[Any]],
    video_format: int,
    *,
    props: Sequence[Mapping[str, Any]] | None = None,
    asked: Counter[int] | None = None,
    fps: tuple[int, int] = (24, 1),
) -> vs.VideoNode:
    """A clip of the given planes, whose frame `n` has the properties `props[n]`; `asked` counts their requests."""
    height, width = np.asarray(frames[0][0]).shape
    blank = vs.core.std.BlankClip(
        format=video_format, width=width, height=height, length=len(frames), fpsnum=fps[0], fpsden=fps[1], keep=True
    )

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        if asked is not None:
            asked[n] += 1
        made = f.copy()
        for plane, values in enumerate(frames[n]):
            np.asarray(made[plane])[...] = values
        for name, value in (props[n] if props else {}).items():
            made.props[name] = value
        return made

    clip = blank.std.ModifyFrame(blank, fill)
    # Without a cache every request is counted, also those that VapourSynth would have answered from memory.
    clip.std.SetVideoCache(mode=0)
    return clip


def planes_of(frame: vs.VideoFrame) -> list[Any]:
    """Copies of the frame's planes."""
    return [np.array(plane) for plane in frame]


def all_planes(clip: vs.VideoNode) -> list[list[Any]]:
    """Copies of the planes of all frames, requested in order; without the collection of garbage that takes longer."""
    return [planes_of(frame) for frame in clip.frames(close=True, collect_garbage=False)]


def as_batch(frames: Sequence[Sequence[Any]]) -> Tensor:
    """`(N, 3, H, W)` of RGB planes."""
    return torch.from_numpy(np.stack([np.stack(planes) for planes in frames]))


class Repeat(nn.Module):
    """Repeats pixels, so that what comes out is known exactly."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(image * self.one, scale_factor=float(self.scale), mode="nearest")


def repeat(scale: int = 2) -> LoadedNetwork:
    """A network that repeats pixels."""
    return loaded(Repeat(scale), scale)
