"""A still of a running video job: one frame before and after, at a size that a page can show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from esrgan_gradio.pictures import shown_size
from esrgan_video.colour import to_rgb
from esrgan_video.container import Frame, VideoInfo
from esrgan_video.size import resize
from esrgan_video.transform import UpscaledGroup

STILL_SIDE = 960
"""Longest side of a still in pixels."""
_QUALITY = 92


def write_stills(group: UpscaledGroup, info: VideoInfo, folder: Path, name: str) -> tuple[Path, Path]:
    """Write the last frame of `group` before and after into `folder`: two JPEG of equal size, upright.

    Returns:
        The file of the frame as it was, enlarged with a bicubic filter, and that of the result.
    """
    before = frame_rgb(group.sources[-1])
    after = frame_rgb(next(group.frames(-1)))
    height, width = display_size(after.shape[-2], after.shape[-1], info)
    paths = folder / f"{name}-before.jpg", folder / f"{name}-after.jpg"
    for rgb, path in zip((before, after), paths, strict=True):
        upright(to_image(resize(rgb, height, width)), info).save(path, "JPEG", quality=_QUALITY, subsampling=0)
    return paths


def frame_rgb(frame: Frame) -> Tensor:
    """`(1, 3, H, W)` of a decoded frame."""
    planes = [torch.from_numpy(plane)[None] for plane in frame.planes[: frame.layout.colour_planes]]
    return to_rgb(planes, frame.layout, frame.colour)


def to_image(rgb: Tensor) -> Image.Image:
    """An 8-bit picture of `(1, 3, H, W)` in 0..1."""
    levels = (rgb[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(levels.cpu().numpy()))


def display_size(height: int, width: int, info: VideoInfo, longest: int = STILL_SIDE) -> tuple[int, int]:
    """Height and width with square pixels, before the rotation for display."""
    shape = float(info.sample_aspect_ratio or 1)
    return shown_size(height, max(1, round(width * shape)), longest)


def upright(picture: Image.Image, info: VideoInfo) -> Image.Image:
    """`picture` turned as a player would turn the video."""
    turns = quarter_turns(info.display_matrix)
    return picture if not turns else picture.rotate(90 * turns, expand=True)


def quarter_turns(matrix: tuple[int, ...] | None) -> int:
    """Quarter turns counter-clockwise for display that FFmpeg's `matrix` means, 0 to 3."""
    if matrix is None:
        return 0
    # Rows of the matrix transform (x, y, 1), y downwards: an angle in it is one clockwise on the screen.
    clockwise = math.degrees(math.atan2(matrix[1], matrix[0]))
    return round(-clockwise / 90) % 4
