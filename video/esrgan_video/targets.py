"""Where the upscaled frames go, whatever it is: `open_target` takes the one decision."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import Frame, VideoMuxer, format_of, plan_encoder, plan_streams
from esrgan_video.container.encoding import OutputVideo, VideoEncoder
from esrgan_video.container.script import only_stream
from esrgan_video.container.target import finished_under
from esrgan_video.options import VideoOptions
from esrgan_video.sources import AnyReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FrameTarget:
    """An output that is open."""

    layout: PixelLayout
    """Planes that frames must have."""
    colour: Colour
    """What their values must mean."""
    write: Callable[[Iterable[Frame]], int]
    """Takes all frames, finishes the output and returns how many it wrote; called once."""
    dropped: tuple[str, ...] = ()
    """Streams of the input that the output lacks."""


@contextlib.contextmanager
def open_target(path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions) -> Iterator[FrameTarget]:
    """Open the output. What was under its name stays until the block has ended well.

    Args:
        path: where to.
        reader: what the frames come from.
        size: their width and height.
        options: how they are to be written.

    Raises:
        UsageError: an option or a combination that cannot work, a size or stream that the output cannot hold.
        MediaError: it cannot be written.
    """
    with _video_file(path, reader, size, options) as target:
        yield target


@contextlib.contextmanager
def _video_file(path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions) -> Iterator[FrameTarget]:
    container = format_of(path)
    info = reader.info
    encoder = plan_encoder(options.encoder, container, info, keeps_lines=size[1] == info.height)
    streams = (
        only_stream(container, info.codec)
        if info.only_video
        else plan_streams(info.path, info.stream_index, container, drop_unsupported=options.drop_unsupported)
    )
    video = OutputVideo.of(info, encoder, *size)
    if container.milliseconds and (info.time_base * 1000).denominator != 1:
        _log.info("%s: times are rounded to milliseconds, as the container stores them", info.path)
    _log.info("%s: encoding with %s, %s", info.path, encoder.encoder, encoder.pix_fmt)
    with (
        finished_under(path) as unfinished,
        VideoMuxer(
            unfinished,
            name=path,
            info=info,
            video=video,
            streams=streams,
            time_range=options.time_range,
            shift=reader.shift,
            expected_end=_expected_end(reader),
        ) as muxer,
    ):
        yield FrameTarget(
            layout=encoder.layout,
            colour=encoder.colour,
            write=lambda frames: muxer.write(VideoEncoder(video).packets(frames)),
            dropped=tuple(str(stream) for stream in streams.dropped),
        )


def _expected_end(reader: AnyReader) -> Fraction | None:
    if not reader.time_range.ends_early or reader.expected_frames is None:
        return None
    return reader.first_frame.time + reader.expected_frames / reader.info.rate
