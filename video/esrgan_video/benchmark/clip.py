"""A clip to measure with: a picture with the spectrum of photographs that moves, so that no frame repeats another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import torch
from torch import Tensor

from esrgan_video.engine.precision import probe_picture

_RATE = 25


def moving_frames(width: int, height: int, count: int) -> Iterator[Tensor]:
    """`count` frames `(3, height, width)` in 0..1: a window on a larger picture, one pixel further each time."""
    picture = probe_picture(max(width, height) + count)[0]
    for index in range(count):
        yield picture[:, index : index + height, index : index + width]


def write_clip(file: Path, width: int, height: int, count: int) -> None:
    """Write the frames as H.264 of high quality, 4:2:0 where sides are even."""
    sampling = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, sampling
        for frame in moving_frames(width, height, count):
            pixels = (frame.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
