"""Upscaling still images at their full depth, with their alpha."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esrgan.errors import EngineError
from esrgan_video.alpha import enlarged, flat_areas, nearest_visible
from esrgan_video.color_fix import match_low_frequencies
from esrgan_video.compare import Comparison
from esrgan_video.images.reading import read_image
from esrgan_video.images.still import Pixels, StillImage, check_pixels
from esrgan_video.images.writing import check_quality, check_target, write_image
from esrgan_video.protocol import BatchUpscaler
from esrgan_video.size import OutputSize, resize
from esrgan_video.working_set import picture_left_free

if TYPE_CHECKING:
    from esrgan_video.faces.restorer import FaceRestorer

_ROWS = 256
"""Of the result, that become integers together."""


def upscale_image(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    upscaler: BatchUpscaler,
    size: OutputSize | None = None,
    quality: int = 95,
    lossless: bool = False,
    compare: bool = False,
    color_fix: bool = False,
    faces: FaceRestorer | None = None,
) -> StillImage:
    """Upscale one image file into another; what cannot succeed is refused before the network runs.

    Args:
        source: see `read_image`.
        target: see `write_image`; replaced if it exists.
        upscaler: the network.
        size: of the output; the network's own scale by default.
        quality: of JPEG and WebP, 1 to 100.
        lossless: WebP without loss.
        compare: show the input, enlarged by bicubic, in the left half, and the result in the right one.
        color_fix: give the result the low frequencies of the input; see `match_low_frequencies`.
        faces: finds faces and restores them with a network of their own.

    Returns:
        The upscaled image as it was handed to the writer.

    Raises:
        UsageError: as `read_image` and `check_target`, among them a target that is the source.
        MediaError: the source cannot be read, or the target not be written.
        EngineError: the network cannot run, or the output does not fit into memory.
    """
    source, target = Path(source), Path(target)
    check_quality(quality)
    check_target(target, source=source)
    image = read_image(source)
    size = size or OutputSize()
    width, height = size.resolve(image.width, image.height, upscaler.scale)
    check_target(target, source=source, width=width, height=height, is_transparent=image.is_transparent)
    pixels = upscale_pixels(image.pixels, upscaler, size, color_fix=color_fix, faces=faces)
    if compare:
        pixels = _compared(image.pixels, pixels)
    large = StillImage(pixels, image.metadata)
    write_image(target, large, quality=quality, lossless=lossless)
    return large


def upscale_pixels(
    pixels: Pixels,
    upscaler: BatchUpscaler,
    size: OutputSize | None = None,
    *,
    color_fix: bool = False,
    faces: FaceRestorer | None = None,
) -> Pixels:
    """Upscale one image in memory.

    - Colours go through the network as float32 at their full depth, and are rounded half up.
    - Grey goes through as three equal channels and is the mean of what comes back: a mean lowers the
      network's noise most, and grey has no primaries that a luma formula could weigh.
    - Alpha goes through likewise, as a picture of its own. One value everywhere is kept as it is, and so is
      alpha wherever the input is flat (3x3 pixels): opaque stays opaque.
    - Colours that cannot be seen (alpha 0) are first replaced by the nearest that can, so that nothing bleeds
      across the edge.

    Args:
        pixels: see `Pixels`.
        upscaler: the network.
        size: of the output; the network's own scale by default.
        color_fix: give colours the low frequencies of the input; alpha is never touched.
        faces: restores faces, in colours alone.

    Returns:
        As `pixels`, same channels and dtype, in the new size.

    Raises:
        UsageError: another shape or dtype.
        EngineError: the network cannot run, or memory does not suffice for its output.
    """
    check_pixels(pixels)
    input_height, input_width, _ = pixels.shape
    width, height = (size or OutputSize()).resolve(input_width, input_height, upscaler.scale)
    pixel_bytes = pixels.shape[2] * pixels.itemsize
    try:
        with picture_left_free(
            upscaler, source=(input_width, input_height), size=(width, height), pixel_bytes=pixel_bytes
        ):
            return _upscale(pixels, upscaler, height, width, color_fix=color_fix, faces=faces)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise EngineError(
            f"not enough memory for the output of {input_width}x{input_height} pixels at network scale {upscaler.scale}"
        ) from error


def _compared(before: Pixels, after: Pixels) -> Pixels:
    """The picture of both, see `Comparison`; in any channel, alpha included, the line has the largest value."""
    peak = np.iinfo(after.dtype).max
    small, large = (
        torch.from_numpy(pixels.astype(np.float32) / np.float32(peak)).permute(2, 0, 1)[None]
        for pixels in (before, after)
    )
    return _quantised(Comparison()(small, large), peak)


def _is_out_of_memory(error: Exception) -> bool:
    # torch's CPU allocator has no exception type of its own.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _upscale(
    pixels: Pixels, upscaler: BatchUpscaler, height: int, width: int, *, color_fix: bool, faces: FaceRestorer | None
) -> Pixels:
    if pixels.shape[2] in (1, 3):
        return _upscale_planes(pixels, upscaler, height, width, color_fix=color_fix, faces=faces)
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    visible = _bled(colours, alpha[:, :, 0])
    large_colours = _upscale_planes(visible, upscaler, height, width, color_fix=color_fix, faces=faces)
    return np.concatenate((large_colours, _upscale_alpha(alpha, upscaler, height, width)), axis=2)


def _upscale_planes(
    planes: Pixels,
    upscaler: BatchUpscaler,
    height: int,
    width: int,
    *,
    color_fix: bool = False,
    faces: FaceRestorer | None = None,
) -> Pixels:
    """`(H, W, 1 or 3)` -> `(height, width, 1 or 3)`."""
    peak = np.iinfo(planes.dtype).max
    channels = planes.shape[2]
    values = torch.from_numpy(planes.astype(np.float32) / np.float32(peak))
    batch = values.permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous()  # (1, 3, H, W)
    with torch.inference_mode():
        large = upscaler(batch)
        if channels == 1:
            large = large.mean(dim=1, keepdim=True)
        large = resize(large, height, width)
        if color_fix:
            large = match_low_frequencies(large, batch[:, :channels].to(large.device))
        restored = [] if faces is None else faces.restore_still(batch, color_fix=color_fix)
        if restored:
            large = large.clone()
            for face in restored:
                face.paste(large, (planes.shape[0], planes.shape[1]))
        return _quantised(large, peak)


def _quantised(batch: Tensor, peak: int) -> Pixels:
    """`(1, C, H, W)` in 0..1 -> `(H, W, C)` in 0..peak, rounded half to even, as frames of video are."""
    _, channels, height, width = batch.shape
    result = np.empty((height, width, channels), np.uint8 if peak == 255 else np.uint16)
    for top in range(0, height, _ROWS):  # in bands: copies of a whole large picture take gigabytes
        levels = batch[0, :, top : top + _ROWS].clamp(0, 1).mul_(peak).round_()
        integers = levels.to(torch.uint8 if peak == 255 else torch.int32)
        result[top : top + _ROWS] = integers.permute(1, 2, 0).cpu().numpy()
    return result


def _upscale_alpha(alpha: Pixels, upscaler: BatchUpscaler, height: int, width: int) -> Pixels:
    """`(H, W, 1)` -> `(height, width, 1)`."""
    if alpha.min() == alpha.max():
        return np.full((height, width, 1), alpha.flat[0], alpha.dtype)
    large = _upscale_planes(alpha, upscaler, height, width)
    plane = alpha[:, :, 0]
    kept = enlarged(flat_areas(plane), height, width)
    return np.where(kept, enlarged(plane, height, width), large[:, :, 0])[:, :, None]


def _bled(colours: Pixels, alpha: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Give each invisible pixel the colour of the nearest visible one."""
    places = nearest_visible(alpha)
    if places is None:
        return colours
    filled: Pixels = colours.reshape(-1, colours.shape[2])[places]
    return filled
