"""Uploaded videos: what is refused before anything is decoded, and what a run would do."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from esrgan.errors import MediaError, UsageError
from esrgan_gradio.pictures import checked_scale, checked_strength
from esrgan_gradio.workspace import Upload, Workspace, borrow
from esrgan_video.container import FORMATS, EncoderOptions, StreamPlan, TimeRange, VideoInfo, VideoReader, plan_streams
from esrgan_video.inputs import VIDEO_SUFFIXES
from esrgan_video.options import VideoOptions
from esrgan_video.size import OutputSize

QUALITIES = ("Visually lossless", "Smaller file", "Smallest file")
"""Names of the qualities on offer, the default first."""
CODECS = {
    "H.264": ("h264", (18, 23, 28)),
    "HEVC": ("hevc", (20, 26, 31)),
    "AV1": ("av1", (24, 33, 42)),
    "VP9": ("vp9", (22, 31, 40)),
    "FFV1 (lossless)": ("ffv1", None),
    "ProRes": ("prores", None),
}
"""Codecs on offer: name -> the encoder's name, and its CRF for each of `QUALITIES`."""
CONTAINERS = tuple(suffix.lstrip(".") for suffix in FORMATS)
"""Containers on offer."""
AUTOMATIC = "Automatic"
"""The codec and container that keep most."""

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,yuv4mpegpipe,gif,apng,"
    "h264,hevc,av1,obu,ivf,m4v,rm,wtv,nut"
)
"""What FFmpeg may take an upload for; playlists, which name other files or addresses, are not among them."""


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What a visitor wants of a video, checked."""

    scale: float | None = None
    """Output scale; `None` is the model's own."""
    codec: str = AUTOMATIC
    """One of `CODECS`, or `AUTOMATIC`."""
    quality: str = QUALITIES[0]
    """One of `QUALITIES`."""
    container: str = AUTOMATIC
    """One of `CONTAINERS`, or `AUTOMATIC`."""
    trial_seconds: float = 0
    """Only that much from the beginning; 0 is the whole video."""
    drop_unsupported: bool = False
    """Leave out streams that the container cannot hold."""
    faces: float = 0
    """Strength with which faces are restored; 0 leaves them as they are."""

    def __post_init__(self) -> None:
        checked_scale(self.scale)
        checked_strength(self.faces)
        _one_of("codec", self.codec, (AUTOMATIC, *CODECS))
        _one_of("quality", self.quality, QUALITIES)
        _one_of("container", self.container, (AUTOMATIC, *CONTAINERS))
        seconds = self.trial_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise UsageError(f"the trial must be 0 (whole video) or a number of seconds, got {seconds!r}")

    @property
    def encoder(self) -> EncoderOptions:
        """Codec and quality for the encoder."""
        if self.codec == AUTOMATIC:
            # The encoder is the container's default; the scales of H.264 and VP9 differ too much to set one for both.
            return EncoderOptions() if self.quality == QUALITIES[0] else self._encoder("H.264")
        return self._encoder(self.codec)

    def _encoder(self, codec: str) -> EncoderOptions:
        name, scale = CODECS[codec]
        return EncoderOptions(codec=name, crf=scale[QUALITIES.index(self.quality)] if scale else None)

    @property
    def time_range(self) -> TimeRange:
        """The part to upscale."""
        return TimeRange(end=Fraction(self.trial_seconds).limit_denominator(1000) if self.trial_seconds else None)

    @property
    def options(self) -> VideoOptions:
        """For `upscale_video`."""
        return VideoOptions(
            size=OutputSize(scale=self.scale),
            encoder=self.encoder,
            time_range=self.time_range,
            drop_unsupported=self.drop_unsupported,
        )


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"the {what} must be one of {', '.join(allowed)}, got {value!r}")


def open_upload(workspace: Workspace, sent: object, folder: Path) -> tuple[Upload, Path]:
    """An uploaded video under a name of ours in `folder`.

    Raises:
        UsageError: see `Workspace.admit`, or a file with the suffix of something else, such as a script.
    """
    upload = workspace.admit(sent, "a video")
    suffix = upload.path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise UsageError(f"{upload.name} is not a video that is taken here: {', '.join(sorted(VIDEO_SUFFIXES))}")
    return upload, borrow(upload, folder, suffix)


def check_header(path: Path, request: VideoRequest, *, max_pixels: int, max_seconds: float) -> None:
    """Refuse, by what the header says, what is no video, too large or too long; nothing is decoded.

    Raises:
        MediaError: not a video, or more than the limits.
    """
    import av

    from esrgan_video.container.info import main_video_stream

    try:
        container = av.open(str(path), options={"format_whitelist": _DEMUXERS})
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path} is damaged or not a video") from error
    with container:
        stream = main_video_stream(container)
        if stream is None:
            raise MediaError(f"{path} has no video")
        check_limits(
            path,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            seconds=_length(float(container.duration or 0) / 1e6, request),
            max_pixels=max_pixels,
            max_seconds=max_seconds,
        )


def _length(seconds: float, request: VideoRequest) -> float:
    return min(seconds, request.trial_seconds) if request.trial_seconds else seconds


def check_limits(path: Path, *, width: int, height: int, seconds: float, max_pixels: int, max_seconds: float) -> None:
    """Refuse frames that are too large, and what lasts too long.

    Raises:
        MediaError: more than the limits.
    """
    if width * height > max_pixels:
        raise MediaError(
            f"{path} has frames of {width}x{height} pixels; at most {max_pixels / 1e6:g} megapixels are taken here"
        )
    if seconds > max_seconds:
        raise MediaError(
            f"{path} lasts {seconds:.0f} s; at most {max_seconds:g} s are upscaled here: choose its beginning only"
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a run will write."""

    suffix: str
    """Of the result's name."""
    info: VideoInfo
    """The input."""
    streams: StreamPlan
    """What becomes of its streams; those that do not fit are dropped in it."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Streams that do not fit and that somebody would miss."""
        return tuple(str(stream) for stream in self.streams.dropped if stream.kind != "data")


def choose(path: Path, suffix: str, request: VideoRequest) -> Choice:
    """Settle the container: the one asked for, else the input's if it holds everything, else Matroska.

    Args:
        path: the input.
        suffix: of its own name.
        request: what is wanted.

    Raises:
        MediaError: no frame can be decoded.
        UsageError: a trial without a frame.
    """
    with VideoReader(path, request.time_range) as reader:
        info = reader.info
    if request.container != AUTOMATIC:
        return _choice(path, f".{request.container}", info)
    if request.codec in ("AV1", "VP9") or suffix not in FORMATS or suffix == ".webm":
        own = ".webm" if suffix == ".webm" and request.codec in (AUTOMATIC, "AV1", "VP9") else ".mkv"
    else:
        own = ".mkv" if request.codec == "FFV1 (lossless)" else suffix
    choice = _choice(path, own, info)
    return choice if not choice.refused or own == ".mkv" else _choice(path, ".mkv", info)


def _choice(path: Path, suffix: str, info: VideoInfo) -> Choice:
    streams = plan_streams(path, info.stream_index, FORMATS[suffix], drop_unsupported=True)
    return Choice(suffix=suffix, info=info, streams=streams)
