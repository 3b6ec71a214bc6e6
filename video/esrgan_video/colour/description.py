"""What code values mean: matrix, range, primaries, transfer and chroma siting (ITU-T H.273)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from esrgan_video.colour.layout import PixelLayout

UNSPECIFIED = 2
"""H.273's value for "unspecified", in matrix, primaries and transfer alike."""


class Matrix(IntEnum):
    """MatrixCoefficients of ITU-T H.273, table 4; FFmpeg uses the same numbers."""

    RGB = 0
    BT709 = 1
    UNSPECIFIED = 2
    FCC = 4
    BT470BG = 5
    SMPTE170M = 6
    SMPTE240M = 7
    YCGCO = 8
    BT2020_NCL = 9
    BT2020_CL = 10


class _Location(IntEnum):
    """FFmpeg's AVChromaLocation: H.273's ChromaLocType plus one."""

    UNSPECIFIED = 0
    LEFT = 1
    CENTER = 2
    TOPLEFT = 3
    TOP = 4
    BOTTOMLEFT = 5
    BOTTOM = 6


_SITING = {
    _Location.LEFT: (0.0, 0.5),
    _Location.CENTER: (0.5, 0.5),
    _Location.TOPLEFT: (0.0, 0.0),
    _Location.TOP: (0.5, 0.0),
    _Location.BOTTOMLEFT: (0.0, 1.0),
    _Location.BOTTOM: (0.5, 1.0),
}
"""Horizontal and vertical place of a chroma sample between its first and its last luma sample (H.273, figure 10)."""

_KR_KB = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.FCC: (0.30, 0.11),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.SMPTE170M: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087),
    Matrix.BT2020_NCL: (0.2627, 0.0593),
}
"""Weights of red and blue in luma: H.273, table 4 (after BT.601-7, BT.709-6, SMPTE ST 240, BT.2020-2)."""

_RANGE_FULL = 2  # AVCOL_RANGE_JPEG
_PRIMARIES_BT2020 = 9
_TRANSFERS_HDR = (16, 18)  # PQ (SMPTE ST 2084) and HLG (ARIB STD-B67), both of BT.2100, which builds on BT.2020


@dataclass(frozen=True, kw_only=True)
class Colour:
    """The meaning of code values. Numbers are those of ITU-T H.273 (and of FFmpeg)."""

    matrix: int
    """MatrixCoefficients; never unspecified: see `resolve_colour`."""
    full_range: bool
    """Code values use the whole of 0..2^n - 1, else 16..235 (luma) and 16..240 (chroma), times 2^(n-8)."""
    primaries: int = UNSPECIFIED
    """ColourPrimaries: carried, never used for computing."""
    transfer: int = UNSPECIFIED
    """TransferCharacteristics: carried, never used for computing."""
    chroma_location: int = 0
    """FFmpeg's AVChromaLocation; 0 is unspecified and read as `left`."""

    @property
    def is_exact(self) -> bool:
        """Whether `matrix` has a linear conversion that is known here; if not, BT.2020's stands in for it."""
        return self.matrix in _KR_KB or self.matrix in (Matrix.RGB, Matrix.YCGCO)

    @property
    def kr_kb(self) -> tuple[float, float]:
        """Weights of red and blue in luma."""
        known = {int(matrix): weights for matrix, weights in _KR_KB.items()}
        return known.get(self.matrix, _KR_KB[Matrix.BT2020_NCL])

    @property
    def siting(self) -> tuple[float, float]:
        """Horizontal and vertical place of a chroma sample: 0 at its first luma sample, 1 at its last."""
        known = {int(location): place for location, place in _SITING.items()}
        return known.get(self.chroma_location, _SITING[_Location.LEFT])

    def for_layout(self, layout: PixelLayout) -> Colour:
        """This colour when the pixels are written in another model.

        RGB planes are full range without a matrix. RGB that becomes YUV takes BT.709, limited range.
        """
        if layout.model == "rgb":
            return replace(self, matrix=int(Matrix.RGB), full_range=True, chroma_location=0)
        if self.matrix == Matrix.RGB:
            return replace(self, matrix=int(Matrix.BT709), full_range=False, chroma_location=0)
        return self


def guess_matrix(width: int, height: int, primaries: int = UNSPECIFIED, transfer: int = UNSPECIFIED) -> Matrix:
    """The matrix of pictures that do not say which: what mpv and VLC assume.

    BT.2020 when primaries or transfer say so, BT.709 for pictures wider than 1279 or higher than 576,
    else BT.601.
    """
    if primaries == _PRIMARIES_BT2020 or transfer in _TRANSFERS_HDR:
        return Matrix.BT2020_NCL
    return Matrix.BT709 if width >= 1280 or height > 576 else Matrix.SMPTE170M


def resolve_colour(
    *,
    pix_fmt: str,
    width: int,
    height: int,
    matrix: int,
    color_range: int,
    primaries: int,
    transfer: int,
    chroma_location: int,
) -> Colour:
    """Tags of a frame, with what is unspecified filled in as players do.

    Args:
        pix_fmt: FFmpeg's pixel format: `yuvj…` is full range, RGB has no matrix.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        matrix: H.273's MatrixCoefficients.
        color_range: 0 unspecified, 1 limited, 2 full.
        primaries: H.273's ColourPrimaries.
        transfer: H.273's TransferCharacteristics.
        chroma_location: FFmpeg's AVChromaLocation.
    """
    model = PixelLayout.of(pix_fmt).model
    if model == "rgb":
        matrix = int(Matrix.RGB)
    elif matrix in (UNSPECIFIED, 3) or matrix == Matrix.RGB:  # 3 is reserved; YUV tagged as RGB is a mistake
        matrix = int(guess_matrix(width, height, primaries, transfer))
    full_by_default = model != "yuv" or pix_fmt.startswith("yuvj")
    return Colour(
        matrix=matrix,
        full_range=color_range == _RANGE_FULL or (color_range == 0 and full_by_default),
        primaries=primaries,
        transfer=transfer,
        chroma_location=chroma_location,
    )
