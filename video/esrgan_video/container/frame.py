"""`Frame`: pixels that travel with their time and their colour, and the way from and to FFmpeg's frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esrgan_video.colour import Colour, PixelLayout, resolve_colour

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane

    from esrgan_video.images import ImageMetadata

Plane = NDArray[Any]
"""`(h, w)` code values, uint8 or uint16."""


_PLANAR_FLOATS = {
    f"{name}{bits}{order}": f"{sign}f{bits // 8}"
    for name in ("grayf", "gbrpf", "gbrapf")
    for bits in (16, 32)
    for order, sign in (("le", "<"), ("be", ">"))
}
"""Formats with one float sample to a plane's place, and numpy's name of the sample."""
_FEW_BITS = ("rgb565", "bgr565", "rgb555", "bgr555")


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a video. Pixels, time and colour are never apart."""

    planes: tuple[Plane, ...]
    """One array per plane of `layout`, `(h, w)`; views into the decoder's memory, not to be written to."""
    layout: PixelLayout
    """What the planes are."""
    colour: Colour
    """What their values mean."""
    pts: int
    """Time of presentation, in `time_base`."""
    time_base: Fraction
    """Unit of `pts` and `duration`, in seconds."""
    duration: int
    """Time on screen, in `time_base`; 0 if the file does not say."""
    captions: bytes = b""
    """Closed captions that begin with it: triplets of `cc_data`, ATSC A/53 part 4."""
    metadata: ImageMetadata | None = None
    """What an image file said of the picture, for the file that is made of it."""

    @property
    def height(self) -> int:
        """Rows of luma."""
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of luma."""
        return int(self.planes[0].shape[1])

    def without_pixels(self) -> Frame:
        """Its time and colour alone."""
        return replace(self, planes=(), metadata=None)

    @property
    def time(self) -> Fraction:
        """Time of presentation, in seconds."""
        return self.pts * self.time_base


def from_av(decoded: VideoFrame, *, pts: int, time_base: Fraction, captions: bytes = b"") -> Frame:
    """A frame as the decoder gave it, with the time and the captions that were settled for it.

    Raises:
        MediaError: a pixel format that is unknown or not in memory.
    """
    name = decoded.format.name
    layout = _layout_of(name)
    colour = _colour_of(
        name,
        decoded.width,
        decoded.height,
        int(decoded.colorspace),
        int(decoded.color_range),
        int(decoded.color_primaries),
        int(decoded.color_trc),
        int(decoded.chroma_location),
    )
    return Frame(
        planes=_planes(decoded, layout),
        layout=layout,
        colour=colour,
        pts=pts,
        time_base=time_base,
        duration=int(decoded.duration or 0),
        captions=captions,
    )


def _planes(decoded: VideoFrame, layout: PixelLayout) -> tuple[Plane, ...]:
    name = decoded.format.name
    if name in _PLANAR_FLOATS:
        return tuple(_from_float(plane, decoded, _PLANAR_FLOATS[name]) for plane in decoded.planes)
    # One thread: with more, swscale of FFmpeg 9 now and then leaves rows of a packed format unconverted.
    if name.startswith(_FEW_BITS):  # on the direct way to planes, swscale makes 248 of the brightest
        decoded = decoded.reformat(format="rgb24", threads=1)
    if not layout.holds(name):
        decoded = decoded.reformat(format=layout.pix_fmt, threads=1)
    shapes = layout.plane_shapes(decoded.height, decoded.width)
    return tuple(_view(plane, shape, layout) for plane, shape in zip(decoded.planes, shapes, strict=True))


def _from_float(plane: VideoPlane, decoded: VideoFrame, dtype: str) -> Plane:
    """Samples of 0..1 as 16 bits. swscale would stretch grey as if it were limited range."""
    sample = np.dtype(dtype)
    rows = np.frombuffer(plane, sample).reshape(decoded.height, -1)[:, : decoded.width]
    levels = np.nan_to_num(rows.astype(np.float32), nan=0, posinf=1, neginf=0).clip(0, 1) * 65535
    return np.rint(levels).astype(np.uint16)


def to_av(frame: Frame, pix_fmt: str) -> VideoFrame:
    """A frame for the encoder, in `pix_fmt`, whose planar layout is the frame's."""
    from av.video.frame import PictureType, VideoFrame

    made = VideoFrame(frame.width, frame.height, frame.layout.pix_fmt)
    for target, plane in zip(made.planes, frame.planes, strict=True):
        _view(target, plane.shape, frame.layout)[...] = plane
    tag(made, frame.colour)
    if not frame.layout.holds(pix_fmt):
        made = made.reformat(format=pix_fmt, threads=1)
        tag(made, frame.colour)
    made.pts, made.time_base, made.duration = frame.pts, frame.time_base, frame.duration
    made.pict_type = PictureType.NONE
    return made


def tag(target: Any, colour: Colour) -> None:
    """Write the tags of `colour` on a frame or on a codec context."""
    target.colorspace = colour.matrix
    target.color_range = 2 if colour.full_range else 1
    target.color_primaries = colour.primaries
    target.color_trc = colour.transfer
    # The same field has two names in FFmpeg.
    name = "chroma_location" if hasattr(target, "chroma_location") else "chroma_sample_location"
    setattr(target, name, colour.chroma_location)


def _view(plane: VideoPlane, shape: tuple[int, ...], layout: PixelLayout) -> Plane:
    """The plane's samples without the padding of its rows."""
    line = plane.line_size
    rows = np.frombuffer(plane, np.uint8)[: abs(line) * shape[0]].reshape(shape[0], abs(line))
    if line < 0:  # stored from the last row to the first
        rows = rows[::-1]
    sample = np.dtype(layout.dtype)
    return rows[:, : shape[1] * sample.itemsize].view(sample)


_layout_of = lru_cache(maxsize=64)(PixelLayout.of)


@lru_cache(maxsize=64)
def _colour_of(
    pix_fmt: str, width: int, height: int, matrix: int, color_range: int, primaries: int, transfer: int, location: int
) -> Colour:
    """`resolve_colour`, remembered: all frames of a video have the same tags."""
    return resolve_colour(
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        matrix=matrix,
        color_range=color_range,
        primaries=primaries,
        transfer=transfer,
        chroma_location=location,
    )
