"""Which formats the filter takes, and the way to and from the float planes that a network works on.

The core's resizer converts, with matrix, range and chroma location from each frame's properties. Chroma goes
through a bilinear filter, as everywhere in this project, so that a network sees the same picture in a script and in
the command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from esrgan.errors import UsageError

if TYPE_CHECKING:
    import vapoursynth as vs

TAKES = "a clip of constant size and format: RGB, YUV or GRAY, integer of 8 to 16 bits, or float of 16 or 32 bits"
"""What `esrgan` takes, in the words of its errors."""

MATRICES = {"709": 1, "fcc": 4, "470bg": 5, "170m": 6, "240m": 7, "ycgco": 8, "2020ncl": 9}
"""Matrices of YUV by the resizer's names, with their codes in ITU-T H.273."""

_FULL, _LIMITED = 1, 0
_RGB = 0


def check_clip(clip: Any) -> None:
    """Refuse what the filter cannot take.

    Raises:
        UsageError: not a video clip, a variable size or format, or samples that the resizer cannot read.
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


def is_float_picture(video_format: vs.VideoFormat) -> bool:
    """Whether frames go to the network as they are: float RGB and GRAY."""
    import vapoursynth as vs

    return bool(video_format.sample_type == vs.FLOAT and video_format.color_family != vs.YUV)


def working_format(video_format: vs.VideoFormat) -> Any:
    """The float format that frames have while the network works: their own where `is_float_picture`."""
    import vapoursynth as vs

    if is_float_picture(video_format):
        return video_format.id
    return vs.GRAYS if video_format.color_family == vs.GRAY else vs.RGBS


def to_working(clip: vs.VideoNode) -> vs.VideoNode:
    """The frames of `clip` in its working format, full range."""
    if is_float_picture(clip.format):
        return clip
    target = working_format(clip.format)
    # The resizer refuses codes that it does not know, also of what plays no part in this conversion, and it
    # treats fields apart, which the network does not.
    bare = clip.std.RemoveFrameProps(["_Matrix", "_Transfer", "_Primaries", "_FieldBased"])
    template = bare.std.BlankClip(format=target, keep=True)
    return _by_coding(template, clip, lambda coding: bare.resize.Bilinear(format=target, **coding.arguments("_in")))


def from_working(large: vs.VideoNode, source: vs.VideoNode) -> vs.VideoNode:
    """Frames in the working format to the format of `source`, coded as the frame of `source` with their number is."""
    if is_float_picture(source.format):
        return large
    template = large.std.BlankClip(format=source.format.id, keep=True)
    own = {"range_in": _FULL} | ({"matrix_in": _RGB} if large.format.num_planes == 3 else {})
    return _by_coding(
        template,
        source,
        lambda coding: large.resize.Bilinear(format=source.format.id, **own, **coding.arguments("")),
    )


@dataclass(frozen=True)
class _Coding:
    """What the samples of a frame mean, in H.273's codes; `None` where its format leaves no choice."""

    matrix: int | None
    full_range: int
    chroma_location: int | None

    @classmethod
    def of(cls, props: Any, video_format: vs.VideoFormat, number: int) -> _Coding:
        """From the properties of frame `number`.

        Raises:
            UsageError: YUV whose matrix is missing or has no conversion.
        """
        import vapoursynth as vs

        is_yuv = video_format.color_family == vs.YUV
        is_rgb = video_format.color_family == vs.RGB
        matrix = int(props.get("_Matrix", vs.MATRIX_UNSPECIFIED))
        if is_yuv and matrix not in MATRICES.values():
            raise UsageError(_bad_matrix(number, video_format, matrix))
        location = props.get("_ChromaLocation") if video_format.subsampling_w or video_format.subsampling_h else None
        return cls(
            matrix=matrix if is_yuv else None,
            full_range=int(props.get("_Range", _FULL if is_rgb else _LIMITED)),
            chroma_location=None if location is None else int(location),
        )

    def arguments(self, suffix: str) -> dict[str, int]:
        """Arguments of the resizer, for its input (suffix `_in`) or its output (none)."""
        values = {"matrix": self.matrix, "range": self.full_range, "chromaloc": self.chroma_location}
        return {f"{name}{suffix}": value for name, value in values.items() if value is not None}


def _by_coding(
    template: vs.VideoNode, source: vs.VideoNode, convert: Callable[[_Coding], vs.VideoNode]
) -> vs.VideoNode:
    """For each frame that frame of `convert(coding)`, where `coding` is what the frame of `source` says."""
    converted: dict[_Coding, vs.VideoNode] = {}
    video_format = source.format

    def choose(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        coding = _Coding.of(f.props, video_format, n)
        if coding not in converted:
            converted[coding] = convert(coding)
        return converted[coding]

    return template.std.FrameEval(choose, prop_src=[source])


def _bad_matrix(number: int, video_format: vs.VideoFormat, matrix: int) -> str:
    said = "does not say which matrix it has" if matrix in (0, 2, 3) else f"has matrix {matrix}, which is not converted"
    return (
        f"esrgan: frame {number} ({video_format.name}) {said}: name it with matrix_in, one of {_matrix_list()}, or set "
        "the frame property _Matrix (1 for BT.709, usual for HD; 6 for BT.601, usual for SD)"
    )


def _matrix_list() -> str:
    return ", ".join(f'"{name}"' for name in MATRICES)
