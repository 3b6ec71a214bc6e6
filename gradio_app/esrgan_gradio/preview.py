"""A copy of a video that every browser plays: H.264 of 8 bits, 4:2:0, with AAC sound, in MP4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esrgan.errors import MediaError
from esrgan_gradio.pictures import shown_size
from esrgan_video.colour import PixelLayout
from esrgan_video.container import VideoInfo, VideoReader
from esrgan_video.container.frame import tag
from esrgan_video.container.geometry import scaled_display_matrix, scaled_sample_aspect_ratio
from esrgan_video.container.info import main_video_stream

PREVIEW_SIDE = 1920
"""Longest side in pixels; decoders in browsers often end at 4096."""
_DEMUXERS = "matroska,mov"
"""What FFmpeg may take a result for: the containers that are written here, and nothing that names other files."""
_VIDEO_OPTIONS = {"preset": "veryfast", "crf": "20"}
_SOUND_RATE = 48_000
_BT709 = 1


def browser_copy(source: Path, folder: Path) -> Path:
    """`source` itself where browsers play it, else a copy in `folder`.

    Raises:
        MediaError: the file cannot be decoded.
    """
    import av

    try:
        with _opened(source) as container:
            if _plays(source, container):
                return source
        target = folder / f"{source.stem}_preview.mp4"
        _convert(source, target)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"no preview of {source.name} could be made: {error}") from error
    return target


def _opened(source: Path) -> Any:
    import av

    return av.open(str(source), options={"format_whitelist": _DEMUXERS})


def _plays(source: Path, container: Any) -> bool:
    video = main_video_stream(container)
    if video is None or source.suffix != ".mp4" or len(container.streams.video) > 1:
        return False
    context = video.codec_context
    sounds = [stream.codec_context.name for stream in container.streams.audio]
    return (
        context.name == "h264"
        and context.pix_fmt == "yuv420p"
        and max(context.width, context.height) <= PREVIEW_SIDE
        and all(name == "aac" for name in sounds)
    )


def _convert(source: Path, target: Path) -> None:
    import av

    with VideoReader(source) as reader:
        info = reader.info
    with (
        _opened(source) as read,
        av.open(str(target), "w", options={"movflags": "+faststart"}) as written,
    ):
        video = read.streams.video[[stream.index for stream in read.streams.video].index(info.stream_index)]
        video.thread_type = "AUTO"
        sounds = [stream for stream in read.streams.audio if stream.codec_context is not None][:1]
        encoders: dict[int, Any] = {info.stream_index: _Picture(info, written)}
        encoders |= {stream.index: _Sound(written) for stream in sounds}
        for packet in read.demux([video, *sounds]):
            for frame in _decoded(packet):
                written.mux(encoders[packet.stream.index].encode(frame))
        for encoder in encoders.values():
            written.mux(encoder.encode(None))


def _decoded(packet: Any) -> list[Any]:
    import av

    try:
        return list(packet.decode())
    except av.error.InvalidDataError:  # damage that was copied: players skip it too
        return []


class _Picture:
    """Encodes decoded frames at their own times, as large as a page shows them."""

    def __init__(self, info: VideoInfo, written: Any) -> None:
        height, width = shown_size(info.height, info.width, PREVIEW_SIDE)
        self._size = (max(2, width // 2 * 2), max(2, height // 2 * 2))  # 4:2:0 needs even sides
        self._colour = info.colour.for_layout(PixelLayout.of("yuv420p"))
        self._stream = written.add_stream("libx264", info.rate, dict(_VIDEO_OPTIONS))
        context = self._stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt, context.time_base = "yuv420p", info.time_base
        tag(context, self._colour)
        source = (info.width, info.height)
        sar = scaled_sample_aspect_ratio(info.sample_aspect_ratio, source, self._size)
        if sar:
            context.sample_aspect_ratio = sar
        if info.display_matrix is not None:
            self._stream.set_display_matrix(scaled_display_matrix(info.display_matrix, source, self._size))

    def encode(self, frame: Any) -> list[Any]:
        """Packets that are ready after `frame`; `None` ends the stream."""
        if frame is None:
            return list(self._stream.encode(None))
        is_rgb = frame.format.is_rgb
        color_range = self._colour.full_range + 1
        small = frame.reformat(
            *self._size,
            "yuv420p",
            dst_colorspace=_BT709 if is_rgb else None,
            src_color_range=None if is_rgb else color_range,
            dst_color_range=color_range,
            threads=1,
        )
        tag(small, self._colour)
        small.pts, small.time_base, small.pict_type = frame.pts, frame.time_base, 0
        return list(self._stream.encode(small))


class _Sound:
    """Encodes decoded sound as stereo AAC."""

    def __init__(self, written: Any) -> None:
        from av.audio.resampler import AudioResampler

        self._stream = written.add_stream("aac", _SOUND_RATE)
        self._stream.layout = "stereo"
        self._resampler = AudioResampler("fltp", "stereo", _SOUND_RATE)

    def encode(self, frame: Any) -> list[Any]:
        """Packets that are ready after `frame`; `None` ends the stream."""
        parts = self._resampler.resample(frame)
        packets = [packet for part in parts for packet in self._stream.encode(part)]
        return packets if frame is not None else [*packets, *self._stream.encode(None)]
