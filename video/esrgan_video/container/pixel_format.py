"""Which pixel format an encoder is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from esrgan.errors import MediaError, UsageError
from esrgan_video.colour import PixelLayout
from esrgan_video.container.formats import ContainerFormat

if TYPE_CHECKING:
    from av.codec import Codec

_log = logging.getLogger(__name__)

_ALPHA_ENCODERS = frozenset({"apng", "cfhd", "ffv1", "jpeg2000", "png", "prores", "prores_aw", "prores_ks", "qtrle"})
_VPX = frozenset({"libvpx", "libvpx-vp9"})


def pixel_formats(codec: Codec, container: ContainerFormat) -> dict[str, PixelLayout]:
    """Pixel formats that the encoder takes from memory, and the planes of each.

    A format with transparency counts only where that is kept: many encoders take it and throw it away.
    """
    found = {}
    for video_format in codec.video_formats or ():
        try:
            layout = PixelLayout.of(video_format.name)
        except MediaError:
            continue
        if video_format.name.startswith("ya"):  # grey with alpha, which stands in memory as RGB
            continue
        if not layout.alpha or _keeps_alpha(codec.name, video_format.name, container):
            found[video_format.name] = layout
    return found


def _keeps_alpha(encoder: str, pix_fmt: str, container: ContainerFormat) -> bool:
    if encoder in _VPX:  # it lies beside the packets; the libraries take other formats' names only
        return pix_fmt == "yuva420p" and container.muxer in ("matroska", "webm")
    return encoder in _ALPHA_ENCODERS and pix_fmt != "pal8"


def check_pix_fmt(codec: Codec, pix_fmt: str) -> None:
    """Refuse a format that the encoder does not take.

    Raises:
        UsageError: it does not; the message lists those that it takes.
    """
    formats = [video_format.name for video_format in codec.video_formats or ()]
    if formats and pix_fmt not in formats:
        raise UsageError(f"{codec.name} does not take --pix-fmt {pix_fmt}: use {', '.join(formats)}")


def nearest_pix_fmt(codec: Codec, formats: Mapping[str, PixelLayout], source: PixelLayout) -> str:
    """The encoder's format that keeps most of the source's, and of those the one with least to spare."""
    wanted = _wanted(source, lossless=not codec.lossy)
    able = {name: layout for name, layout in formats.items() if not name.startswith("yuvj")}
    if not able:
        return wanted.pix_fmt
    best = min(able, key=lambda name: _cost(able[name], wanted, native=able[name].holds(name)))
    chosen = able[best]
    if chosen.bits < source.bits:
        _log.warning("%s has no format of %d bits: the output has %d", codec.name, source.bits, chosen.bits)
    if _lost_chroma(chosen, source) and source.model == "yuv":
        _log.warning("%s cannot hold the chroma of %s: the output is %s", codec.name, source.pix_fmt, best)
    return best


def _wanted(source: PixelLayout, *, lossless: bool) -> PixelLayout:
    """What to look for: RGB and grey stay as they are in lossless files only, since few players show them otherwise."""
    if source.model == "yuv" or lossless:
        return source
    chroma = 1 if source.model == "rgb" else 2
    return PixelLayout(model="yuv", bits=source.bits, chroma_x=chroma, chroma_y=chroma, alpha=source.alpha)


def _cost(layout: PixelLayout, wanted: PixelLayout, *, native: bool) -> tuple[int, ...]:
    """What is lost first, then what is wasted, then whether samples must be repacked."""
    return (
        layout.model == "grey" and wanted.model != "grey",
        wanted.alpha and not layout.alpha,
        layout.alpha and not wanted.alpha,
        layout.model != wanted.model,
        max(0, wanted.bits - layout.bits),
        _lost_chroma(layout, wanted),
        _lost_chroma(wanted, layout),
        max(0, layout.bits - wanted.bits),
        not native,
    )


def _lost_chroma(layout: PixelLayout, wanted: PixelLayout) -> int:
    return max(0, layout.chroma_x - wanted.chroma_x) + max(0, layout.chroma_y - wanted.chroma_y)
