"""Upscaling one image for a visitor, with the pair of pictures that the slider shows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from esrgan.errors import UsageError
from esrgan_gradio.html import duration
from esrgan_video.engine import Upscaler
from esrgan_video.faces.restorer import FaceRestorer
from esrgan_video.images import Pixels, StillImage, upscale_pixels, write_image
from esrgan_video.size import OutputSize, resize

MIN_SCALE, MAX_SCALE = 1.0, 8.0
"""Output scales on offer."""
SHOWN_SIDE = 2048
"""Longest side, in pixels, of the pictures that the page shows; the file has all of them."""


@dataclass(frozen=True, kw_only=True)
class PictureResult:
    """An upscaled image, and what the page shows of it."""

    file: Path
    """The PNG, with all pixels, depth, alpha and metadata."""
    before: Path | None
    """The input, enlarged with a bicubic filter to the size of `after`; `None` where nothing is shown."""
    after: Path | None
    """`file`, or a smaller copy where it is too large to show; `None` where nothing is shown."""
    source_size: tuple[int, int]
    """Width and height of the input."""
    size: tuple[int, int]
    """Width and height of the output."""
    seconds: float
    """Time that the network took."""
    where: str
    """Device and precision."""

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        sizes = " to ".join(f"{width} × {height}" for width, height in (self.source_size, self.size))
        return f"{sizes} pixels in {duration(self.seconds)} on {self.where}"


def checked_number(value: object, low: float, high: float, must: str) -> float:
    """A number that a visitor sent.

    Raises:
        UsageError: not a number from `low` to `high`: `must`, in words.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{must}, got {value!r}")
    return float(value)


def checked_scale(scale: object) -> float | None:
    """An output scale that a visitor sent; `None` is the model's own.

    Raises:
        UsageError: not a number from `MIN_SCALE` to `MAX_SCALE`.
    """
    if scale is None:
        return None
    return checked_number(scale, MIN_SCALE, MAX_SCALE, f"the output scale must be {MIN_SCALE:g} to {MAX_SCALE:g}")


def checked_strength(strength: object) -> float:
    """How much of restored faces a visitor wants.

    Raises:
        UsageError: not a number from 0 to 1.
    """
    return checked_number(strength, 0, 1, "the strength for faces must be 0 (leave them) to 1")


def checked_tile(tile: object) -> int | None:
    """A tile side that a visitor sent; `None` leaves the choice to the engine, 0 keeps images whole.

    Raises:
        UsageError: not `None`, 0, or 32 to 4096 pixels.
    """
    if tile is None:
        return None
    whole = isinstance(tile, int | float) and not isinstance(tile, bool) and float(tile).is_integer()
    if not whole or not (tile == 0 or 32 <= tile <= 4096):  # type: ignore[operator]
        raise UsageError(f"the tile must be 0 (whole image) or 32 to 4096 pixels, got {tile!r}")
    return int(tile)  # type: ignore[call-overload, no-any-return]


def upscale_picture(
    image: StillImage,
    upscaler: Upscaler,
    *,
    scale: float | None,
    folder: Path,
    stem: str,
    faces: FaceRestorer | None = None,
    show: bool = True,
) -> PictureResult:
    """Upscale `image` as `esrgan upscale` does into `folder`, and write what the page shows there, if it is to `show`.

    Raises:
        EngineError: the network cannot run, or memory does not suffice.
    """
    began = time.monotonic()
    pixels = upscale_pixels(image.pixels, upscaler, OutputSize(scale=scale), faces=faces)
    seconds = time.monotonic() - began
    large = replace(image, pixels=pixels)
    file = folder / f"{stem}_x{upscaler.scale if scale is None else scale:g}.png"
    write_image(file, large)
    before, after = _shown(image, large, file) if show else (None, None)
    return PictureResult(
        file=file,
        before=before,
        after=after,
        source_size=(image.width, image.height),
        size=(large.width, large.height),
        seconds=seconds,
        where=f"{upscaler.device} ({str(upscaler.dtype).removeprefix('torch.')})",
    )


def _shown(image: StillImage, large: StillImage, file: Path) -> tuple[Path, Path]:
    """Write what the page shows of `image` and of its enlargement in `file`, beside that file."""
    height, width = shown_size(large.height, large.width)
    before, after = file.with_name("before.png"), file
    write_image(before, replace(image, pixels=resized(image.pixels, height, width)))
    if (height, width) != (large.height, large.width):
        after = file.with_name("after.png")
        write_image(after, replace(image, pixels=resized(large.pixels, height, width)))
    return before, after


def shown_size(height: int, width: int, longest: int = SHOWN_SIDE) -> tuple[int, int]:
    """Height and width, reduced alike so that neither is more than `longest`."""
    ratio = min(1.0, longest / max(height, width))
    return max(1, math.floor(height * ratio + 0.5)), max(1, math.floor(width * ratio + 0.5))


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Bicubic resampling at the depth of `pixels`, `(H, W, C)` -> `(height, width, C)`."""
    if pixels.shape[:2] == (height, width):
        return pixels
    peak = np.iinfo(pixels.dtype).max
    planes = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]  # (1, C, H, W)
    large = resize(planes, height, width)[0].permute(1, 2, 0).clamp(0, peak).add_(0.5).floor_()
    return large.numpy().astype(pixels.dtype)
