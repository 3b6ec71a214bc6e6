"""Which encoder, which pixel format, which options: settled before any work is done."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from esrgan.errors import UsageError
from esrgan_video.colour import Colour, Matrix, PixelLayout
from esrgan_video.container.captions import carries_captions
from esrgan_video.container.fields import BOTTOM_FIELD_FIRST, PROGRESSIVE, TOP_FIELD_FIRST
from esrgan_video.container.formats import ContainerFormat
from esrgan_video.container.hdr import encoder_parameters
from esrgan_video.container.info import VideoInfo
from esrgan_video.container.pixel_format import check_pix_fmt, nearest_pix_fmt, pixel_formats

if TYPE_CHECKING:
    from av.codec import Codec

_log = logging.getLogger(__name__)

X264 = ("libx264", "libx264rgb")
"""FFmpeg's names of x264."""
_SHORT_NAMES = {
    "h264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "ffv1": "ffv1",
    "prores": "prores_ks",
}
"""Names of codecs, and the software encoder that stands for each."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """How the video is to be encoded. Everything that is left out is chosen: visually lossless, at the input's depth.

    Raises:
        UsageError: a quality below zero, or an option without a name.
    """

    codec: str | None = None
    """`h264`, `hevc`, `av1`, `vp9`, `ffv1`, `prores`, or FFmpeg's name of any video encoder.

    By default H.264 and, in WebM, VP9 (AV1 for more than 8 bits)."""
    crf: float | None = None
    """Constant quality, lower is better; the scale is the encoder's own."""
    preset: str | None = None
    """The encoder's name for a trade of speed against size. By default libx264 gets `fast`, and with small networks,
    beside which that would take a good part of the time, `veryfast`."""
    pix_fmt: str | None = None
    """FFmpeg's pixel format; by default the input's depth and chroma sampling, or the nearest that loses nothing."""
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Any other options of the encoder, by FFmpeg's names."""

    def __post_init__(self) -> None:
        if self.crf is not None and not self.crf >= 0:
            raise UsageError(f"--crf must be 0 or more, got {self.crf}")
        if "" in self.extra:
            raise UsageError("an encoder option has no name")


@dataclass(frozen=True, kw_only=True)
class EncoderPlan:
    """What the writer opens: every choice made."""

    encoder: str
    """FFmpeg's name of the encoder."""
    pix_fmt: str
    """Pixel format that the encoder is given."""
    layout: PixelLayout
    """Planes that frames must have: those of `pix_fmt`, made planar."""
    colour: Colour
    """Meaning of the code values, written as tags."""
    options: Mapping[str, str]
    """Options of the encoder."""
    field_order: int
    """FFmpeg's AVFieldOrder: progressive, the input's where its fields are kept, or 0 where the lines of fields have
    become lines of no field."""


@dataclass(frozen=True)
class _Defaults:
    """What an encoder is told where the user says nothing."""

    quality_option: str | None = None
    quality: str | None = None
    worst: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    fast_network: Mapping[str, str] = field(default_factory=dict)
    """What goes over `options` where the network is so fast that the encoder would hold it up, unless the user names a
    preset."""


_VERYFAST = {"preset": "veryfast", "motion-est": "dia"}
"""Enlarged pictures are smooth: a search in a diamond finds what the preset's own, in a hexagon, does. With five clips
it took a tenth less time, and 3 % less to 0.2 % more bytes for the same PSNR."""
_DEFAULTS = {
    "libx264": _Defaults("crf", "18", 51, {"preset": "fast"}, _VERYFAST),
    "libx264rgb": _Defaults("crf", "18", 51, {"preset": "fast"}, _VERYFAST),
    "libx265": _Defaults("crf", "20", 51, {"preset": "medium", "x265-params": "log-level=error"}),
    "libsvtav1": _Defaults("crf", "24", 63, {"preset": "6"}),
    "libvpx-vp9": _Defaults("crf", "22", 63, {"deadline": "good", "cpu-used": "2", "row-mt": "1"}),
    "ffv1": _Defaults(None, None, None, {"level": "3", "slicecrc": "1"}),
    "prores_ks": _Defaults(),
    "h264_nvenc": _Defaults("cq", "18", 51, {"preset": "p5", "rc": "vbr"}),
    "hevc_nvenc": _Defaults("cq", "20", 51, {"preset": "p5", "rc": "vbr"}),
    "av1_nvenc": _Defaults("cq", "24", 63, {"preset": "p5", "rc": "vbr"}),
}
"""Visually lossless for each encoder that has a scale of quality."""

