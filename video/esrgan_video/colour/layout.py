"""How pixels lie in planes: colour model, depth, subsampling, alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from esrgan.errors import MediaError

if TYPE_CHECKING:
    from av.video.format import VideoFormat

Model = Literal["yuv", "rgb", "grey"]

_DEPTHS = (8, 9, 10, 12, 14, 16)
_SUBSAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}


@dataclass(frozen=True, kw_only=True)
class PixelLayout:
    """A planar, little-endian, integer pixel format.

    The order of planes is that of FFmpeg: Y, Cb, Cr (, A); G, B, R (, A); or Y alone.
    """

    model: Model
    """`yuv`: luma and two colour differences; `rgb`; `grey`: luma alone."""
    bits: int
    """Bits per sample: 8 (one byte) or 9 to 16 (two bytes, in the low bits)."""
    chroma_x: int = 1
    """Luma samples per chroma sample along a row: 1, 2 or 4."""
    chroma_y: int = 1
    """Luma samples per chroma sample along a column: 1, 2 or 4."""
    alpha: bool = False
    """Whether a last plane holds opacity."""

    @classmethod
    def of(cls, pix_fmt: str) -> PixelLayout:
        """The planar layout that holds `pix_fmt` without loss.

        Planar formats are their own layout; packed, semi-planar, big-endian and most-significant-bit
        formats get the planar one of equal depth and subsampling. Floating-point samples get 16 bits.

        Raises:
            MediaError: `pix_fmt` is unknown, or its frames live on another device.
        """
        from av.video.format import VideoFormat

        try:
            video_format = VideoFormat(pix_fmt, 16, 16)
        except ValueError as error:
            raise MediaError(f"pixel format {pix_fmt!r} is unknown") from error
        layout = _describe(video_format)
        if layout is None:
            raise MediaError(f"pixel format {pix_fmt!r} cannot be read: its samples are not in memory")
        return layout

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name of this layout."""
        depth = "" if self.bits == 8 else f"{self.bits}le"
        match self.model:
            case "grey":
                return f"gray{depth}"
            case "rgb":
                return f"gbr{'a' if self.alpha else ''}p{depth}"
            case "yuv":
                subsampling = _SUBSAMPLINGS[self.chroma_x, self.chroma_y]
                return f"yuv{'a' if self.alpha else ''}{subsampling}p{depth}"

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        """Type of one sample."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def peak(self) -> int:
        """Largest code value."""
        return (1 << self.bits) - 1

    @property
    def colour_planes(self) -> int:
        """Planes without alpha."""
        return 1 if self.model == "grey" else 3

    def plane_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each plane; chroma of an odd size is rounded up, as FFmpeg does."""
        chroma = (-(-height // self.chroma_y), -(-width // self.chroma_x))
        shapes = [(height, width)] + [chroma] * (self.colour_planes - 1)
        return [*shapes, (height, width)] if self.alpha else shapes

    def holds(self, pix_fmt: str) -> bool:
        """Whether planes of `pix_fmt` are this layout's planes as they stand."""
        return pix_fmt.replace("yuvj", "yuv") == self.pix_fmt


def _describe(video_format: VideoFormat) -> PixelLayout | None:
    """Layout from the components that FFmpeg reports; `None` for hardware frames, which have none."""
    name = video_format.name
    components = video_format.components
    if not components:
        return None
    if video_format.has_palette:
        return PixelLayout(model="rgb", bits=8, alpha=True)
    if name.startswith(("xyz", "bayer")):  # swscale turns these into RGB; nothing planar of their own exists
        return PixelLayout(model="rgb", bits=8 if name.endswith("8") else 16)
    alpha = any(component.is_alpha for component in components)
    colours = len(components) - alpha
    bits = max(component.bits for component in components)
    bits = 16 if _is_float(name) else next((depth for depth in _DEPTHS if depth >= bits), 16)
    if colours == 1 and not alpha:
        return PixelLayout(model="grey", bits=bits)
    if video_format.is_rgb or colours == 1:  # nothing planar holds grey with alpha
        return _existing("rgb", bits, 1, 1, alpha)
    chroma_x, chroma_y = 16 // video_format.chroma_width(16), 16 // video_format.chroma_height(16)
    return _existing("yuv", bits, chroma_x, chroma_y, alpha)


def _existing(model: Model, bits: int, chroma_x: int, chroma_y: int, alpha: bool) -> PixelLayout:
    """The layout with the fewest bits, at least `bits`, that FFmpeg has; a few depths are missing with alpha."""
    from av.video.format import names

    layout = PixelLayout(model=model, bits=bits, chroma_x=chroma_x, chroma_y=chroma_y, alpha=alpha)
    for depth in _DEPTHS:
        layout = PixelLayout(model=model, bits=depth, chroma_x=chroma_x, chroma_y=chroma_y, alpha=alpha)
        if depth >= bits and layout.pix_fmt in names:
            break
    return layout


def _is_float(name: str) -> bool:
    return "f16" in name or "f32" in name
