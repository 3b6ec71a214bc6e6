"""`thumbnail`: a frame made small, as numbers that mean the same whatever its format, depth, range and matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Array = NDArray[np.float64]

_LONGEST_SIDE = 160
"""Of a thumbnail, in pixels."""
_COLOUR_SIDE = 24
"""Most columns and rows of its colours."""
_COLOUR_CELL = 16
"""Fewest pixels of a thumbnail across one of these: what chroma resampling smears is small against them."""
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Share of red and of blue in luma, by MatrixCoefficients of ITU-T H.273, table 4."""
_RGB, _UNSPECIFIED = 0, 2
_FULL = 2  # AVCOL_RANGE_JPEG


@dataclass(frozen=True)
class Thumbnail:
    """A frame made small by taking means over equal areas."""

    luma: Array
    """`(h, w)`, black 0 and white 1."""
    colours: Array | None
    """`(n, 3)` BT.709 luma, blue and red difference of a coarser grid; `None` where the matrix is not linear."""
    alpha: Array | None
    """`(h, w)`, opaque 1; `None` without transparency."""


def thumbnail_size(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of thumbnails that both pictures can be made into: at most the smaller picture's own."""
    width, height = min(source[0], target[0]), min(source[1], target[1])
    factor = min(1.0, _LONGEST_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def thumbnail(
    frame: VideoFrame, size: tuple[int, int], matrix: int, full_range: bool, *, by_alpha: bool = False
) -> Thumbnail:
    """Make a frame small.

    Args:
        frame: as decoded, in any pixel format that is in memory.
        size: columns and rows.
        matrix: MatrixCoefficients of its code values.
        full_range: whether they use the whole range.
        by_alpha: whether colours are shown on black as far as they are opaque: what cannot be seen may be anything.
    """
    frame = _planar(frame)
    planes, alpha = _planes(frame)
    bits = frame.format.components[0].bits
    black, white, spread = (0, 1, 1) if frame.format.is_rgb else _levels(bits, full_range)
    if by_alpha and alpha is not None:
        opacity = alpha / (2**bits - 1)
        neutral = [black] * 3 if frame.format.is_rgb or len(planes) == 1 else [black] + [2 ** (bits - 1)] * 2
        planes = [_on(value, plane, opacity) for value, plane in zip(neutral, planes, strict=False)]
    small_alpha = None if alpha is None else shrink(alpha, size) / (2**bits - 1)
    coarse = tuple(max(1, min(_COLOUR_SIDE, side // _COLOUR_CELL)) for side in size)
    if frame.format.is_rgb:
        green, blue, red = (plane / (2**bits - 1) for plane in (shrink(plane, size) for plane in planes[:3]))
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        rgb = [shrink(plane, (coarse[0], coarse[1])) for plane in (red, green, blue)]
        return Thumbnail(luma, _to_bt709(*rgb), small_alpha)
    luma = (shrink(planes[0], size) - black) / (white - black)
    small = shrink(luma, (coarse[0], coarse[1]))
    if len(planes) == 1:
        colours: Array | None = np.stack([small.ravel(), *[np.zeros(small.size)] * 2], axis=1)
    elif matrix in _WEIGHTS:
        differences = [(shrink(plane, (coarse[0], coarse[1])) - 2 ** (bits - 1)) / spread for plane in planes[1:3]]
        colours = _to_bt709(*_to_rgb(small, differences[0], differences[1], _WEIGHTS[matrix]))
    else:
        colours = None
    return Thumbnail(luma, colours, small_alpha)


def assumed_matrix(matrix: int, width: int, height: int, primaries: int, transfer: int) -> int:
    """The matrix that players take where none is said: by the primaries or the transfer, else by the size."""
    if matrix not in (_RGB, _UNSPECIFIED, 3):
        return matrix
    if primaries == 9 or transfer in (16, 18):
        return 9
    return 1 if width >= 1280 or height > 576 else 6


def has_alpha(pix_fmt: str) -> bool:
    """Whether a pixel format holds transparency."""
    from av.video.format import VideoFormat

    video_format = VideoFormat(pix_fmt, 16, 16)
    return video_format.has_palette or any(component.is_alpha for component in video_format.components)


def is_full_range(frame: VideoFrame) -> bool:
    """Whether code values use the whole range, by the tag or else by the format's custom."""
    if frame.color_range:
        return int(frame.color_range) == _FULL
    return frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray", "pal", "mono", "ya"))


def _on(background: float, plane: Array, opacity: Array) -> Array:
    """A plane over a flat background; a coarser one takes the mean opacity of what it covers."""
    if plane.shape != opacity.shape:
        opacity = shrink(opacity, (plane.shape[1], plane.shape[0]))
    return background + (plane.astype(np.float64) - background) * opacity


def shrink(plane: Array, size: tuple[int, int]) -> Array:
    """Means over equal areas, parts of pixels counted as parts: `(H, W)` to `(size[1], size[0])`, which is not more."""
    return _shrink_rows(_shrink_rows(plane, size[1]).T, size[0]).T


def _shrink_rows(plane: Array, count: int) -> Array:
    rows = plane.shape[0]
    edges = np.arange(count + 1) * rows / count
    whole = np.minimum(np.floor(edges + 1e-9).astype(int), rows)
    dtype = np.uint32 if plane.dtype.kind == "u" else np.float64
    blocks = np.add.reduceat(plane, whole[:-1], axis=0, dtype=dtype).astype(np.float64)
    before = np.concatenate([np.zeros((1, plane.shape[1])), np.cumsum(blocks, axis=0)])
    before[:-1] += (edges - whole)[:-1, None] * plane[whole[:-1]]
    result: Array = np.diff(before, axis=0) * (count / rows)
    return result


def _planar(frame: VideoFrame) -> VideoFrame:
    """The same code values, one component to a plane."""
    form = frame.format
    bits = max(component.bits for component in form.components)
    regular = form.name.startswith(("yuv", "gbr", "gray")) and not form.name.startswith(("yuyv", "yuvyuv", "grayf"))
    if regular and "f" not in form.name and len(list(frame.planes)) == len(form.components) and bits <= 16:
        return frame
    deep = "16le" if bits > 8 else ""
    alpha = len(form.components) in (2, 4) or form.has_palette
    if form.is_rgb or form.has_palette:
        name = f"gbr{'a' if alpha else ''}p{deep}"
    elif len(form.components) < 3:
        name = f"yuva444p{deep}" if alpha else f"gray{deep}"
    else:
        name = f"yuv{'a' if alpha else ''}444p{deep}"
    # With equal ranges and matrices on both sides nothing is converted but the layout.
    same = int(frame.color_range) or (_FULL if is_full_range(frame) else 1)
    return frame.reformat(format=name, src_color_range=same, dst_color_range=same, threads=1)


def _planes(frame: VideoFrame) -> tuple[list[Any], Any]:
    """Code values of the colour planes and of the alpha plane, without padding."""
    form = frame.format
    wide = max(component.bits for component in form.components) > 8
    dtype = np.dtype(("<u2", ">u2")[form.is_big_endian] if wide else "u1")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8)[: abs(plane.line_size) * plane.height]
        rows = rows.reshape(plane.height, abs(plane.line_size))[:: -1 if plane.line_size < 0 else 1]
        planes.append(rows[:, : plane.width * dtype.itemsize].view(dtype))
    has_alpha = len(planes) in (2, 4)
    return (planes[:-1], planes[-1]) if has_alpha else (planes, None)


def _levels(bits: int, full_range: bool) -> tuple[float, float, float]:
    """Code values of black and white, and the width of the colour differences (H.273, equations 20 to 31)."""
    if full_range:
        return 0, 2**bits - 1, 2**bits - 1
    unit = 2 ** (bits - 8)
    return 16 * unit, 235 * unit, 224 * unit


def _to_rgb(luma: Array, blue: Array, red: Array, weights: tuple[float, float]) -> tuple[Array, Array, Array]:
    kr, kb = weights
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return r, (luma - kr * r - kb * b) / (1 - kr - kb), b


def _to_bt709(r: Array, g: Array, b: Array) -> Array:
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return np.stack([luma.ravel(), ((b - luma) / 1.8556).ravel(), ((r - luma) / 1.5748).ravel()], axis=1)