_ALPHA_CODECS = {
    "matroska": ("vp9", "ffv1"),
    "webm": ("vp9", "vp9"),
    "mov": ("prores", "prores"),
}
"""For each container that can hold transparency in a usual way: the codec for 4:2:0 of 8 bits, and for all else."""

_NEAREST_MATRICES: Mapping[str, Mapping[int, Matrix]] = {"libvpx-vp9": {Matrix.FCC: Matrix.SMPTE170M}}
"""By encoder: matrices that its streams have no number for, and the nearest one that they have."""

_X264_FIELDS = {TOP_FIELD_FIRST: "tff=1", BOTTOM_FIELD_FIRST: "bff=1"}
"""By field order: how x264 is told to code and flag frames as interlaced."""

_RATE_CONTROL = frozenset({"b", "cq", "crf", "global_quality", "lossless", "qp", "qscale"})
"""Options that settle quality or size: with one of them, the default quality would only be in the way."""


def plan_encoder(
    options: EncoderOptions,
    container: ContainerFormat,
    info: VideoInfo,
    *,
    keeps_lines: bool = False,
    fast_network: bool = False,
) -> EncoderPlan:
    """Settle encoder, pixel format, colour and options.

    Args:
        options: what the user says.
        container: of the output.
        info: the input.
        keeps_lines: whether a line of the output is one of the input, so that fields stay fields.
        fast_network: whether the frames are made so fast that the usual presets would take a share of the time.

    Raises:
        UsageError: an encoder, pixel format or option that does not exist; the message lists those that do.
    """
    codec = _find_encoder(options.codec or _default_codec(container, info.layout))
    formats = pixel_formats(codec, container)
    pix_fmt = options.pix_fmt or nearest_pix_fmt(codec, formats, info.layout)
    if options.pix_fmt is not None:
        check_pix_fmt(codec, options.pix_fmt)
    layout = PixelLayout.of(pix_fmt)
    colour = info.colour.for_layout(layout)
    if pix_fmt.startswith("yuvj"):  # deprecated: the same planes, and full range said by a tag
        pix_fmt = pix_fmt.replace("yuvj", "yuv")
        colour = replace(colour, full_range=True)
    colour = _carried(colour, codec, info)
    if info.layout.alpha and not layout.alpha:
        _log.warning("%s has transparency, %s", info.path, _alpha_refusal(codec, container, pix_fmt))
    if info.captions and not carries_captions(codec.name):
        _log.warning("%s: its closed captions are lost: %s cannot carry them, h264 and hevc do", info.path, codec.name)
    field_order = info.field_order if keeps_lines or info.field_order == PROGRESSIVE else 0
    return EncoderPlan(
        encoder=codec.name,
        pix_fmt=pix_fmt,
        layout=layout,
        colour=colour,
        options=_encoder_options(
            options,
            codec,
            info,
            is_interlaced=field_order in _X264_FIELDS,
            alpha=layout.alpha,
            fast_network=fast_network,
        ),
        field_order=field_order,
    )


def has_usual_speed(options: EncoderOptions, plan: EncoderPlan) -> bool:
    """Whether x264 is at work with a preset that was chosen here: it takes little time beside a network."""
    return plan.encoder in X264 and options.preset is None and not options.extra


def _carried(colour: Colour, codec: Codec, info: VideoInfo) -> Colour:
    """`colour` with a matrix that the encoder's streams can name: else players would take another one."""
    matrix = _NEAREST_MATRICES.get(codec.name, {}).get(colour.matrix)
    if matrix is None:
        return colour
    _log.warning(
        "%s: %s cannot carry the matrix of its colours, %s: they are converted to %s; h264, hevc and av1 keep it",
        info.path,
        codec.name,
        Matrix(colour.matrix).name,
        matrix.name,
    )
    return replace(colour, matrix=matrix)


