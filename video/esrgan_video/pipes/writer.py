"""Writing raw video to standard output."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from esrgan.errors import MediaError
from esrgan_video.colour import PixelLayout
from esrgan_video.colour.description import Matrix, guess_matrix
from esrgan_video.container.encoder import EncoderPlan
from esrgan_video.container.encoding import OutputVideo
from esrgan_video.container.fields import PROGRESSIVE
from esrgan_video.container.formats import reason
from esrgan_video.container.frame import Frame, to_av
from esrgan_video.container.info import VideoInfo
from esrgan_video.pipes.output import Output

_log = logging.getLogger(__name__)

_Y4M_CHROMA = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411"}
"""By luma samples per chroma sample, across and down."""
_Y4M_PLACES = {2: "jpeg", 3: "paldv"}
"""Names of 4:2:0 at 8 bits by FFmpeg's chroma location; all others are read as `left`, which is `mpeg2`."""


def y4m_layout(source: PixelLayout) -> PixelLayout:
    """The layout of y4m that loses least: YUV or grey of any depth, without alpha."""
    if source.model == "grey":
        return PixelLayout(model="grey", bits=source.bits)
    chroma = (source.chroma_x, source.chroma_y)
    if source.model == "rgb" or chroma not in _Y4M_CHROMA or (chroma == (4, 1) and source.bits > 8):
        chroma = (1, 1)
    return PixelLayout(model="yuv", bits=source.bits, chroma_x=chroma[0], chroma_y=chroma[1])


def raw_plan(info: VideoInfo, layout: PixelLayout) -> EncoderPlan:
    """Frames of `layout` as they are."""
    return EncoderPlan(
        encoder="rawvideo",
        pix_fmt=layout.pix_fmt,
        layout=layout,
        colour=info.colour.for_layout(layout),
        options={},
        field_order=PROGRESSIVE,
    )


def write_y4m(file: Output, video: OutputVideo, frames: Iterable[Frame]) -> int:
    """Write frames of `y4m_layout` with rate, pixel shape, range and chroma location; returns how many.

    y4m has a constant rate. Frames at other times are written all the same, and reported.

    Raises:
        MediaError: the disk is full, for instance.
        BrokenPipeError: the reader went away.
    """
    count, moved = 0, 0
    step = 1 / video.rate
    first = None
    with _writing("y4m"):
        file.write(f"YUV4MPEG2 {' '.join(_y4m_header(video))}\n".encode())
        for frame in frames:
            first = frame.time if first is None else first
            moved += abs(frame.time - first - count * step) > step / 2
            file.writelines([b"FRAME\n", *(np.ascontiguousarray(plane).data for plane in frame.planes)])
            count += 1
        file.flush()
    if moved:
        _log.warning("%d of %d frames are not where a constant rate puts them: y4m has no times, NUT has", moved, count)
    return count


def _y4m_header(video: OutputVideo) -> list[str]:
    layout, colour, shape = video.plan.layout, video.plan.colour, video.sample_aspect_ratio
    depth = "" if layout.bits == 8 else f"p{layout.bits}"
    if layout.model == "grey":
        chroma = f"mono{layout.bits}" if layout.bits > 8 else "mono"
    else:
        chroma = _Y4M_CHROMA[layout.chroma_x, layout.chroma_y] + depth
        if chroma == "420":
            chroma += _Y4M_PLACES.get(colour.chroma_location, "mpeg2")
    return [
        f"W{video.width}",
        f"H{video.height}",
        f"F{video.rate.numerator}:{video.rate.denominator}",
        "Ip",
        f"A{shape.numerator}:{shape.denominator}" if shape else "A0:0",
        f"C{chroma}",
        f"XCOLORRANGE={'FULL' if colour.full_range else 'LIMITED'}",
    ]


def write_nut(file: Output, video: OutputVideo, frames: Iterable[Frame]) -> int:
    """Write frames of any layout with their exact times as raw video in NUT; returns how many.

    Raises:
        MediaError: FFmpeg cannot write it, or the disk is full, for instance.
        BrokenPipeError: the reader went away.
    """
    import av

    count = 0
    output = av.open(file, "w", format="nut")
    try:
        with _writing("NUT"):
            stream: Any = output.add_stream("rawvideo", video.rate)
            video.configure(stream.codec_context)
            for frame in frames:
                output.mux(stream.encode(to_av(frame, video.plan.pix_fmt)))
                count += 1
            output.mux(stream.encode(None))
            output.close()
            file.flush()
    except BaseException:
        with contextlib.suppress(Exception):  # closing writes once more, where nobody reads
            output.close()
        raise
    return count


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    import av

    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        raise MediaError(f"cannot write {name} to standard output: {reason(error)}") from error


def report_untold(name: str, video: OutputVideo, *, alpha: bool) -> None:
    """Log what the stream cannot tell its reader.

    Args:
        name: `y4m` or `nut`.
        video: what is written.
        alpha: whether the input has transparency.
    """
    layout, colour = video.plan.layout, video.plan.colour
    if alpha and not layout.alpha:
        _log.warning("%s holds no transparency: it is left out", name)
    if name == "nut" and video.sample_aspect_ratio not in (None, 1):
        _log.warning("NUT is written without the shape of pixels, %s; y4m says it", video.sample_aspect_ratio)
    if layout.model == "yuv" and colour.matrix != guess_matrix(video.width, video.height):
        _log.warning(
            "%s does not say the colour matrix: tell its reader that it is %s (H.273's %d), not what %dx%d suggests",
            name,
            Matrix(colour.matrix).name if colour.matrix in list(Matrix) else "another",
            colour.matrix,
            video.width,
            video.height,
        )
