"""A few frames of what is to be upscaled, spread over its length: what a network is calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from esrgan.errors import UsageError
from esrgan_video.colour import to_rgb
from esrgan_video.container import Frame, TimeRange
from esrgan_video.images import read_image
from esrgan_video.options import VideoOptions
from esrgan_video.pipes.names import PIPE
from esrgan_video.sources import open_source

COUNT = 8


def sample_image(path: Path) -> Tensor:
    """A still image, `(1, 3, H, W)` in 0..1.

    Raises:
        UsageError: no such file.
        MediaError: it cannot be read.
    """
    pixels = read_image(path).pixels
    peak = np.iinfo(pixels.dtype).max
    colours = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1].repeat(3, axis=-1)
    return torch.from_numpy(colours.astype(np.float32) / peak).permute(2, 0, 1)[None]


def sample_video(path: Path, options: VideoOptions, count: int = COUNT) -> Iterator[Tensor]:
    """Frames of a video, `(1, 3, H, W)` in 0..1, from places spread over the part that `options` name.

    Where a video does not say how long it is, they are its first ones.

    Raises:
        UsageError: a pipe, which can be read only once, or no such file.
        MediaError: it cannot be read.
    """
    if path == PIPE:
        raise UsageError("dtype int8 reads its input twice, which a pipe cannot be: give a file")
    with open_source(path, options) as reader:
        frames, rate = reader.expected_frames, reader.info.rate
        if not frames or not rate or frames <= count:
            yield from (_colours(frame) for frame, _ in zip(reader.frames(), range(count), strict=False))
            return
    start = options.time_range.start or Fraction(0)
    for index in range(count):
        number = frames * (2 * index + 1) // (2 * count)
        one = TimeRange(start=start + max(Fraction(0), number - Fraction(1, 2)) / rate, frames=1)
        # Where times are uneven, there may be no frame after the last of these moments.
        with suppress(UsageError), open_source(path, replace(options, time_range=one)) as reader:
            yield from map(_colours, reader.frames())


def _colours(frame: Frame) -> Tensor:
    # Copied, as planes of scripts cannot be written to, which torch warns of.
    planes = [torch.from_numpy(np.array(plane))[None] for plane in frame.planes]
    return to_rgb(planes[: frame.layout.colour_planes], frame.layout, frame.colour).clamp(0, 1)


def sample(images: Sequence[Path], videos: Sequence[Path], options: VideoOptions) -> list[Tensor]:
    """Frames of the first inputs, at most `COUNT` of all."""
    found = [sample_image(path) for path in images[:COUNT]]
    share = max(1, (COUNT - len(found)) // max(1, len(videos)))
    for path in videos:
        if len(found) < COUNT:
            found += sample_video(path, options, share)
    return found
