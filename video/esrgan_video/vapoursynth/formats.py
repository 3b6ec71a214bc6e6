"""Which formats the filter takes, and the way to and from the RGB that a network works on.

The project's own conversion is used, not the core's resizer: that one reduces chroma with a triangle filter (1-3-3-1
where samples lie between lines) and this project with a box (1-1), which differs by up to 6 code values of 255. A
script and the command are to give the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from esrgan.errors import UsageError
from esrgan_video.colour import Colour, PixelLayout, from_rgb, restore_gamut, to_rgb
from esrgan_video.colour.convert import rgb_from_yuv, yuv_from_rgb
from esrgan_video.colour.description import Matrix

if TYPE_CHECKING:
    import vapoursynth as vs

TAKES = "a clip of constant size and format: RGB, YUV or GRAY, integer of 8 to 16 bits, or float of 16 or 32 bits"
"""What `esrgan` takes, in the words of its errors."""

MATRICES = {"709": 1, "fcc": 4, "470bg": 5, "170m": 6, "240m": 7, "ycgco": 8, "2020ncl": 9}
"""Matrices of YUV by the resizer's names, with their codes in ITU-T H.273."""

_RGB_AS_STORED = (1, 2, 0)
"""Planes of R, G, B in the order of `PixelLayout`: G, B, R."""


def check_clip(clip: Any) -> None:
    """Refuse what the filter cannot take.

    Raises:
        UsageError: not a video clip, a variable size or format, or integers of more than 16 bits.
    """
    import vapoursynth as vs

    if not isinstance(clip, vs.VideoNode):
        raise UsageError(f"esrgan takes {TAKES}; got {type(clip).__name__}")
    if not clip.width or not clip.height:
        raise UsageError(f"esrgan takes {TAKES}; got a clip of variable size: bring it to one size with resize.Bicubic")
    if clip.format is None or clip.format.color_family == vs.UNDEFINED:
        raise UsageError(
            f"esrgan takes {TAKES}; got a clip of variable format: bring it to one format with resize.Bicubic"
        )
    if clip.format.sample_type == vs.INTEGER and clip.format.bits_per_sample > 16:
        raise UsageError(f"esrgan takes {TAKES}; got {clip.format.name}")


def check_size(clip: vs.VideoNode, width: int, height: int) -> None:
    """Refuse an output size that the subsampling of the clip cannot have.

    Raises:
        UsageError: a side that is not a whole number of chroma samples.
    """
    across, down = 1 << clip.format.subsampling_w, 1 << clip.format.subsampling_h
    if width % across or height % down:
        raise UsageError(
            f"esrgan: {clip.format.name} cannot be {width}x{height}, its sides are multiples of {across} and {down}: "
            "use another scale, or convert the clip to YUV444 first"
        )


def matrix_code(matrix: str | int) -> int:
    """The code of a matrix that was given by its name or code.

    Raises:
        UsageError: another name or code.
    """
    code = MATRICES.get(matrix) if isinstance(matrix, str) else matrix
    if code is None or code not in MATRICES.values():
        raise UsageError(f"esrgan: matrix_in must be one of {_matrix_list()}, got {matrix!r}")
    return int(code)


@dataclass(frozen=True)
class Samples:
    """How the planes of one format hold a picture."""

    model: str
    """`rgb`, `yuv` or `grey`."""
    step: tuple[int, int]
    """Luma samples per chroma sample, horizontally and vertically."""
    layout: PixelLayout | None
    """Of integers; `None` for float, which is full range: 0..1, chroma -0.5..0.5."""

    @classmethod
    def of(cls, video_format: vs.VideoFormat) -> Samples:
        """Of a format that `check_clip` lets pass."""
        import vapoursynth as vs

        names = {vs.RGB: "rgb", vs.YUV: "yuv", vs.GRAY: "grey"}
        model: Any = names[video_format.color_family]
        across, down = 1 << video_format.subsampling_w, 1 << video_format.subsampling_h
        layout = None
        if video_format.sample_type == vs.INTEGER:
            layout = PixelLayout(model=model, bits=video_format.bits_per_sample, chroma_x=across, chroma_y=down)
        return cls(model, (across, down), layout)

    @property
    def is_float_picture(self) -> bool:
        """Whether frames go to the network as they are: float RGB and GRAY."""
        return self.layout is None and self.model != "yuv"

    def to_rgb(self, planes: Sequence[Tensor], colour: Colour) -> Tensor:
        """`(1, 3, H, W)` float32 of the planes of one frame, each `(h, w)`."""
        if self.layout is not None:
            stored = [planes[index][None] for index in (_RGB_AS_STORED if self.model == "rgb" else range(len(planes)))]
            return to_rgb(stored, self.layout, colour)
        values = [plane[None].float() for plane in planes]
        if self.model == "yuv":
            return rgb_from_yuv(values[0], torch.stack(values[1:], 1), self.step, colour)
        return torch.stack(values, 1).expand(-1, 3, -1, -1)

    def from_rgb(self, rgb: Tensor, colour: Colour, beyond: Tensor | None) -> list[Tensor]:
        """The planes of one frame, `(h, w)`, from `(1, 3, H, W)`; float ones as float32.

        Where `beyond` is given, `restore_gamut` is done first; `rgb` may be changed.
        """
        if self.layout is not None:
            made = from_rgb(rgb, self.layout, colour, beyond=beyond)
            planes = [made[_RGB_AS_STORED.index(channel)] for channel in range(3)] if self.model == "rgb" else made
            return [plane[0] for plane in planes]
        rgb = rgb if beyond is None else restore_gamut(rgb, beyond)
        if self.model == "yuv":
            luma, chroma = yuv_from_rgb(rgb, self.step, colour)
            return [luma[0], chroma[0, 0], chroma[0, 1]]
        return list(rgb[0] if self.model == "rgb" else rgb[0, :1])


def colour_of(props: Any, samples: Samples, *, number: int, format_name: str) -> Colour:
    """What the samples of frame `number` mean, as its properties say.

    Raises:
        UsageError: YUV whose matrix is missing or has no conversion.
    """
    matrix = int(props.get("_Matrix", Matrix.UNSPECIFIED))
    if samples.model != "yuv":
        matrix = int(Matrix.RGB if samples.model == "rgb" else Matrix.BT709)
    elif matrix not in MATRICES.values():
        raise UsageError(_bad_matrix(number, format_name, matrix))
    location = props.get("_ChromaLocation")
    return Colour(
        matrix=matrix,
        full_range=bool(props.get("_Range", samples.model == "rgb")),
        chroma_location=0 if location is None else int(location) + 1,  # FFmpeg has "unspecified" at 0
    )


def _bad_matrix(number: int, format_name: str, matrix: int) -> str:
    said = "does not say which matrix it has" if matrix in (0, 2, 3) else f"has matrix {matrix}, which is not converted"
    return (
        f"esrgan: frame {number} ({format_name}) {said}: name it with matrix_in, one of {_matrix_list()}, or set "
        "the frame property _Matrix (1 for BT.709, usual for HD; 6 for BT.601, usual for SD)"
    )


def _matrix_list() -> str:
    return ", ".join(f'"{name}"' for name in MATRICES)