def _default_codec(container: ContainerFormat, source: PixelLayout) -> str:
    if source.alpha and container.muxer in _ALPHA_CODECS:
        small, lossless = _ALPHA_CODECS[container.muxer]
        fits = source.model == "yuv" and source.bits == 8 and (source.chroma_x, source.chroma_y) == (2, 2)
        return small if fits else lossless
    if container.muxer == "webm":  # libvpx as PyAV carries it has 8 bits only
        return "vp9" if source.bits == 8 else "av1"
    return "h264"


def _alpha_refusal(codec: Codec, container: ContainerFormat, pix_fmt: str) -> str:
    """Why transparency is left out, and what would keep it."""
    if any(layout.alpha for layout in pixel_formats(codec, container).values()):
        return f"which {pix_fmt} does not hold: leave out --pix-fmt to keep it"
    if container.muxer in _ALPHA_CODECS:
        names = " or ".join(dict.fromkeys(_ALPHA_CODECS[container.muxer]))
        return f"which {codec.name} does not hold: use --codec {names} to keep it"
    return f"which {codec.name} in {container.suffix} does not hold: write .webm, .mov or .mkv to keep it"


def _find_encoder(name: str) -> Codec:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        codec = av.Codec(_SHORT_NAMES.get(name.lower(), name), "w")
    except UnknownCodecError:
        codec = None
    if codec is None or codec.type != "video":
        near = difflib.get_close_matches(name, [*_SHORT_NAMES, *_DEFAULTS], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(
            f"unknown video codec {name!r}{hint}: use {', '.join(sorted(_SHORT_NAMES))}, or an encoder of FFmpeg's "
            f"such as {', '.join(sorted(set(_DEFAULTS) - set(_SHORT_NAMES)))}"
        )
    return codec


def _encoder_options(
    options: EncoderOptions, codec: Codec, info: VideoInfo, *, is_interlaced: bool, alpha: bool, fast_network: bool
) -> dict[str, str]:
    known = _known_options(codec)
    defaults = _DEFAULTS.get(codec.name, _Defaults())
    own_preset = options.preset is not None or "preset" in options.extra
    chosen = {**defaults.options, **(defaults.fast_network if fast_network and not own_preset else {})}
    quality_option = defaults.quality_option or ("crf" if "crf" in known else None)
    if options.crf is not None:
        if quality_option is None:
            raise UsageError(f"{codec.name} has no quality scale: leave out --crf {options.crf:g}")
        if defaults.worst is not None and options.crf > defaults.worst:
            raise UsageError(f"--crf of {codec.name} goes from 0 to {defaults.worst:g}, got {options.crf:g}")
        chosen[quality_option] = f"{options.crf:g}"
    elif quality_option is not None and defaults.quality is not None and not _RATE_CONTROL & options.extra.keys():
        chosen[quality_option] = defaults.quality
    if options.preset is not None:
        if "preset" not in known:
            raise UsageError(f"{codec.name} has no presets: leave out --preset {options.preset}")
        chosen["preset"] = options.preset
    if alpha and codec.name == "libvpx":
        chosen["auto-alt-ref"] = "0"  # it refuses transparency otherwise
    hdr = encoder_parameters(codec.name, info.mastering_display, info.light_level)
    if not hdr and (info.mastering_display or info.light_level):
        _log.warning(
            "%s: %s cannot carry its static HDR metadata (mastering display, light level): h264, hevc and av1 do",
            info.path,
            codec.name,
        )
    for key, value in hdr.items():
        chosen[key] = f"{chosen[key]}:{value}" if key in chosen else value
    if is_interlaced and codec.name == "libx264":
        chosen["x264-params"] = ":".join([*filter(None, [chosen.get("x264-params")]), _X264_FIELDS[info.field_order]])
    elif is_interlaced:
        _log.warning("%s is not told that the frames are interlaced: only h264 takes that", codec.name)
    _add_extra(chosen, options.extra, codec, known)
    return chosen


def _add_extra(chosen: dict[str, str], extra: Mapping[str, str], codec: Codec, known: frozenset[str]) -> None:
    """Add the user's own options; lists of parameters are joined, everything else replaces what was chosen."""
    for key, value in extra.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise UsageError(f"{codec.name} has no option {key!r}{hint}")
        chosen[key] = f"{chosen[key]}:{value}" if key.endswith("-params") and key in chosen else value


def _known_options(codec: Codec) -> frozenset[str]:
    options = codec.create("video").supported_options
    return frozenset(option.name for option in (*options.generic, *options.private))
