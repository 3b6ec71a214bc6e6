"""ITU-T H.273's equations in float64, written from the standard: what colour is tested against."""

from __future__ import annotations

import numpy as np

from esrgan_video.colour import Colour, Matrix, PixelLayout

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
SITINGS = {0: (0, 0.5), 1: (0, 0.5), 2: (0.5, 0.5), 3: (0, 0), 4: (0.5, 0), 5: (0, 1), 6: (0.5, 1)}


def reference_matrix(matrix: int) -> np.ndarray:
    """Rows Y, Cb, Cr of H.273; its inverse is left to numpy."""
    if matrix == Matrix.YCGCO:
        return np.array([[1, 2, 1], [-1, 2, -1], [2, 0, -2]]) / 4
    kr, kb = KR_KB[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    return np.stack(
        [luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - kb)), (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))]
    )


def reference_scales(layout: PixelLayout, colour: Colour) -> tuple[float, float, float, float]:
    """Offset and span of luma, then of chroma."""
    middle = 2 ** (layout.bits - 1)
    if colour.full_range:
        return 0, layout.peak, middle, layout.peak
    unit = 2 ** (layout.bits - 8)
    return 16 * unit, 219 * unit, middle, 224 * unit


def reference_upsample(plane: np.ndarray, height: int, width: int, layout: PixelLayout, colour: Colour) -> np.ndarray:
    """numpy.interp along both axes, at the places of luma measured in chroma samples."""
    result = plane
    for axis, size, step, side in ((1, width, layout.chroma_x, 0), (0, height, layout.chroma_y, 1)):
        places = (np.arange(size) - SITINGS[colour.chroma_location][side] * (step - 1)) / step
        samples = np.arange(result.shape[axis])
        result = np.apply_along_axis(lambda line, x=places, xp=samples: np.interp(x, xp, line), axis, result)
    return result


def reference_downsample(full: np.ndarray, layout: PixelLayout, colour: Colour) -> np.ndarray:
    """The mean over a window one step wide, on pixels that were each cut into 8."""
    result = full
    for axis, step, side in ((1, layout.chroma_x, 0), (0, layout.chroma_y, 1)):
        count = -(-result.shape[axis] // step)
        padded = np.pad(result, [(8, 8) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        fine = np.repeat(padded, 8, axis)
        starts = [
            round(8 * (8 + i * step + SITINGS[colour.chroma_location][side] * (step - 1) - step / 2 + 0.5))
            for i in range(count)
        ]
        result = np.stack([fine.take(range(start, start + 8 * step), axis).mean(axis) for start in starts], axis)
    return result


def reference_to_rgb(planes: list[np.ndarray], layout: PixelLayout, colour: Colour) -> np.ndarray:
    height, width = planes[0].shape
    black, span, middle, chroma_span = reference_scales(layout, colour)
    luma = (planes[0].astype(np.float64) - black) / span
    differences = [
        reference_upsample((plane.astype(np.float64) - middle) / chroma_span, height, width, layout, colour)
        for plane in planes[1:3]
    ]
    return np.tensordot(np.linalg.inv(reference_matrix(colour.matrix)), np.stack([luma, *differences]), 1)


def reference_from_rgb(rgb: np.ndarray, layout: PixelLayout, colour: Colour) -> list[np.ndarray]:
    black, span, middle, chroma_span = reference_scales(layout, colour)
    luma, *differences = np.tensordot(reference_matrix(colour.matrix), rgb, 1)
    planes = [luma * span + black]
    planes += [reference_downsample(plane, layout, colour) * chroma_span + middle for plane in differences]
    return [plane.clip(0, layout.peak) for plane in planes]
